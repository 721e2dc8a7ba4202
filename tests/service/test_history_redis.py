"""What only the Redis store promises: keys, lifetimes, memory, one round trip, and how it fails."""

import asyncio
import re
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis
import uvloop

from files.clock import now_ms
from service.history.encoding import encode, identity
from service.history.errors import HistoryUnavailableError, HistoryUnreadableError, HistoryUrlError
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer
from tests.service.round_trips import CountingProxy, counted

PATIENCE_S = 30.0
SHORT_S = 0.5
USER_KEY = "dimerec:history:2:{u}"


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisHistory]:
    store = RedisHistory.from_url(redis_url, timeout_s=PATIENCE_S, ttl_s=60)
    yield store
    await store.close()


@pytest.fixture
def raw(redis_url: str) -> redis.Redis:
    """The database as Redis sees it."""
    return redis.Redis.from_url(redis_url)


@asynccontextmanager
async def impatient(server: RedisServer) -> AsyncIterator[RedisHistory]:
    store = RedisHistory.from_url(server.url, timeout_s=SHORT_S)
    try:
        yield store
    finally:
        await store.close()


async def test_every_user_is_one_key_with_a_hash_tag(store: RedisHistory, raw: redis.Redis) -> None:
    await store.append_many([("u", Event("a", 1)), ("x}{*\n/é", Event("a", 1)), ("u", Event("b", 2, "id"))])
    assert sorted(raw.keys("dimerec:history:*")) == [
        USER_KEY.encode(),
        b"dimerec:history:2:{x%7D%7B%2A%0A%2F%C3%A9}",
    ]


async def test_every_key_always_has_a_lifetime(store: RedisHistory, raw: redis.Redis) -> None:
    await store.append("u", [Event("a", 1)])
    await store.append_many([("v", Event("a", 1)), ("w", Event("a", 1))])
    await store.append("v", [Event("a", 1)])
    lifetimes = [raw.pttl(key) for key in raw.keys("dimerec:history:*")]
    assert len(lifetimes) == 3
    assert all(0 < lifetime <= 60_000 for lifetime in lifetimes)


@pytest.mark.parametrize("event", [Event("b", 2), Event("a", 1)], ids=["new event", "repeat"])
async def test_an_append_starts_the_lifetime_anew(
    store: RedisHistory, raw: redis.Redis, event: Event
) -> None:
    await store.append("u", [Event("a", 1)])
    raw.pexpire(USER_KEY, 5_000)
    await store.append("u", [event])
    assert raw.pttl(USER_KEY) > 5_000


async def test_an_event_taken_back_leaves_the_lifetime_as_it_is(
    store: RedisHistory, raw: redis.Redis
) -> None:
    await store.append("u", [Event("a", 1, "first"), Event("b", 2, "second")])
    raw.pexpire(USER_KEY, 5_000)
    for event_id, lifetimes in (
        ("never sent", range(1, 5_001)),
        ("first", range(1, 5_001)),
        ("second", [-2]),
    ):
        await store.remove("u", event_id)
        assert raw.pttl(USER_KEY) in lifetimes


async def test_a_history_without_events_for_long_disappears(redis_url: str) -> None:
    store = RedisHistory.from_url(redis_url, timeout_s=PATIENCE_S, ttl_s=0.05)
    await store.append("u", [Event("a", 1)])
    async with asyncio.timeout(PATIENCE_S):
        while await store.users(1):
            await asyncio.sleep(0.01)
    assert await store.read("u", 50) == []
    await store.close()


async def test_a_history_is_kept_compactly(store: RedisHistory, raw: redis.Redis) -> None:
    for kept in (50, 1_000):
        await store.append(
            "u", [Event(f"{n:06}", 1_700_000_000_000 + n, f"a long event id {n}") for n in range(kept)]
        )
        assert raw.strlen(USER_KEY) == 8 + kept * (8 + 8 + len("000000") + 1)
        used = raw.memory_usage(USER_KEY)
        assert used is not None
        assert used < 200 + 27 * kept


async def test_memory_stays_bounded_however_much_is_appended(store: RedisHistory, raw: redis.Redis) -> None:
    for start in range(0, 5_000, 500):
        await store.append("u", [Event(f"{n:06}", n) for n in range(start, start + 500)])
    assert raw.strlen(USER_KEY) == 8 + 1_000 * 23
    assert await store.read("u", 5_000) == [Event(f"{n:06}", n) for n in range(4_000, 5_000)]


async def test_a_lower_bound_takes_effect_at_once(
    store: RedisHistory, raw: redis.Redis, redis_url: str
) -> None:
    await store.append("u", [Event(str(n), n) for n in range(10)])
    smaller = RedisHistory.from_url(redis_url, max_events=3, timeout_s=PATIENCE_S)
    assert await smaller.read("u", 50) == [Event("7", 7), Event("8", 8), Event("9", 9)]
    assert await smaller.append("u", [Event("10", 10)]) == AppendResult(added=1)
    assert raw.strlen(USER_KEY) == 8 + 17 * 3 + len("8" + "9" + "10")
    assert await smaller.forget("u") == 3
    await smaller.close()


async def test_a_server_that_forgot_the_script_is_taught_again(store: RedisHistory, raw: redis.Redis) -> None:
    for number in range(3):
        raw.script_flush()
        assert await store.append("u", [Event("a", number)]) == AppendResult(added=1)
        raw.script_flush()
        assert await store.remove("u", "never sent") == 0
        raw.script_flush()
        call = [(user, Event("b", number)) for user in ("u", "v", "w")]
        assert await store.append_many(call) == AppendResult(added=3)
    assert len(await store.read("u", 50)) == 6


@pytest.mark.parametrize("place", ["astride two identities", "in an item id"])
async def test_bytes_that_look_like_an_identity_are_no_repeat(
    store: RedisHistory, raw: redis.Redis, place: str
) -> None:
    late = next(event for n in range(10_000) if looks_like_text(identity(event := Event("b", 3 + n))))
    digest = identity(late)
    if place == "in an item id":
        identities, item = b"\1" * 16, digest.decode()
    else:
        identities, item = b"\1" * 4 + digest + b"\2" * 4, "a"
    raw.set(USER_KEY, struct.pack(">IIqq", 2, 0, 1, 2) + identities + f"{item}\0a\0".encode())
    assert await store.append("u", [late]) == AppendResult(added=1)
    assert await store.append("u", [late]) == AppendResult(repeated=1)
    assert await store.read("u", 9) == [Event(item, 1), Event("a", 2), late]


@pytest.mark.parametrize("position", [0, 1, 2, 999])
async def test_an_event_of_a_full_history_is_cut_out_byte_for_byte(
    store: RedisHistory, raw: redis.Redis, position: int
) -> None:
    kept = [Event(f"item {n}" + "é" * (n % 3), n // 2, f"event {n}") for n in range(1_000)]
    await store.append("u", kept)
    assert await store.remove("u", f"event {position}") == 1
    assert raw.get(USER_KEY) == encode([event for event in kept if event != kept[position]])


def looks_like_text(digest: bytes) -> bool:
    return all(1 < byte < 128 for byte in digest)


async def test_every_call_is_one_round_trip(redis_url: str) -> None:
    async with counted(redis_url) as proxy:
        await _calls_are_one_round_trip_each(proxy)


async def _calls_are_one_round_trip_each(proxy: CountingProxy) -> None:
    store = RedisHistory.from_url(proxy.url, timeout_s=PATIENCE_S)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.append("u", [Event(str(n), n) for n in range(100)]),
        lambda: store.append_many([(f"user {n % 20}", Event(str(n), n)) for n in range(100)]),
        lambda: store.read("u", 1_000),
        lambda: store.read_many([f"user {n}" for n in range(100)], 1_000),
        lambda: store.remove("u", "named"),
        lambda: store.ping(),
    ]
    await store.append("u", [Event("a", 1, "named")])  # connects, and teaches the scripts
    await store.remove("u", "never sent")
    for call in calls:
        proxy.turns = 0
        await call()
        assert proxy.turns == 1
    await store.forget("v")  # makes the key of the marks
    proxy.turns = 0
    await store.forget("u")
    assert proxy.turns == 2, "the mark first, so that no append comes between"
    await store.close()


async def test_more_calls_than_connections_wait_their_turn(redis_server: RedisServer) -> None:
    store = RedisHistory.from_url(redis_server.url, timeout_s=PATIENCE_S, max_connections=2)
    with redis.Redis.from_url(redis_server.url) as raw:
        before = raw.info("stats")["total_connections_received"]
        await asyncio.gather(*(store.append("u", [Event(str(n), n)]) for n in range(100)))
        assert raw.info("stats")["total_connections_received"] - before <= 2
    assert len(await store.read("u", 1_000)) == 100
    await store.close()


CALLS: dict[str, Callable[[RedisHistory], Awaitable[object]]] = {
    "append": lambda store: store.append("u", [Event("a", 1)]),
    "append_many": lambda store: store.append_many([("u", Event("a", 1)), ("v", Event("a", 1))]),
    "read": lambda store: store.read("u", 50),
    "read_many": lambda store: store.read_many(["u", "v"], 50),
    "remove": lambda store: store.remove("u", "e"),
    "forget": lambda store: store.forget("u"),
    "users": lambda store: store.users(10),
    "ping": lambda store: store.ping(),
}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@EVERY_CALL
async def test_a_stopped_redis_is_unavailable_and_comes_back(
    redis_server: RedisServer, call: Callable[[RedisHistory], Awaitable[object]]
) -> None:
    async with impatient(redis_server) as store:
        await store.ping()
        redis_server.stop()
        for _ in range(2):
            with pytest.raises(HistoryUnavailableError) as caught:
                await call(store)
            assert "\n" not in str(caught.value)
        redis_server.start()
        await call(store)


@EVERY_CALL
async def test_a_frozen_redis_is_unavailable_and_comes_back(
    redis_server: RedisServer, call: Callable[[RedisHistory], Awaitable[object]]
) -> None:
    async with impatient(redis_server) as store:
        await store.ping()
        redis_server.pause()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(HistoryUnavailableError, match="did not answer within 500 ms"):
                await call(store)
        redis_server.resume()
        await call(store)


async def test_a_late_answer_never_reaches_another_call(redis_server: RedisServer) -> None:
    async with impatient(redis_server) as store:
        await store.append_many([(f"user {n}", Event(f"item {n}", n)) for n in range(8)])
        redis_server.pause()
        late = await asyncio.gather(*(store.read(f"user {n}", 9) for n in range(8)), return_exceptions=True)
        assert all(isinstance(answer, HistoryUnavailableError) for answer in late)
        redis_server.resume()
        for n in reversed(range(8)):
            assert await store.read(f"user {n}", 9) == [Event(f"item {n}", n)]


def test_an_answer_that_a_late_event_loop_has_not_read_yet_is_no_late_one(redis_server: RedisServer) -> None:
    async def read_late() -> list[Event]:
        async with impatient(redis_server) as store:
            await store.append("u", [Event("a", 1)])
            read = asyncio.create_task(store.read("u", 9))
            for _ in range(5):  # until it is sent
                await asyncio.sleep(0)
            time.sleep(2 * SHORT_S)
            return await read

    assert uvloop.run(read_late()) == [Event("a", 1)]  # the service's own: timers come before answers there


async def test_an_abandoned_call_leaves_the_store_usable(redis_server: RedisServer) -> None:
    async with impatient(redis_server) as store:
        await store.append_many([("u", Event("a", 1)), ("v", Event("b", 1))])
        redis_server.pause()
        call = asyncio.create_task(store.read("u", 9))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        redis_server.resume()
        assert await store.read("v", 9) == [Event("b", 1)]


async def test_events_sent_again_after_an_outage_count_once(redis_server: RedisServer) -> None:
    async with impatient(redis_server) as store:
        redis_server.pause()
        with pytest.raises(HistoryUnavailableError):
            await store.append("u", [Event("a", 1)])
        redis_server.resume()
        await store.append("u", [Event("a", 1)])
        assert await store.read("u", 50) == [Event("a", 1)]


async def test_a_redis_that_is_full_is_unavailable(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as raw:
        async with impatient(redis_server) as store:
            await store.append("u", [Event("a", 1)])
            raw.config_set("maxmemory", 1)
            with pytest.raises(HistoryUnavailableError, match="maxmemory"):
                await store.append("u", [Event("b", 2)])
            with pytest.raises(HistoryUnavailableError, match="maxmemory"):
                await store.append_many([("u", Event("b", 2))])
            raw.config_set("maxmemory", 0)
            assert await store.read("u", 50) == [Event("a", 1)]


def columns(count: int, items: bytes, events: int | None = None) -> bytes:
    """A value of so many events, said to be `count`."""
    return count.to_bytes(4) + b"\0" * 4 + b"\0" * 16 * (count if events is None else events) + items


FOREIGN = {
    "empty": b"",
    "text": b"abc",
    "a number": b"5",
    "too short": b"\0\0\0\2\0\0\0\0" + b"x" * 19 + b"\0",
    "too many": b"\xff" * 40,
    "not ended": columns(1, b"not ended"),
    "an item too many": columns(1, b"a\0b\0"),
    "an item too few": columns(2, b"a\0"),
    "items of no event": columns(0, b"a\0"),
    "more after the end": columns(1, b"a\0b"),
    "another count": columns(2, b"a\0b\0c\0", 3),
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_value_is_unreadable_until_it_is_forgotten(
    store: RedisHistory, raw: redis.Redis, value: bytes
) -> None:
    raw.set(USER_KEY, value)
    for name in ("read", "append", "append_many", "remove"):
        with pytest.raises(HistoryUnreadableError):
            await CALLS[name](store)
    assert raw.get(USER_KEY) == value
    await store.forget("u")
    assert raw.get(USER_KEY) is None
    assert await store.append("u", [Event("a", now_ms() + 1)]) == AppendResult(added=1)


async def test_a_key_of_another_type_is_unreadable_until_it_is_forgotten(
    store: RedisHistory, raw: redis.Redis
) -> None:
    raw.rpush(USER_KEY, "a")
    for name in ("append", "append_many", "read", "remove"):
        with pytest.raises(HistoryUnreadableError):
            await CALLS[name](store)
    assert await store.forget("u") == 0
    assert not raw.exists(USER_KEY)


async def test_keys_that_we_do_not_write_are_no_users(store: RedisHistory, raw: redis.Redis) -> None:
    await store.append("a/ü", [Event("a", 1)])
    for key in (b"{\xff}", b"{}", b"no braces", b"{%FF}", b"{%2f}", b"{a b}", b"{u", b""):
        raw.set(b"dimerec:history:2:" + key, b"x")
    assert await store.users(99) == ["a/ü"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "localhost:6379",
        "",
        "redis+other://localhost",
        "redis://localhost:port/0",
        "redis+cluster://",
        "redis+cluster://a:b:c",
        "redis+sentinel://localhost:26379",
        "redis+sentinel://localhost/master/zero",
    ],
)
def test_a_bad_address_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(HistoryUrlError, match=r"^redis url: [^\n]+$") as caught:
        RedisHistory.from_url(re.sub("://", "://user:secret@", url))
    assert "secret" not in str(caught.value)
