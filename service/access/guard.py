"""The one guard in front of all routes: pure ASGI, some microseconds a request."""

import asyncio
from typing import NamedTuple

import structlog
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.hosts import is_own_name
from service.access.keyring import Keyring
from service.access.keys import ApiKey
from service.access.loopback import is_loopback
from service.access.rates import Rates
from service.access.roles import ANONYMOUS, RouteRoles, is_inside
from service.access.settings import AccessSettings
from service.errors import (
    AccessError,
    KeyMissingError,
    KeyUnknownError,
    RateExceededError,
    RoleMissingError,
)
from service.problems import response_to
from service.telemetry import Metrics

DELAY_S = 1.0
"""Wait before the answer to a wrong key."""

MAX_DELAYED = 64
"""Answers that wait at once; one more is given without a wait, so that wrong keys cannot pile up."""

_BEARER = b"bearer "
_FORWARDED = (b"forwarded", b"via", b"x-real-ip")

log = structlog.get_logger("dimerec.access")


class Guard:
    """Finds out who asks, and refuses what that caller may not do, before a byte of the body is read.

    A key comes as `Authorization: Bearer KEY` or `X-API-Key: KEY`. A request without one is anonymous; those
    are served from this machine (`allow_anonymous` None), from everywhere (True) or from nowhere (False). A
    request is this machine's own if it came over loopback, to a name of this machine, and no proxy passed it
    on.

    Leaves in `request.state`: `key`, the key's name or `anonymous`, for logs and metrics, and `caller`, by
    whom shares of the service are counted: the key's name, else the address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring,
        rates: Rates,
        roles: RouteRoles,
        settings: AccessSettings,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._rates = rates
        self._roles = roles
        self._allow_anonymous = settings.allow_anonymous
        self._admin_port = settings.admin_port
        self._wrong_keys = _WrongKeys(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            key = self._check(scope)
            if key is not None:
                await self._rates.count(key)
        except (AccessError, RateExceededError, HTTPException) as error:
            if isinstance(error, KeyUnknownError):
                await self._wrong_keys.delay(scope)
            await response_to(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> ApiKey | None:
        """The key of who asks, None for nobody's; raises AccessError unless they may."""
        route, role = self._roles.of(scope)
        if route is not None:
            if self._is_elsewhere(scope, route):
                raise HTTPException(404)
            scope["route"] = route  # for logs and metrics, where the request does not come to it
        given = _credentials(scope)
        address = scope["client"][0] if scope.get("client") else ""
        key = self._known(given.keys, scope)
        state = scope["state"]
        state["key"], state["caller"] = (key.name, key.name) if key else ("anonymous", address)
        if role is None:
            return None
        if key is not None and role not in key.roles:
            raise RoleMissingError(key.name, role)
        if key is None and (role not in ANONYMOUS or not self._serves_anonymous(address, given)):
            raise KeyMissingError(role)
        return key

    def _is_elsewhere(self, scope: Scope, route: Route) -> bool:
        """True for a route of the administrative port that is asked for at the other."""
        if self._admin_port is None or not is_inside(route):
            return False
        return bool(scope["server"][1] != self._admin_port)

    def _known(self, given: set[str], scope: Scope) -> ApiKey | None:
        """The key that was sent, None where none was. Raises KeyUnknownError."""
        if not given:
            return None
        key = self._keyring.find(given.pop()) if len(given) == 1 else None
        if key is None:
            scope["state"]["key"] = "wrong"
            raise KeyUnknownError
        return key

    def _serves_anonymous(self, address: str, given: "_Credentials") -> bool:
        if self._allow_anonymous is None:
            return given.own_name and not given.forwarded and is_loopback(address)
        return self._allow_anonymous


class _Credentials(NamedTuple):
    """Facts from the headers: different keys, and whether a proxy or another name has led here."""

    keys: set[str]
    forwarded: bool
    own_name: bool


def _credentials(scope: Scope) -> _Credentials:
    keys, forwarded, own_name = set(), False, False
    for name, value in scope["headers"]:
        if name == b"authorization":
            if value[: len(_BEARER)].lower() == _BEARER:
                keys.add(value[len(_BEARER) :].strip())
        elif name == b"x-api-key":
            keys.add(value.strip())
        elif name == b"host":
            own_name = is_own_name(value)
        elif name in _FORWARDED or name.startswith(b"x-forwarded-"):
            forwarded = True
    return _Credentials({key.decode("latin-1") for key in keys if key}, forwarded, own_name)


class _WrongKeys:
    """Counts, logs and delays the answers to wrong keys; nobody else waits for them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._delayed = 0

    async def delay(self, scope: Scope) -> None:
        """Wait before the answer, where not too many do already."""
        self._metrics.wrong_keys.inc()
        log.warning("wrong key", address=scope["client"][0] if scope.get("client") else "")
        if self._delayed >= MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(DELAY_S)
        finally:
            self._delayed -= 1
