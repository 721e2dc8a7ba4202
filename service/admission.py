"""The door of every route that computes: refuses by the queue alone.

A request that could not be answered by its deadline is refused before anything is done for it: its body is
not read, no history is fetched, no line is logged for it alone. So a service with too much to do spends next
to nothing on what it turns away. All that is known here is the queue, who calls, and the time that the caller
allows in `X-Deadline-Ms` (else the default).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from service.batcher import MicroBatcher
from service.errors import FieldFault, InvalidRequestError, OverloadedError, RequestRefusedError
from service.log_writer import Recurring
from service.problems import KINDS, MEDIA_TYPE
from service.settings import MAX_DEADLINE_MS
from service.telemetry import Metrics

HEADER = "X-Deadline-Ms"

_HEADER = HEADER.lower().encode()
_KIND = KINDS[OverloadedError]

log = structlog.get_logger("dimerec.admission")
_encoder = msgspec.json.Encoder()


Headers = Iterable[tuple[bytes, bytes]]


def deadline_ms(headers: Headers) -> int | None:
    """The time that the caller allows by the header, counted from the arrival; None where it is not there.

    Raises InvalidRequestError.
    """
    given = [value for name, value in headers if name == _HEADER]
    if not given:
        return None
    if len(given) == 1 and given[0].isdigit() and 1 <= int(given[0][:9]) <= MAX_DEADLINE_MS:
        return int(given[0])
    raise InvalidRequestError([FieldFault(HEADER, f"send one integer from 1 to {MAX_DEADLINE_MS}, in ms")])


_TELLING = frozenset(
    {b"authorization", b"x-api-key", b"host", b"forwarded", b"x-forwarded-for", b"via", b"x-real-ip"}
)
"""Headers that say who calls."""


def credentials(headers: Headers) -> tuple[bytes, ...]:
    """All that a request says of who calls."""
    return tuple([value for name, value in headers if name in _TELLING])


class Caller(NamedTuple):
    """Who called, as the app found out, and how that was said."""

    name: str
    key: str
    credentials: tuple[bytes, ...]

    @classmethod
    def of(cls, state: Mapping[str, Any], headers: Headers) -> "Caller | None":
        """Who sent a request that the app has answered; None where it does not know."""
        if "caller" not in state:
            return None
        return cls(state["caller"], state.get("key", "anonymous"), credentials(headers))


class Door:
    """Refuses requests to the `routes` (end of the path → route) that `batcher` could not answer in time.

    Any other trouble is the route's to tell.
    """

    def __init__(
        self,
        batcher: MicroBatcher[Any, Any],
        routes: Mapping[str, object],
        default_deadline_ms: int,
        metrics: Metrics,
    ) -> None:
        self._batcher = batcher
        self.inside = batcher.inside
        """Whom it let in."""
        self._routes = routes
        self._ends = tuple(routes)
        self._default_deadline_ms = default_deadline_ms
        self._metrics = metrics
        self._refusals = Recurring()

    def leads_to(self, path: str) -> bool:
        """True for the path of a route that computes."""
        return path.endswith(self._ends)

    def route(self, path: str) -> object:
        """The route that such a path leads to."""
        return next(route for end, route in self._routes.items() if path.endswith(end))

    def refusal(self, headers: Headers, caller: str) -> OverloadedError | None:
        """Why a request to one of the routes is refused, which is counted; None lets it in."""
        try:
            allowed_ms = deadline_ms(headers) or self._default_deadline_ms
            self._batcher.admit(allowed_ms / 1000, caller=caller)
        except OverloadedError as refusal:
            self._account(refusal)
            return refusal
        except (RequestRefusedError, InvalidRequestError):
            pass
        return None

    def count(self, method: str, path: str, seconds: float, key: str) -> None:
        """Count a refused request that no middleware has seen."""
        route = getattr(self.route(path), "path_format", "unmatched")
        self._metrics.count_request(method, route, _KIND.status, seconds, key)

    def _account(self, refusal: OverloadedError) -> None:
        """Count the refusal; all of a second share one line of the log, instead of one each."""
        self._metrics.refuse(refusal)
        count = self._refusals.count()
        if count is not None:
            log.warning("requests refused", count=count, waiting=self._batcher.queue_length)


class Admission:
    """The door as pure ASGI middleware. In the request's state it notes who calls, unless that is known."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and self._door.leads_to(scope["path"]):
            state = scope.setdefault("state", {})
            caller = state.setdefault("caller", _address(scope))
            refusal = self._door.refusal(scope["headers"], caller)
            if refusal is not None:
                scope["route"] = self._door.route(scope["path"])
                state["logged"] = True
                headers, body = refused(refusal, state.get("request_id", ""))
                await send({"type": "http.response.start", "status": _KIND.status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)


def _address(scope: Scope) -> str:
    """The peer's address; what a trusted proxy says of it, the server has put there."""
    client = scope.get("client")
    return client[0] if client else ""


def refused(refusal: OverloadedError, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of the answer, without the objects of `service.problems`, whose JSON this is."""
    body = _encoder.encode(
        {
            "type": f"urn:dimerec:problem:{_KIND.name}",
            "title": _KIND.title,
            "status": _KIND.status,
            "detail": str(refusal),
            "errors": [],
            "request_id": request_id,
        }
    )
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % refusal.retry_after_s),
    ]
    return headers, body
