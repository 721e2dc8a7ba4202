"""A late history costs no answer: it is waited for as long as the deadline allows, and no longer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.history.guarded import GuardedHistory
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer
from tests.service.conftest import Serve
from tests.service.processes import until


@pytest.mark.parametrize("deadline_ms", [200, 800])
def test_redis_that_hangs_degrades_within_the_deadline(
    serve: Serve, redis_server: RedisServer, deadline_ms: int
) -> None:
    """The deadline is shorter than the timeout of the history: 504 without answer would be a waste."""
    server = serve(redis_url=redis_server.url, history_timeout_s=10.0)
    server.watch("u", "1001")
    redis_server.pause()
    for _ in range(4):
        answer: Any = server.answer(user_id="u", deadline_ms=deadline_ms)
        assert answer["degraded"] == "history_unavailable"
    redis_server.resume()


def test_connections_that_are_all_in_use_are_no_fault_of_redis(
    serve: Serve, redis_server: RedisServer
) -> None:
    """One connection, on which somebody waits for a Redis that hangs."""
    store = RedisHistory.from_url(redis_server.url, timeout_s=30.0, max_connections=1)
    server = serve(GuardedHistory(store))
    server.watch("u", "1001")
    redis_server.pause()
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(server.answer, user_id="u", deadline_ms=20_000)
        until(lambda: store.busy)
        answer: Any = server.answer(user_id="u", history=["1002"], deadline_ms=400)
        assert (answer["source"], answer["degraded"]) == ("personal", "history_busy")
        refused = server.client.get("/users/u/history")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.metric("dimerec_degraded_total", reason="history_busy") == 1
        redis_server.resume()
        assert waiting.result()["degraded"] is None
    assert server.answer(user_id="u")["degraded"] is None


def test_histories_of_a_batch_are_one_read(serve: Serve, redis_server: RedisServer) -> None:
    server = serve(redis_url=redis_server.url)
    users = [f"user {n}" for n in range(60)]
    for user_id in users:
        server.watch(user_id, "1001")
    before = server.metric("dimerec_history_seconds_count", operation="read")
    asked = {"requests": [{"user_id": user_id, "k": 1} for user_id in users]}
    answers = server.client.post("/recommend/batch", json=asked).json()["answers"]
    assert {(answer["source"], answer["degraded"]) for answer in answers} == {("personal", None)}
    assert server.metric("dimerec_history_seconds_count", operation="read") == before + 1
