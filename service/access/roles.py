"""Roles, and the table of routes: which role each of them needs."""

from collections.abc import Iterable
from enum import StrEnum

from starlette._utils import get_route_path
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from service.errors import StartupError


class Role(StrEnum):
    """A permission of a key."""

    READ = "read"
    WRITE = "write"
    USERS = "users"
    CATALOGUE = "catalogue"
    ADMIN = "admin"
    METRICS = "metrics"


MEANINGS = {
    Role.READ: "recommendations, similar items, versions",
    Role.WRITE: "add events, take them back",
    Role.USERS: "read and forget histories, list users",
    Role.CATALOGUE: "change the catalogue, and see what was changed",
    Role.ADMIN: "reload and roll back bundles",
    Role.METRICS: "read the metrics",
}

ANONYMOUS = frozenset({Role.READ, Role.WRITE, Role.USERS, Role.METRICS})
"""Roles of a caller without a key, from where such callers are served at all."""

ROLES: dict[str, Role | None] = {
    "POST /recommend": Role.READ,
    "POST /recommend/batch": Role.READ,
    "GET /items/{item_id}/similar": Role.READ,
    "PUT /items/{item_id}": Role.CATALOGUE,
    "DELETE /items/{item_id}": Role.CATALOGUE,
    "GET /items/{item_id}": Role.CATALOGUE,
    "POST /items": Role.CATALOGUE,
    "GET /items": Role.CATALOGUE,
    "GET /catalogue": Role.CATALOGUE,
    "POST /catalogue": Role.CATALOGUE,
    "POST /catalogue/compact": Role.CATALOGUE,
    "GET /version": Role.READ,
    "POST /events": Role.WRITE,
    "DELETE /users/{user_id}/events/{event_id}": Role.WRITE,
    "GET /users": Role.USERS,
    "GET /users/{user_id}/history": Role.USERS,
    "DELETE /users/{user_id}/history": Role.USERS,
    "GET /metrics": Role.METRICS,
    "POST /admin/reload": Role.ADMIN,
    "POST /admin/rollback": Role.ADMIN,
    "GET /health/live": None,
    "GET /health/ready": None,
    "GET /openapi.json": None,
    "GET /": None,
    "GET /console/settings.json": None,
    "GET /console/{name}": None,
}
"""Route → the role that it needs; None: anybody's, because nothing in the answer is anybody's own."""


_INSIDE = ("/", "/admin/", "/console/", "/metrics")


def is_inside(route: Route) -> bool:
    """True for a route of operators, which has a port of its own where the settings name one."""
    return route.path == "/" or route.path.startswith(_INSIDE[1:])


class RouteRoles:
    """Finds the role that a request needs, by the very routes that will answer it.

    What matches no route needs none: the router answers 404 or 405. Raises StartupError for a route that
    `ROLES` lacks, so that no service starts with one.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._fixed: dict[tuple[str, str], tuple[Route, Role | None]] = {}
        self._others: list[tuple[Route, dict[str, Role | None]]] = []
        for route in routes:
            if not isinstance(route, Route):
                raise StartupError(f"{route} is no route with methods, so no role guards it")
            roles = {method: _role(method, route) for method in (route.methods or ()) if method != "HEAD"}
            if route.param_convertors:
                self._others.append((route, roles))
            else:
                self._fixed |= {(method, route.path): (route, role) for method, role in roles.items()}

    def of(self, scope: Scope) -> tuple[Route | None, Role | None]:
        """The route that will answer the request of `scope`, and the role that it needs."""
        fixed = self._fixed.get((scope["method"], get_route_path(scope)))
        if fixed is not None:
            return fixed
        for route, roles in self._others:
            if route.matches(scope)[0] is Match.FULL:
                return route, roles[scope["method"]]
        return None, None


def _role(method: str, route: Route) -> Role | None:
    name = f"{method} {route.path_format}"
    if name not in ROLES:
        raise StartupError(f"the route {name} has no role: give it one in service/access/roles.py")
    return ROLES[name]
