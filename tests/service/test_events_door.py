"""The door of `POST /events`: refused before the body is read where the event loop, or the store, is late."""

import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest

from service.history.errors import HistoryUnavailableError
from service.history.guarded import GuardedHistory
from service.history.in_process import InProcessHistory
from service.history.protocol import AppendResult, Event
from tests.service.conftest import Serve
from tests.service.serving import KEY, Running

HEAD = (
    "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    f"authorization: Bearer {KEY}\r\n"
)


def event(user_id: str = "u") -> dict[str, object]:
    return {"user_id": user_id, "item_id": "1001", "timestamp": int(time.time() * 1000)}


@contextmanager
def late(server: Running) -> Iterator[None]:
    """Let requests believe that many are inside, who wait long for their turns."""
    inside = server.service.door.inside
    for _ in range(500):
        inside.enter({})
    for _ in range(500):
        inside.begin(0.2)
    yield
    for _ in range(500):
        inside.leave()


class Full(InProcessHistory):
    """A store that takes no events while it is `full`, and notes how often it is asked to."""

    full = True
    asked = 0

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        self.asked += 1
        if self.full:
            raise HistoryUnavailableError("full")
        return await super().append_each(appends)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_events_are_refused_where_the_event_loop_is_late_by_app_and_connection(server: Running) -> None:
    address = f"{server.url}/events"
    with late(server), httpx.Client() as client:
        by_the_app = client.post(address, json=event())
        by_the_connection = client.post(address, json=event())
    for refused in (by_the_app, by_the_connection):
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:dimerec:problem:overloaded")
        assert refused.headers["retry-after"] == "1"
    assert by_the_app.headers.keys() == by_the_connection.headers.keys()
    assert server.metric("dimerec_requests_total", method="POST", route="/events", status="503") == 2
    assert server.client.post("/events", json=event()).status_code == 200


def test_a_refused_event_needs_no_body_and_its_connection_goes_on(server: Running) -> None:
    body = json.dumps(event("goes-on")).encode()
    request = f"{HEAD}content-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as caller:
        with late(server):
            caller.sendall(request)
            assert caller.recv(65_536).startswith(b"HTTP/1.1 503 ")  # the app's
            caller.sendall(body + request + body)
            assert re.findall(rb"HTTP/1.1 (\d+)", caller.recv(65_536)) == [b"503"]
        caller.sendall(request + body)
        assert caller.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_what_changes_no_history_by_events_is_not_refused_with_them(server: Running) -> None:
    with late(server):
        assert server.client.delete("/users/u/events/events").status_code == 200
        assert server.client.delete("/users/u/events/recommend").status_code == 200


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Full:
    return Full()


@pytest.fixture
def guarded(serve: Serve, store: Full, clock: Clock) -> Running:
    """A server whose circuit opens at the first failure, for ten seconds of `clock`."""
    return serve(GuardedHistory(store, failures=1, reset_s=10.0, clock=clock))


def test_events_are_refused_unread_while_the_store_takes_none(
    guarded: Running, store: Full, clock: Clock
) -> None:
    failed = guarded.client.post("/events", json=event())
    assert (failed.status_code, store.asked) == (503, 1)
    with httpx.Client() as client:
        refusals = [client.post(f"{guarded.url}/events", json={"nonsense": 1}) for _ in range(2)]
    for refused in refusals:
        told = {**refused.json(), "request_id": ""}
        assert (refused.status_code, told) == (503, {**failed.json(), "request_id": ""})
        assert refused.headers["retry-after"] == failed.headers["retry-after"]
    assert store.asked == 1
    assert guarded.metric("dimerec_history_errors_total", operation="append") == 3
    assert guarded.answer(user_id="u", k=3)["degraded"] is None
    clock.now = 11.0
    store.full = False
    assert guarded.client.post("/events", json=event()).json()["added"] == 1


def test_a_bad_event_does_not_keep_the_store_from_being_tried_again(
    guarded: Running, store: Full, clock: Clock
) -> None:
    guarded.client.post("/events", json=event())
    clock.now = 11.0
    store.full = False
    assert guarded.client.post("/events", json={"nonsense": 1}).status_code == 422
    assert guarded.client.post("/events", json=event()).status_code == 200
