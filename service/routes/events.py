"""`POST /events`: what users watched, as it happens."""

from fastapi import APIRouter, Request, Response

from files import clock
from service.dependencies import service_of
from service.errors import FieldFault, InvalidRequestError
from service.history.protocol import Event
from service.problems import documented
from service.requests import EventsRequest, WatchEvents
from service.responses import EventsResponse
from service.routes.json_route import JsonRoute
from service.routes.spooled import SPOOLED, spooled
from service.spool.writes import Spooled

router = APIRouter(tags=["history"], route_class=JsonRoute)


@router.post(
    "/events", response_model=EventsResponse, responses=SPOOLED | documented(400, 413, 415, 422, 503)
)
async def add_events(request: Request, body: EventsRequest) -> Response:
    """Add one event, or many as `{"events": [...]}`. Sending the same again changes nothing.

    Late events are sorted in. Items that the catalogue does not have are kept and reported.
    """
    service = service_of(request)
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
    outcome = await service.writes.append_many(
        [(event.user_id, Event(event.item_id, event.timestamp, event.event_id)) for event in events]
    )
    if isinstance(outcome, Spooled):
        return spooled(outcome)
    answer = EventsResponse(
        added=outcome.added,
        repeated=outcome.repeated,
        outdated=outcome.outdated,
        unknown_items=service.engines.engine.unknown(event.item_id for event in events),
    )
    return Response(answer.model_dump_json(), media_type="application/json")
