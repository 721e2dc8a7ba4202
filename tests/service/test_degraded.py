"""Redis slow, gone and back: recommendations go on and say so; nothing else pretends."""

import time
from typing import Any

import pytest
import redis

from tests.redis_server import RedisServer
from tests.service.conftest import Serve
from tests.service.serving import Running


@pytest.fixture
def server(serve: Serve, redis_url: str) -> Running:
    running = serve(redis_url=redis_url, history_timeout_s=1.0)
    running.watch("known", "1001", "1002")
    assert (
        until_recovered(running, "known")["source"] == "personal"
    )  # a busy machine's first read may be late
    return running


def until_recovered(server: Running, user_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        answer: dict[str, Any] = server.answer(user_id=user_id)
        if answer["degraded"] is None:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_redis_gone_and_back(server: Running, redis_server: RedisServer) -> None:
    redis_server.stop()
    for _ in range(8):  # past the point where the circuit opens
        cold: Any = server.answer(user_id="known", k=3)
        assert (cold["source"], cold["degraded"]) == ("popularity", "history_unavailable")
        assert len(cold["items"]) == 3
    own: Any = server.answer(user_id="known", history=["1005"], k=500)
    assert (own["source"], own["degraded"]) == ("personal", "history_unavailable")
    assert "1005" not in {item["item_id"] for item in own["items"]}
    batch = server.client.post(
        "/recommend/batch", json={"requests": [{"user_id": "known"}, {"history": ["1005"]}]}
    )
    assert [answer["degraded"] for answer in batch.json()["answers"]] == ["history_unavailable", None]
    assert server.metric("dimerec_degraded_total", reason="history_unavailable") >= 9
    assert server.metric("dimerec_history_errors_total", operation="read") >= 9
    assert server.client.get("/health/ready").status_code == 200

    redis_server.start()  # empty: it keeps nothing on disk
    assert until_recovered(server, "known")["source"] == "popularity"
    server.watch("known", "1003")
    back: Any = server.answer(user_id="known", k=500)
    assert (back["source"], back["degraded"]) == ("personal", None)
    assert "1003" not in {item["item_id"] for item in back["items"]}


def test_what_does_not_need_the_store_is_not_degraded(server: Running, redis_server: RedisServer) -> None:
    redis_server.stop()
    anonymous: Any = server.answer(history=["1005"])
    assert anonymous["degraded"] is None
    seen_allowed: Any = server.answer(user_id="known", history=["1005"], exclude_seen=False)
    assert seen_allowed["degraded"] == "history_unavailable"  # what the user does not want is not known


def test_redis_that_hangs_costs_at_most_the_timeout(server: Running, redis_server: RedisServer) -> None:
    redis_server.pause()
    answer: Any = server.answer(user_id="known")
    assert answer["degraded"] == "history_unavailable"
    redis_server.resume()
    assert until_recovered(server, "known")["source"] == "personal"


def test_calls_that_are_about_the_store_say_503(server: Running, redis_server: RedisServer) -> None:
    redis_server.stop()
    event = {"user_id": "known", "item_id": "1001", "timestamp": 1_700_000_000_000}
    for response in (
        server.client.post("/events", json=event),
        server.client.get("/users/known/history"),
        server.client.delete("/users/known/history"),
    ):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["type"] == "urn:dimerec:problem:history-unavailable"
        assert str(redis_server.port) not in response.text


def test_a_user_under_whose_key_something_else_is_kept_can_be_forgotten(
    server: Running, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as raw:
        raw.delete("dimerec:history:2:{known}")
        raw.rpush("dimerec:history:2:{known}", "1001")
    answer: Any = server.answer(user_id="known")
    assert (answer["source"], answer["degraded"]) == ("popularity", "history_unavailable")
    problem = server.client.get("/users/known/history")
    assert (problem.status_code, problem.json()["type"]) == (503, "urn:dimerec:problem:history-unreadable")
    assert "DELETE /users/{user_id}/history" in problem.json()["detail"]
    assert server.client.delete("/users/known/history").json()["removed"] == 0
    server.watch("known", "1002")
    answer = server.answer(user_id="known")
    assert (answer["source"], answer["degraded"]) == ("personal", None)
