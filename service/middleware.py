"""Pure ASGI middleware around every route: request id, log line, metrics, HEAD, and a path prefix."""

import os
import re
import time
from collections.abc import Iterable
from http import HTTPStatus

import structlog
from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from files.ids import REQUEST_ID
from service.access.headers import with_security
from service.telemetry import Metrics

_HEADER = b"x-request-id"
_REQUEST_ID = re.compile(REQUEST_ID)

log = structlog.get_logger("dimerec.access")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that the caller gives the request, where it is harmless, else a new one."""
    given = next((value for name, value in headers if name == _HEADER), b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()


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
        request_id = request_id_of(scope["headers"])
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
                headers = [header for header in message["headers"] if header[0] != _HEADER]
                message["headers"] = with_security([*headers, (_HEADER, request_id.encode())])
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            self._account(scope, status, time.perf_counter() - arrived)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = getattr(scope.get("route"), "path_format", "unmatched")
        key = scope["state"].get("key", "anonymous")
        self._metrics.count_request(method, route, status, seconds, key)
        if not scope["state"].get("logged", False):  # with many others, in one line
            log.info(
                "request",
                method=method,
                route=route,
                status=status,
                key=key,
                duration_ms=round(1000 * seconds, 3),
            )


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Head:
    """Answers HEAD wherever GET is answered, with the same status and headers.

    The request goes on as GET; the server, which knows what was asked, leaves the body out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_allowing(message: Message) -> None:
            if message.get("status") == HTTPStatus.METHOD_NOT_ALLOWED:
                headers = MutableHeaders(scope=message)
                if "GET" in headers.get("allow", "").split(", "):
                    headers["allow"] += ", HEAD"
            await send(message)

        if scope["method"] != "HEAD":
            await self._app(scope, receive, send_allowing)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send_allowing)
        finally:
            scope["route"] = asked.get("route")  # RequestContext names it


class PathPrefix:
    """Answers `/prefix/recommend` as `/recommend`, and goes on answering `/recommend`.

    So a proxy may take the prefix off or leave it on. `/prefix` itself, the console without its last slash,
    is redirected: by path alone, never by the caller's `Host`.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        app = self._app
        if scope["type"] == "http":
            scope["root_path"] = self._prefix
            if scope["path"] == self._prefix and scope["method"] in ("GET", "HEAD"):
                query = scope["query_string"].decode("latin-1")
                app = RedirectResponse(f"{self._prefix}/" + (f"?{query}" if query else ""))
        await app(scope, receive, send)
