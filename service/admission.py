"""Pure ASGI middleware at the door of every route that computes: refuses by the queue alone.

A request that could not be answered by its deadline is refused before its body is read, its fields are
checked or a history is fetched, so that a service with too much to do spends next to nothing on what it
turns away. All that is known here is the queue, and the time that the caller allows in `X-Deadline-Ms` (else
the default).
"""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from service.batcher import MicroBatcher
from service.errors import FieldFault, InvalidRequestError, RequestRefusedError
from service.problems import response_to
from service.settings import MAX_DEADLINE_MS
from service.telemetry import Metrics

HEADER = "X-Deadline-Ms"
_HEADER = HEADER.lower().encode()


class Admission:
    """Refuses requests to the `routes` (end of the path → route) that `batcher` could not answer in time.

    For the others it notes in the request's state who calls, where nothing has said so yet, and the deadline
    of the header.
    """

    def __init__(
        self,
        app: ASGIApp,
        batcher: MicroBatcher,  # type: ignore[type-arg]  # of whatever is computed
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or not scope["path"].endswith(self._ends):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        caller = state.setdefault("caller", _address(scope))
        try:
            state["deadline_ms"] = deadline_ms = _deadline_ms(scope)
            self._batcher.admit((deadline_ms or self._default_deadline_ms) / 1000, caller=caller)
        except (RequestRefusedError, InvalidRequestError) as error:
            scope["route"] = next(
                route for end, route in self._routes.items() if scope["path"].endswith(end)
            )  # for logs and metrics
            if isinstance(error, RequestRefusedError):
                self._metrics.refuse(error)
            await response_to(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _address(scope: Scope) -> str:
    """The peer's address; what a trusted proxy says of it, the server has put there."""
    client = scope.get("client")
    return client[0] if client else ""


def _deadline_ms(scope: Scope) -> int | None:
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if not given:
        return None
    if len(given) == 1 and given[0].isdigit() and 1 <= int(given[0][:9]) <= MAX_DEADLINE_MS:
        return int(given[0])
    raise InvalidRequestError([FieldFault(HEADER, f"send one integer from 1 to {MAX_DEADLINE_MS}, in ms")])
