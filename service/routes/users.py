"""Histories of users: read it, take an event back, forget it, and list some users for a picker."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from service.dependencies import TheService
from service.errors import UsersNotListedError
from service.problems import documented
from service.requests import Text
from service.responses import ForgetResponse, HistoryEvent, HistoryResponse, UndoResponse, UsersResponse
from service.routes.encoded_path import EncodedPathRoute
from service.routes.spooled import SPOOLED, spooled
from service.spool.writes import Spooled

router = APIRouter(tags=["history"], route_class=EncodedPathRoute)

UserId = Annotated[Text, Path(description="as in events; percent-encode it", examples=["196"])]
EventId = Annotated[
    Text, Path(description="as in the event that was sent; percent-encode it", examples=["e-1"])
]


@router.get("/users", responses=documented(403, 422, 503))
async def list_users(
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
) -> UsersResponse:
    """Some users who have a history, in no particular order; by default only with the in-process store."""
    if not service.lists_users:
        raise UsersNotListedError("set DIMEREC_LIST_USERS=true to offer it")
    return UsersResponse(users=await service.history.users(limit))


@router.get("/users/{user_id}/history", responses=documented(400, 404, 422, 503))
async def read_history(
    user_id: UserId,
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1000, description="newest so many")] = 100,
) -> HistoryResponse:
    """The newest events of a user, oldest first; empty for an unknown user."""
    events = await service.history.read(user_id, limit)
    engine = service.engines.engine  # not before: one that is in service no longer hears of no removal
    described = []
    for event in events:
        item = engine.describe(event.item_id)
        described.append(
            HistoryEvent(
                item_id=event.item_id,
                timestamp=event.timestamp,
                title=None if item is None else item.title,
                categories=[] if item is None else list(item.categories),
                known=item is not None,
                removed=service.catalogue.is_removed(event.item_id),
                event_type=event.event_type,
                meaning=service.meanings.of(event.event_type) or "ignored",
                request_id=event.request_id,
            )
        )
    return HistoryResponse(user_id=user_id, events=described)


@router.delete(
    "/users/{user_id}/history",
    response_model=ForgetResponse,
    responses=SPOOLED | documented(400, 404, 422, 503),
)
async def forget_history(user_id: UserId, service: TheService) -> ForgetResponse | Response:
    """Delete all that is kept of a user; fine to repeat."""
    outcome = await service.writes.forget(user_id)
    if isinstance(outcome, Spooled):
        return spooled(outcome)
    return ForgetResponse(user_id=user_id, removed=outcome)


@router.delete(
    "/users/{user_id}/events/{event_id}",
    response_model=UndoResponse,
    responses=SPOOLED | documented(400, 404, 422, 503),
)
async def undo_event(user_id: UserId, event_id: EventId, service: TheService) -> UndoResponse | Response:
    """Take back one event that was sent with an `event_id`; fine to repeat.

    Events without an `event_id` cannot be named, and so not be taken back one by one.
    """
    outcome = await service.writes.remove(user_id, event_id)
    if isinstance(outcome, Spooled):
        return spooled(outcome)
    return UndoResponse(user_id=user_id, event_id=event_id, removed=1 if outcome else 0)
