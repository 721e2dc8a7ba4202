"""Pure ASGI middleware around every route: request id, log line, metrics, and a bound on bodies."""

import asyncio
import re
import time
import uuid
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError
from service.problems import response_to
from service.telemetry import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_S = 10.0

log = structlog.get_logger("dimerec.access")


class RequestContext:
    """Gives each request an id, and counts, times and logs its answer.

    The id comes from `X-Request-ID` when that is harmless, else it is made up; it goes back in the same
    header. Routes find it, and the moment the request arrived (`time.perf_counter`), in `request.state`. Log
    lines name the route's template, never the path, the query or the body: those hold user data.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        arrived = time.perf_counter()
        scope.setdefault("state", {}).update(request_id=request_id, arrived=arrived)
        structlog.contextvars.bind_contextvars(
            request_id=request_id
        )  # the server gives each request a context
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            self._account(scope, status, time.perf_counter() - arrived)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = getattr(scope.get("route"), "path_format", "unmatched")
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(1000 * seconds, 3),
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class BodyLimit:
    """Refuses bodies of more than `limit` bytes, by their declared length or while they stream in.

    The app gets the whole body at once. After a refusal some more of the body is read and thrown away, so
    that a caller that is still sending sees the answer rather than a broken connection.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self._limit:
            await self._refuse(scope, receive, send)
            return
        body = bytearray()
        message: Message = {"more_body": True}
        while message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._limit:
                await self._refuse(scope, receive, send)
                return
        first: list[Message] = (
            [{"type": "http.request", "body": bytes(body), "more_body": False}]
            if message["type"] == "http.request"
            else [message]
        )

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unfinished(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        response = response_to(BodyTooLargeError(self._limit), scope, {"connection": "close"})
        await response(scope, receive, send_unfinished)
        await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
