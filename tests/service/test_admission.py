"""Admission over real sockets: refused before anything is read, by the queue, the deadline and the caller."""

import json
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from engine.contract import EngineRequest
from service.errors import OverloadedError
from service.pace import BATCH_COST, BATCHES
from tests.service.gated import GatedEngine, until
from tests.service.serving import Running

Busy = Callable[..., Running]


def plain_cost(server: Running) -> float:
    """The cost of a request that asks for nothing in particular."""
    return server.service.engines.engine.costs.of(EngineRequest(["1001"], 10))


def set_pace(server: Running, seconds: float) -> None:
    """Let the server believe that a plain request takes so long in a large batch."""
    cost = plain_cost(server)
    for _ in range(BATCHES):
        server.service.batcher._pace.note(seconds / cost * (BATCH_COST + cost), cost)


class Standing:
    """A server whose engine is at work, with a queue that it will need seconds for."""

    def __init__(self, server: Running, callers: ThreadPoolExecutor, waiting: int = 30) -> None:
        self.server = server
        batcher = server.service.batcher
        set_pace(server, 0.1)
        self.waiting = [
            callers.submit(httpx.post, f"{server.url}/recommend", json={"history": ["1001"]}, timeout=30)
            for _ in range(waiting)
        ]
        until(lambda: batcher.queue_length == waiting)


@pytest.fixture
def standing(busy: Busy) -> Any:
    with ThreadPoolExecutor(32) as callers:
        yield Standing(busy(), callers)
        GatedEngine.gate.set()


PATHS = ("/recommend", "/recommend/batch")


@pytest.mark.parametrize("path", PATHS)
def test_what_would_be_late_is_refused_at_once_with_a_time_to_come_back(
    standing: Standing, path: str
) -> None:
    server = standing.server
    refused = server.client.post(path, json={"nonsense": 1}, headers={"x-deadline-ms": "500"})
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:dimerec:problem:overloaded"
    assert int(refused.headers["retry-after"]) >= 2
    assert refused.headers["x-request-id"] == refused.json()["request_id"]
    assert server.metric("dimerec_refused_total", reason="overloaded") == 1
    assert server.metric("dimerec_requests_total", method="POST", route=path, status="503") == 1
    assert server.service.batcher.queue_length == 30


def test_similar_items_go_through_the_same_door(standing: Standing) -> None:
    server = standing.server
    path = "/items/1001/similar"
    assert server.client.get(path, headers={"x-deadline-ms": "500"}).status_code == 503
    labels = {"method": "GET", "route": "/items/{item_id}/similar", "status": "503"}
    assert server.metric("dimerec_requests_total", **labels) == 1
    with ThreadPoolExecutor(1) as caller:
        allowed: Future[httpx.Response] = caller.submit(server.client.get, path)
        until(lambda: server.service.batcher.queue_length == 31)
        GatedEngine.gate.set()
        assert len(allowed.result().json()["items"]) == 10


def test_a_caller_who_was_answered_before_is_refused_alike_by_the_connection(standing: Standing) -> None:
    """By the app on a new connection; then, where the app has answered, before it: only ids differ."""
    body = {"history": ["1001"]}
    given = {"x-deadline-ms": "500", "x-request-id": "mine"}
    address = f"{standing.server.url}/recommend"
    with httpx.Client() as client:
        by_the_app = client.post(address, json=body, headers=given)
        by_the_connection = client.post(address, json=body, headers=given)
        probe = client.get(f"{standing.server.url}/health/live")
    assert by_the_app.status_code == by_the_connection.status_code == 503
    assert by_the_connection.json() == by_the_app.json()
    assert "date" in by_the_connection.headers
    assert {**by_the_connection.headers, "date": ""} == {**by_the_app.headers, "date": ""}
    assert probe.status_code == 200
    server = standing.server
    assert server.metric("dimerec_refused_total", reason="overloaded") == 2
    assert server.metric("dimerec_requests_total", method="POST", route="/recommend", status="503") == 2


def test_another_key_on_the_same_connection_is_looked_at_by_the_app(standing: Standing) -> None:
    given = {"x-deadline-ms": "500"}
    address = f"{standing.server.url}/recommend"
    with httpx.Client() as client:
        assert client.post(address, json={}, headers=given).status_code == 503
        unknown = client.post(address, json={}, headers={**given, "x-api-key": "unknown"})
    assert unknown.status_code == 401


def test_bodies_of_refused_requests_do_not_reach_the_next_one(standing: Standing) -> None:
    """Two requests in one piece, the first of them refused by the connection."""
    one = b"POST /recommend HTTP/1.1\r\nhost: localhost\r\nx-deadline-ms: 500\r\ncontent-length: 3\r\n\r\nabc"
    probe = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", standing.server.port), timeout=20) as connection:
        connection.sendall(one)
        assert connection.recv(4096).startswith(b"HTTP/1.1 503")
        connection.sendall(one + probe)
        answered = b""
        while piece := connection.recv(4096):
            answered += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", answered) == [b"503", b"200"]


def test_a_refused_head_has_no_body(standing: Standing) -> None:
    """Else the next answer on the connection could not be told from it."""
    fields = b" HTTP/1.1\r\nhost: localhost\r\nx-deadline-ms: 500\r\n"
    with socket.create_connection(("127.0.0.1", standing.server.port), timeout=20) as connection:
        for _ in range(2):  # by the app, then by the connection
            connection.sendall(b"HEAD /items/1001/similar" + fields + b"\r\n")
            assert connection.recv(4096).endswith(b"\r\n\r\n")
        connection.sendall(b"GET /health/live" + fields + b"connection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_refusal_needs_no_body(standing: Standing) -> None:
    """It comes while the caller has sent nothing but the headers."""
    head = "POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n"
    head += "content-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", standing.server.port), timeout=20) as caller:
        caller.sendall(f"{head}x-deadline-ms: 500\r\n\r\n".encode())
        assert caller.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_a_connection_goes_on_after_a_refusal(standing: Standing) -> None:
    body = json.dumps({"history": ["1001"]})
    request = (
        "POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-deadline-ms: 500\r\n\r\n{body}"
    ).encode()
    with socket.create_connection(("127.0.0.1", standing.server.port), timeout=20) as caller:
        for _ in range(3):
            caller.sendall(request)
            answer = caller.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"connection: close" not in answer.lower()


def test_what_does_not_compute_is_not_refused(standing: Standing) -> None:
    header = {"x-deadline-ms": "1"}
    for path in ("/health/ready", "/version", "/users/u/history", "/metrics", "/openapi.json"):
        assert standing.server.client.get(path, headers=header).status_code == 200
    standing.server.watch("u", "1001")


def test_the_default_deadline_decides_for_those_who_name_none(busy: Busy) -> None:
    with ThreadPoolExecutor(32) as callers:
        server = busy(default_deadline_ms=1_000)
        set_pace(server, 0.01)
        waiting = [callers.submit(server.recommend, history=["1001"]) for _ in range(4)]
        until(lambda: server.service.batcher.queue_length == 4)
        set_pace(server, 1.0)
        assert server.recommend(history=["1001"]).status_code == 503
        GatedEngine.gate.set()
        del waiting


def test_the_deadline_of_the_body_is_kept_to_as_well(standing: Standing) -> None:
    refused = standing.server.recommend(history=["1001"], deadline_ms=500)
    assert refused.status_code == 503
    refused = standing.server.client.post(
        "/recommend", json={"history": ["1001"], "deadline_ms": 500}, headers={"x-deadline-ms": "20000"}
    )
    assert refused.status_code == 503


@pytest.mark.parametrize("value", ["", "0", "-5", "1.5", "soon", "60001", "1" * 400, "١"])
def test_a_header_that_is_no_deadline_is_the_callers_fault(server: Running, value: str) -> None:
    headers = {b"x-deadline-ms": value.encode()}
    refused = server.client.post("/recommend", json={"history": ["1001"]}, headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "X-Deadline-Ms")


def test_an_idle_service_answers_whatever_its_pace_was(server: Running) -> None:
    set_pace(server, 60.0)
    for _ in range(3):
        assert server.client.post(
            "/recommend", json={"history": ["1001"]}, headers={"x-deadline-ms": "5000"}
        ).is_success


def test_a_caller_with_a_long_queue_leaves_others_their_share(standing: Standing) -> None:
    batcher, cost = standing.server.service.batcher, plain_cost(standing.server)
    assert batcher.predicted_s(cost, "127.0.0.1") > 5 * batcher.predicted_s(cost, "10.0.0.9")
    batcher.admit(3.0, cost, "10.0.0.9")
    with pytest.raises(OverloadedError):
        batcher.admit(3.0, cost, "127.0.0.1")


def test_refusing_reads_no_history(standing: Standing) -> None:
    server = standing.server
    before = server.metric("dimerec_history_seconds_count", operation="read")
    assert server.recommend(user_id="u", deadline_ms=500).status_code == 503
    assert server.metric("dimerec_history_seconds_count", operation="read") == before


def test_a_thousand_callers_that_only_begin_do_not_count_as_a_queue(standing: Standing) -> None:
    """A body that drips is no work that is on its way."""
    server = standing.server
    head = b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
    head += b"content-type: application/json\r\n\r\n"
    predicted = server.service.batcher.predicted_s(1.0, "somebody else")
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for connection in connections:
        connection.sendall(head)
    time.sleep(0.05)
    assert server.service.batcher.predicted_s(1.0, "somebody else") <= predicted
    for connection in connections:
        connection.close()
