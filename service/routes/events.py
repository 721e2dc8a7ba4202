"""`POST /events`: what users watched, as it happens."""

from fastapi import APIRouter, Depends

from files import clock
from service.dependencies import TheService, require_json
from service.errors import FieldFault, InvalidRequestError
from service.history.protocol import Event
from service.problems import documented
from service.requests import EventsRequest, WatchEvents
from service.responses import EventsResponse
from service.routes.strict_json import StrictJsonRoute

router = APIRouter(tags=["history"], dependencies=[Depends(require_json)], route_class=StrictJsonRoute)


@router.post("/events", responses=documented(400, 413, 415, 422, 503))
async def add_events(body: EventsRequest, service: TheService) -> EventsResponse:
    """Add one event, or many as `{"events": [...]}`. Sending the same again changes nothing.

    Late events are sorted in. Items that the catalogue does not have are kept and reported.
    """
    many = isinstance(body, WatchEvents)
    events = body.events if isinstance(body, WatchEvents) else [body]
    now = clock.now_ms()
    judged = [(index, clock.fault(event.timestamp, now)) for index, event in enumerate(events)]
    faults = [
        FieldFault(f"events[{index}].timestamp" if many else "timestamp", fault)
        for index, fault in judged
        if fault is not None
    ]
    if faults:
        raise InvalidRequestError(faults)
    result = await service.history.append_many(
        [(event.user_id, Event(event.item_id, event.timestamp, event.event_id)) for event in events]
    )
    return EventsResponse(
        added=result.added,
        repeated=result.repeated,
        outdated=result.outdated,
        unknown_items=service.engines.engine.unknown(event.item_id for event in events),
    )
