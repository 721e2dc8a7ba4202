"""The door of every route that computes, and of events.

A request that could not be answered by its deadline is refused before anything is done for it: its body is
not read, no history is fetched, no line is logged for it alone. So a service with too much to do spends next
to nothing on what it turns away. All that is known here is the queue, how late the event loop is, whether
histories can be changed, who calls, and the time that the caller allows in `X-Deadline-Ms` (else the
default). Events have no deadline.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.batcher import MicroBatcher
from service.errors import FieldFault, InvalidRequestError, OverloadedError, RequestRefusedError
from service.history.errors import HistoryUnavailableError
from service.history.guarded import FAILED_LATELY
from service.log_writer import Recurring
from service.problems import KINDS, MEDIA_TYPE, RETRY_AFTER_S, TRY_AGAIN
from service.settings import MAX_DEADLINE_MS
from service.spool.writes import HistoryWrites
from service.telemetry import Metrics

HEADER = "X-Deadline-Ms"

_HEADER = HEADER.lower().encode()

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


class Way(NamedTuple):
    """A route that the door is in front of."""

    route: Route
    end: str
    """Of its paths; before it may be an id, or a prefix."""
    methods: frozenset[str]
    computes: bool
    """False: it changes histories."""

    @classmethod
    def to(cls, route: Route, *, computes: bool) -> "Way":
        """The way to a route."""
        methods = frozenset(route.methods or ())
        if "GET" in methods:
            methods |= {"HEAD"}
        return cls(route, route.path.rpartition("}")[2], methods, computes)


Refusal = OverloadedError | HistoryUnavailableError
_AWAY = HistoryUnavailableError(FAILED_LATELY)


class Door:
    """Refuses requests on the `ways` that would be answered too late: by the queue of `batcher`, by the event
    loop, or, where they change histories, by a store that does not take `writes` at the moment.

    Any other trouble is the route's to tell.
    """

    def __init__(
        self,
        batcher: MicroBatcher[Any, Any],
        writes: HistoryWrites,
        ways: Iterable[Way],
        default_deadline_ms: int,
        metrics: Metrics,
    ) -> None:
        self._batcher = batcher
        self._writes = writes
        self.inside = batcher.inside
        """Whom it let in."""
        self._ways = {way.end.rpartition("/")[2]: way for way in ways}
        self._default_deadline_ms = default_deadline_ms
        self._metrics = metrics
        self._refusals = Recurring()

    def way(self, method: str, path: str) -> Way | None:
        """The way that a request takes; None: the door is not on it."""
        way = self._ways.get(path.rpartition("/")[2])
        return way if way is not None and method in way.methods and path.endswith(way.end) else None

    def refusal(self, way: Way, headers: Headers, caller: str) -> Refusal | None:
        """Why a request is refused, which is counted; None lets it in."""
        refusal = self._late(headers, caller) if way.computes else self._untaken()
        if refusal is not None:
            self._account(refusal)
        return refusal

    def count(self, way: Way, method: str, status: int, seconds: float, key: str) -> None:
        """Count a refused request that no middleware has seen."""
        self._metrics.count_request(method, way.route.path_format, status, seconds, key)

    def _late(self, headers: Headers, caller: str) -> Refusal | None:
        try:
            allowed_ms = deadline_ms(headers) or self._default_deadline_ms
            self._batcher.admit(allowed_ms / 1000, caller=caller)
        except OverloadedError as refusal:
            return refusal
        except (RequestRefusedError, InvalidRequestError):
            pass
        return None

    def _untaken(self) -> Refusal | None:
        if self.inside.is_late:
            return OverloadedError(self.inside.count, 1)
        return None if self._writes.takes_events else _AWAY

    def _account(self, refusal: Refusal) -> None:
        """Count the refusal; all of a second share one line of the log, instead of one each."""
        if isinstance(refusal, OverloadedError):
            self._metrics.refuse(refusal)
        else:
            self._metrics.history_failed("append")
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
        way = self._door.way(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if way is not None:
            state = scope.setdefault("state", {})
            caller = state.setdefault("caller", _address(scope))
            refusal = self._door.refusal(way, scope["headers"], caller)
            if refusal is not None:
                scope["route"] = way.route
                state["logged"] = True
                status, headers, body = refused(refusal, state.get("request_id", ""))
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)


def _address(scope: Scope) -> str:
    """The peer's address; what a trusted proxy says of it, the server has put there."""
    client = scope.get("client")
    return client[0] if client else ""


def refused(refusal: Refusal, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer, without the objects of `service.problems`, whose JSON it is."""
    kind = KINDS[type(refusal)]
    detail, retry_after_s = TRY_AGAIN, RETRY_AFTER_S
    if isinstance(refusal, OverloadedError):
        detail, retry_after_s = str(refusal), refusal.retry_after_s
    body = _encoder.encode(
        {
            "type": f"urn:dimerec:problem:{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": detail,
            "errors": [],
            "request_id": request_id,
        }
    )
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % retry_after_s),
    ]
    return kind.status, headers, body
