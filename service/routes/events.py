"""`POST /events`: what users watched, as it happens."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response

from files import clock
from service.dependencies import service_of
from service.errors import FieldFault, InvalidRequestError
from service.history.meanings import Meanings
from service.history.protocol import Event
from service.problems import documented
from service.requests import EventsRequest, WatchEvent, WatchEvents
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

    Late events are sorted in. Items that the catalogue does not have are kept and reported. An event
    counts as its type says; one without a type was watched.
    """
    service = service_of(request)
    many = isinstance(body, WatchEvents)
    events = body.events if isinstance(body, WatchEvents) else [body]
    now = clock.now_ms()
    faults = [
        FieldFault(f"events[{index}].{field}" if many else field, fault)
        for index, event in enumerate(events)
        for field, fault in _faults(event, now, service.meanings)
    ]
    if faults:
        raise InvalidRequestError(faults)
    kept = [event for event in events if service.meanings.of(event.event_type) != "ignored"]
    outcome = await service.writes.append_many([(event.user_id, _event(event)) for event in kept])
    if isinstance(outcome, Spooled):
        return spooled(outcome)
    answer = EventsResponse(
        added=outcome.added,
        repeated=outcome.repeated,
        outdated=outcome.outdated,
        ignored=len(events) - len(kept),
        unknown_items=service.engines.engine.unknown(event.item_id for event in kept),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _faults(event: WatchEvent, now_ms: int, meanings: Meanings) -> Iterator[tuple[str, str]]:
    """The fields that cannot be meant, each with its fault."""
    fault = clock.fault(event.timestamp, now_ms)
    if fault is not None:
        yield "timestamp", fault
    if meanings.of(event.event_type) is None:
        known = ", ".join(meanings.types) or "none"
        yield "event_type", f"{event.event_type} has no meaning in DIMEREC_EVENT_TYPES; known are {known}"


def _event(event: WatchEvent) -> Event:
    return Event(event.item_id, event.timestamp, event.event_id, event.event_type, event.request_id)
