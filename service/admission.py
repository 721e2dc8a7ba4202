"""Pure ASGI middleware at the door of every route that computes: refuses by the queue alone.

A request that could not be answered by its deadline is refused before anything is done for it: its body is
not read, no history is fetched, no line is logged for it alone. So a service with too much to do spends next
to nothing on what it turns away. All that is known here is the queue, and the time that the caller allows in
`X-Deadline-Ms` (else the default).
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from service.batcher import MicroBatcher
from service.errors import FieldFault, InvalidRequestError, OverloadedError, RequestRefusedError
from service.problems import KINDS, MEDIA_TYPE
from service.settings import MAX_DEADLINE_MS
from service.telemetry import Metrics

HEADER = "X-Deadline-Ms"
LOG_EVERY_S = 1.0
"""Chosen: a line a second tells an operator of an overload, thousands would add to it."""

_HEADER = HEADER.lower().encode()
_KIND = KINDS[OverloadedError]

log = structlog.get_logger("dimerec.admission")
_encoder = msgspec.json.Encoder()


def deadline_ms(scope: Scope) -> int | None:
    """The time that the caller allows by the header, counted from the arrival; None where it is not there.

    Raises InvalidRequestError.
    """
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if not given:
        return None
    if len(given) == 1 and given[0].isdigit() and 1 <= int(given[0][:9]) <= MAX_DEADLINE_MS:
        return int(given[0])
    raise InvalidRequestError([FieldFault(HEADER, f"send one integer from 1 to {MAX_DEADLINE_MS}, in ms")])


class Admission:
    """Refuses requests to the `routes` (end of the path → route) that `batcher` could not answer in time.

    Any other trouble is the route's to tell. In the request's state it notes who calls, unless that is known.
    """

    def __init__(
        self,
        app: ASGIApp,
        batcher: MicroBatcher[Any, Any],
        routes: Mapping[str, object],
        default_deadline_ms: int,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._batcher = batcher
        self._routes = routes
        self._ends = tuple(routes)
        self._default_deadline_ms = default_deadline_ms
        self._metrics = metrics
        self._refused = 0
        self._logged = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and scope["path"].endswith(self._ends):
            caller = scope.setdefault("state", {}).setdefault("caller", _address(scope))
            try:
                allowed_ms = deadline_ms(scope) or self._default_deadline_ms
                self._batcher.admit(allowed_ms / 1000, caller=caller)
            except OverloadedError as refusal:
                self._account(scope, refusal)
                await _refuse(refusal, scope, send)
                return
            except (RequestRefusedError, InvalidRequestError):
                pass
        await self._app(scope, receive, send)

    def _account(self, scope: Scope, refusal: OverloadedError) -> None:
        """Count the refusal; all of a second share one line of the log, instead of one each."""
        scope["route"] = next(route for end, route in self._routes.items() if scope["path"].endswith(end))
        scope["state"]["logged"] = True
        self._metrics.refuse(refusal)
        self._refused += 1
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            log.warning("requests refused", count=self._refused, waiting=self._batcher.queue_length)
            self._refused, self._logged = 0, now


def _address(scope: Scope) -> str:
    """The peer's address; what a trusted proxy says of it, the server has put there."""
    client = scope.get("client")
    return client[0] if client else ""


async def _refuse(refusal: OverloadedError, scope: Scope, send: Send) -> None:
    """Answer without the objects of `service.problems`, whose JSON this is."""
    body = _encoder.encode(
        {
            "type": f"urn:dimerec:problem:{_KIND.name}",
            "title": _KIND.title,
            "status": _KIND.status,
            "detail": str(refusal),
            "errors": [],
            "request_id": scope["state"].get("request_id", ""),
        }
    )
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % refusal.retry_after_s),
    ]
    await send({"type": "http.response.start", "status": _KIND.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
