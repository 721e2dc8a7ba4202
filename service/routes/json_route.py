"""Routes whose requests and answers are JSON, and the short way to them.

FastAPI describes these routes and could serve them; between its middleware and a handler it spends more than
all of this service does around the computation (docs/performance.md). So they serve themselves.
"""

import time
from collections.abc import Iterable
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette._utils import get_route_path
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ClientLeftError, FieldFault, InvalidRequestError, MediaTypeError
from service.json_text import parsed
from service.problems import EXPECTED, faults_of, response_to
from service.trace import Trace


class JsonRoute(APIRoute):
    """A route served by `endpoint(request, body)`: `body` as JSON of the annotated type, a Response back.

    The body must say everything once: where an object has a name twice, a parser would take the last one, and
    a proxy or a log the first, and nobody could tell who was meant. Dependencies are not resolved, so a route
    that has some is refused.
    """

    def __init__(self, path: str, endpoint: Any, **described: Any) -> None:
        super().__init__(path, endpoint, **described)
        if self.dependant.dependencies:
            raise TypeError(f"{path}: a JsonRoute resolves no dependencies")
        self._body: TypeAdapter[Any] = TypeAdapter(get_type_hints(endpoint, include_extras=True)["body"])

    def get_route_handler(self) -> Any:
        """As FastAPI asks for it."""
        return self.respond

    async def respond(self, request: Request) -> Response:
        """Answer a request.

        Raises MediaTypeError, MalformedJsonError, InvalidRequestError, ClientLeftError, and whatever the
        endpoint raises.
        """
        reached = time.perf_counter()
        try:
            content = await request.body()
        except ClientDisconnect as error:
            raise ClientLeftError("the caller closed the connection") from error
        _check_declared_as_json(request, content)
        if not content:
            raise InvalidRequestError([FieldFault("body", "Field required")])
        try:
            body = self._body.validate_python(parsed(content))
        except ValidationError as error:
            raise InvalidRequestError(faults_of(error)) from error
        state = request.scope.get("state", {})
        trace: Trace | None = state.get("trace")
        if trace is not None:
            trace.note("admission", state["arrived"], reached)
            trace.note("validation", reached, time.perf_counter())
        response: Response = await self.endpoint(request=request, body=body)
        return response


class ShortWay:
    """Pure ASGI middleware, the innermost: gives requests for `routes` to them, all others to the app."""

    def __init__(self, app: ASGIApp, routes: Iterable[object]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, JsonRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        route = None
        if scope["type"] == "http":
            route = self._routes.get((scope["method"], get_route_path(scope)))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        try:
            response = await route.respond(Request(scope, receive))
        except EXPECTED as error:
            response = response_to(error, scope)
        await response(scope, receive, send)


def _check_declared_as_json(request: Request, content: bytes) -> None:
    """A body that is missing need not be declared: it is the schema's affair."""
    declared = request.headers.get("content-type", "")
    if declared == "application/json":
        return
    declared = declared.partition(";")[0].strip().lower()
    if declared == "application/json" or (declared.startswith("application/") and declared.endswith("+json")):
        return
    if declared or content:
        raise MediaTypeError("send the body with the header `content-type: application/json`")
