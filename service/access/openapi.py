"""The keys and roles of the routes in the OpenAPI document."""

from typing import Any

from service.access.roles import ANONYMOUS, ROLES, Role
from service.problems import documented

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key of `dimerec keys create`"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}


_REFUSALS = {str(status): said for status, said in documented(401, 403, 429).items()}


def with_security(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the key that each operation needs, and the answers where it is missing."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (role := ROLES[f"{method.upper()} {path}"]) is not None:
                operation["security"] = _needed(role)
                operation["responses"] |= _REFUSALS
                operation["description"] += f"\n\nNeeds the role `{role}`."
    return document


def _needed(role: Role) -> list[dict[str, list[str]]]:
    """Either header; or, where a caller without a key may have the role, none."""
    either: list[dict[str, list[str]]] = [{scheme: []} for scheme in _SCHEMES]
    return [*either, {}] if role in ANONYMOUS else either
