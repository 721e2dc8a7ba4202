"""Dependencies of the routes: the parts of the running service, and the guards in front of them."""

import hmac
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.engines import Engines
from service.errors import AdminDisabledError, AdminRefusedError
from service.fleet import Fleet
from service.history.protocol import HistoryStore
from service.recommender import Batcher, Recommender, RequestInfo
from service.settings import Settings
from service.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that one app consists of; made by `create_app`, kept in `app.state.service`."""

    settings: Settings
    engines: Engines
    fleet: Fleet
    history: HistoryStore
    history_kind: Literal["redis", "in-process"]
    batcher: Batcher
    recommender: Recommender
    metrics: Metrics

    @property
    def lists_users(self) -> bool:
        """True where `GET /users` is offered: as set, else only with the in-process store."""
        if self.settings.list_users is None:
            return self.history_kind == "in-process"
        return self.settings.list_users


def service_of(request: Request) -> Service:
    """The service that the request came to."""
    service: Service = request.app.state.service
    return service


def info_of(request: Request) -> RequestInfo:
    """Facts about the request that are not in its body."""
    state = request.scope["state"]
    return RequestInfo(
        state["arrived"], state["request_id"], state.get("caller", ""), state.get("deadline_ms")
    )


# FastAPI sends a dependency that is a plain function to a thread: these have nothing to wait for.
async def _service(request: Request) -> Service:
    return service_of(request)


async def _request_info(request: Request) -> RequestInfo:
    return info_of(request)


TheService = Annotated[Service, Depends(_service)]
TheRequestInfo = Annotated[RequestInfo, Depends(_request_info)]


_ADMIN_KEY = APIKeyHeader(name="X-Admin-Key", auto_error=False, description="value of DIMEREC_ADMIN_KEY")
_ADMIN_BEARER = HTTPBearer(auto_error=False, description="value of DIMEREC_ADMIN_KEY")


async def require_admin(
    service: TheService,
    key: Annotated[str | None, Security(_ADMIN_KEY)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_ADMIN_BEARER)],
) -> None:
    """Let only holders of the administrative key in: `X-Admin-Key: KEY` or `Authorization: Bearer KEY`."""
    if service.settings.admin_key is None:
        raise AdminDisabledError("set DIMEREC_ADMIN_KEY to allow administrative calls")
    given = key or (bearer.credentials if bearer else "")
    expected = service.settings.admin_key.get_secret_value()
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise AdminRefusedError("send the key as `X-Admin-Key: KEY` or `Authorization: Bearer KEY`")
