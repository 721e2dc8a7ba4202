"""What is kept of users: read it, forget it, and list some of them for a picker."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.answers import ForgetAnswer, HistoryAnswer, HistoryEvent, UsersAnswer
from service.dependencies import TheService
from service.errors import UsersNotListedError
from service.problems import documented
from service.schemas import Text

router = APIRouter(tags=["history"])

UserId = Annotated[Text, Path(description="as in events; percent-encode it", examples=["196"])]


@router.get("/users", responses=documented(403, 422, 503))
async def list_users(
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
) -> UsersAnswer:
    """Some users who have a history, in no particular order; by default only with the in-process store."""
    allowed = service.settings.list_users
    if allowed is None:
        allowed = service.history_kind == "in-process"
    if not allowed:
        raise UsersNotListedError("set DIMEREC_LIST_USERS=true to offer it")
    with service.metrics.counting_history_errors("users"):
        return UsersAnswer(users=await service.history.users(limit))


@router.get("/users/{user_id:path}/history", responses=documented(404, 422, 503))
async def read_history(
    user_id: UserId,
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1000, description="newest so many")] = 100,
) -> HistoryAnswer:
    """The newest events of a user, oldest first; empty for an unknown user."""
    catalogue = service.bundles.engine.catalogue
    with service.metrics.counting_history_errors("read"):
        events = await service.history.read(user_id, limit)
    described = []
    for event in events:
        row = catalogue.row(event.item_id)
        described.append(
            HistoryEvent(
                item_id=event.item_id,
                timestamp=event.timestamp,
                title=None if row is None else catalogue.title(row),
                categories=[] if row is None else list(catalogue.category(row)),
                known=row is not None,
            )
        )
    return HistoryAnswer(user_id=user_id, events=described)


@router.delete("/users/{user_id:path}/history", responses=documented(404, 422, 503))
async def forget_history(user_id: UserId, service: TheService) -> ForgetAnswer:
    """Delete all that is kept of a user; fine to repeat."""
    with service.metrics.counting_history_errors("forget"):
        return ForgetAnswer(user_id=user_id, removed=await service.history.forget(user_id))
