"""The header `Host` against a list of names, so that no page's own name can stand for this service."""

import re
from collections.abc import Sequence

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import HostRefusedError
from service.problems import response_to

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")

_ALLOWED = "host_allowed"
_OWN = re.compile(rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def is_own_name(host: bytes) -> bool:
    """True for a `Host` that means this machine.

    A web page elsewhere can let its own name lead to 127.0.0.1, and a browser then takes us for that page:
    what needs no key on this machine must not be answered to that name.
    """
    return _OWN.fullmatch(host) is not None


class AllowedHosts:
    """Starlette's check, whose refusal becomes one of our problems.

    Besides `names` this machine's own do, and probes are answered by any: balancers ask by address.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._check = TrustedHostMiddleware(_note, allowed_hosts=[*names, *OWN_NAMES], www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and not scope["path"].endswith(("/health/live", "/health/ready")):
            await self._check(scope, receive, _drop)
            if not scope["state"].pop(_ALLOWED, False):
                await response_to(HostRefusedError(), scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _note(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI app
    scope["state"][_ALLOWED] = True


async def _drop(message: Message) -> None:
    """Starlette's own answer, in plain text."""
