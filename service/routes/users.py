"""Histories of users: read it, take an event back, forget it, and list some users for a picker."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.dependencies import TheService
from service.errors import UsersNotListedError
from service.problems import documented
from service.requests import Text
from service.responses import ForgetResponse, HistoryEvent, HistoryResponse, UndoResponse, UsersResponse
from service.routes.encoded_path import EncodedPathRoute

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
    engine = service.engines.engine
    events = await service.history.read(user_id, limit)
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
            )
        )
    return HistoryResponse(user_id=user_id, events=described)


@router.delete("/users/{user_id}/history", responses=documented(400, 404, 422, 503))
async def forget_history(user_id: UserId, service: TheService) -> ForgetResponse:
    """Delete all that is kept of a user; fine to repeat."""
    return ForgetResponse(user_id=user_id, removed=await service.history.forget(user_id))


@router.delete("/users/{user_id}/events/{event_id}", responses=documented(400, 404, 422, 503))
async def undo_event(user_id: UserId, event_id: EventId, service: TheService) -> UndoResponse:
    """Take back one event that was sent with an `event_id`; fine to repeat.

    Events without an `event_id` cannot be named, and so not be taken back one by one.
    """
    removed = await service.history.remove(user_id, event_id)
    return UndoResponse(user_id=user_id, event_id=event_id, removed=removed)
