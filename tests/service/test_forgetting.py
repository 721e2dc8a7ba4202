"""A user who is forgotten: nothing is left in Redis or in the log, and nothing older comes back."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis

from service.history.errors import HistoryUnavailableError
from service.history.importing import import_histories
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.history.redis_keys import SECRET, history_key, mark_key
from tests.service.processes import process
from tests.service.round_trips import counted

USER = "somebody-4711/ü"
ENCODED = "somebody-4711%2F%C3%BC"
TRACES = [
    *(USER, "somebody-4711", ENCODED, "left-behind-item", "left-behind-event"),
    *(digest(USER.encode()).hexdigest() for digest in (hashlib.md5, hashlib.sha1, hashlib.sha256)),
]


@pytest.fixture
def raw(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def everything_in(raw: redis.Redis) -> str:
    """Every key and value, as text."""
    read: dict[object, Callable[[bytes], object]] = {
        b"string": raw.get,
        b"hash": raw.hgetall,
        b"stream": raw.xrange,
        b"zset": lambda key: raw.zrange(key, 0, -1),
    }
    return repr([(key, read[raw.type(key)](key)) for key in raw.scan_iter()])


def event(timestamp: int, **fields: str) -> dict[str, object]:
    return {"user_id": USER, "item_id": "left-behind-item", "timestamp": timestamp, **fields}


def test_no_trace_is_left_in_redis_or_in_the_log(
    bundle_root: Path, tmp_path: Path, redis_url: str, raw: redis.Redis
) -> None:
    now = int(time.time() * 1000)
    arguments = ("--bundles", bundle_root, "--redis", redis_url)
    with (
        process(tmp_path, *arguments, DIMEREC_LOG_LEVEL="debug", DIMEREC_HISTORY_TIMEOUT_S="10") as served,
        httpx.Client(base_url=served.url, timeout=30) as client,
    ):
        sent = [event(now - 2), event(now - 1, event_id="left-behind-event")]
        assert client.post("/events", json={"events": sent}).json()["added"] == 2
        assert client.post("/recommend", json={"user_id": USER}).status_code == 200
        wishes = [{"user_id": USER, "history": ["left-behind-item"]}, {"user_id": USER, "k": 0}]
        assert client.post("/recommend/batch", json={"requests": wishes}).status_code == 200
        assert len(client.get(f"/users/{ENCODED}/history").json()["events"]) == 2
        client.get("/items/left-behind-item/similar")
        assert any(trace in everything_in(raw) for trace in TRACES)

        assert client.delete(f"/users/{ENCODED}/history").json()["removed"] == 2
        assert client.post("/events", json={"events": sent}).json()["outdated"] == 2
        assert client.get(f"/users/{ENCODED}/history").json()["events"] == []
        lines = "".join(served.stop())
    left = everything_in(raw)
    assert [trace for trace in TRACES if trace in left] == ["left-behind-item"]
    (counts,) = raw.keys("dimerec:{trending}:*")  # how often items were watched stays, and names nobody
    assert raw.zrange(counts, 0, -1) == [b"left-behind-item"]
    raw.delete(counts)
    assert "left-behind-item" not in everything_in(raw)
    assert [trace for trace in TRACES if trace in lines] == []
    assert all(json.loads(line) for line in lines.splitlines())


async def test_an_import_brings_nothing_back(redis_url: str) -> None:
    store = RedisHistory.from_url(redis_url, timeout_s=30)
    await store.append(USER, [Event("a", 1)])
    await store.forget(USER)
    later = int(time.time() * 1000) + 1
    histories = [(USER, [Event("a", 1), Event("b", 2), Event("c", later)]), ("other", [Event("a", 1)])]
    (step,) = [step async for step in import_histories(store, "job", histories)]
    assert step.result == AppendResult(added=2, outdated=2)
    assert await store.read(USER, 9) == [Event("c", later)]
    await store.close()


async def test_the_mark_lives_as_long_as_a_history_and_names_nobody(redis_url: str, raw: redis.Redis) -> None:
    store = RedisHistory.from_url(redis_url, timeout_s=30, ttl_s=60, clock=lambda: 1_795_000_000_000)
    await store.forget(USER)
    (mark,) = raw.scan_iter(mark_key("*"))
    assert raw.get(mark) == b"1795000000000"
    assert 55_000 < raw.pttl(mark) <= 60_000
    assert raw.ttl(SECRET) == -1
    assert not any(trace.encode() in mark for trace in TRACES)
    await store.close()


async def test_stores_and_their_successors_know_the_same_marks(redis_url: str, raw: redis.Redis) -> None:
    first, second = (RedisHistory.from_url(redis_url, timeout_s=30) for _ in range(2))
    await first.append("u", [Event("a", 1)])
    await second.forget("u")
    assert await first.append("u", [Event("a", 1)]) == AppendResult(outdated=1)
    raw.script_flush()
    assert await first.append("u", [Event("a", 2)]) == AppendResult(outdated=1)
    third = RedisHistory.from_url(redis_url, timeout_s=30)
    assert await third.append("u", [Event("a", 1)]) == AppendResult(outdated=1)
    raw.flushdb()  # Redis came back empty: with the marks their key is gone, and another one is made
    await second.forget("u")
    fourth = RedisHistory.from_url(redis_url, timeout_s=30)
    assert await fourth.append("u", [Event("a", 1)]) == AppendResult(outdated=1)
    for store in (first, second, third, fourth):
        await store.close()


async def test_another_users_failure_lets_nothing_older_come_back(redis_url: str, raw: redis.Redis) -> None:
    """In one call with a user whose key holds something else."""
    store = RedisHistory.from_url(redis_url, max_events=10, ttl_s=1000, timeout_s=10)
    now = int(time.time() * 1000)
    await store.append(USER, [Event("left-behind-item", now - 5)])
    await store.forget(USER)
    raw.lpush(history_key("a"), "no history")
    with pytest.raises(HistoryUnavailableError):
        await store.append_many([("a", Event("1", now)), (USER, Event("left-behind-item", now - 5))])
    assert await store.read(USER, 10) == []
    await store.close()


async def test_a_store_that_does_not_know_the_secret_yet_reads_all_marks_together(redis_url: str) -> None:
    first = RedisHistory.from_url(redis_url, timeout_s=30)
    events = [(f"user {n}", Event("a", 1)) for n in range(50)]
    await first.append_many(events)
    for user_id, _ in events[:3]:
        await first.forget(user_id)
    async with counted(redis_url) as proxy:
        second = RedisHistory.from_url(proxy.url, timeout_s=30)
        await second.ping()
        proxy.turns = 0
        assert await second.append_many(events[2:]) == AppendResult(repeated=47, outdated=1)
        assert proxy.turns == 3, "the appends, the marks of all, and the one event to take back"
        await second.close()
    await first.close()
