"""Callers from elsewhere, for tests that all run on one machine."""

from collections.abc import Callable

import httpx
import pytest

from service.access import guard
from tests.service.serving import Running

ELSEWHERE = {"x-forwarded-for": "203.0.113.9"}
"""A header by which no request counts as this machine's own."""

Ask = Callable[..., httpx.Response]


@pytest.fixture(autouse=True)
def _short_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "DELAY_S", 0.01)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def problem(response: httpx.Response) -> str:
    """The name of the problem that an answer is."""
    assert response.headers["content-type"] == "application/problem+json"
    kind: str = response.json()["type"]
    return kind.removeprefix("urn:dimerec:problem:")


def call(server: Running, route: str, headers: dict[str, str]) -> httpx.Response:
    """Send a request that the schema of `route`, like `GET /users/{user_id}/history`, may or may not like."""
    method, path = route.split()
    return server.client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
