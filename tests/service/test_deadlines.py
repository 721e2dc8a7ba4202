"""A late history costs no answer: it is waited for as long as the deadline allows, and no longer."""

from typing import Any

import pytest

from tests.redis_server import RedisServer
from tests.service.conftest import Serve


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
