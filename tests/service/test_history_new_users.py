"""New users in Redis: few days, until they come back on a later one by the server's clock."""

from collections.abc import AsyncIterator

import pytest
import redis

from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.history.redis_keys import history_key
from tests.redis_server import RedisServer
from tests.service.conftest import Serve

DAY_S = 86_400
DAY_MS = DAY_S * 1000
NOON = 20_000 * DAY_MS + DAY_MS // 2
NEW_S, KEPT_S = 8 * DAY_S, 90 * DAY_S


class Clock:
    """The server's."""

    now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def raw(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
async def store(redis_url: str, clock: Clock) -> AsyncIterator[RedisHistory]:
    store = RedisHistory.from_url(redis_url, timeout_s=30, ttl_s=KEPT_S, new_ttl_s=NEW_S, clock=clock)
    yield store
    await store.close()


def lives(raw: redis.Redis, user_id: str = "u") -> float:
    """Days."""
    return round(raw.pttl(history_key(user_id)) / DAY_MS, 2)


async def test_a_new_user_lives_for_days_until_an_event_comes_on_a_later_day(
    store: RedisHistory, raw: redis.Redis, clock: Clock
) -> None:
    await store.append("u", [Event("a", 1)])
    assert lives(raw) == 8
    clock.now = NOON + DAY_MS // 2 - 1  # the last moment of the same day
    raw.pexpire(history_key("u"), 5000)
    await store.append("u", [Event("b", NOON + 20 * DAY_MS)])  # however late its own time is
    assert lives(raw) == 8
    clock.now += 1
    await store.append("u", [Event("c", 2)])
    assert lives(raw) == 90
    clock.now -= 1  # and stays so, on the same day, on another server's earlier one, after a repeat
    for event in (Event("d", 3), Event("d", 3)):
        raw.pexpire(history_key("u"), 5000)
        await store.append("u", [event])
        assert lives(raw) == 90
    assert [event.item_id for event in await store.read("u", 9)] == ["a", "c", "d", "b"]


async def test_events_of_many_days_in_one_call_are_one_day_of_the_server(
    store: RedisHistory, raw: redis.Redis
) -> None:
    events = [Event("a", NOON - day * DAY_MS) for day in range(30)]
    assert await store.append_many([("u", event) for event in events]) == AppendResult(added=30)
    assert lives(raw) == 8


async def test_a_repeat_on_a_later_day_is_no_new_event(
    store: RedisHistory, raw: redis.Redis, clock: Clock
) -> None:
    await store.append("u", [Event("a", 1)])
    clock.now += 3 * DAY_MS
    raw.pexpire(history_key("u"), 5000)
    assert await store.append("u", [Event("a", 1)]) == AppendResult(repeated=1)
    assert lives(raw) == 8


async def test_taking_back_and_forgetting_leave_a_user_as_new_as_before(
    store: RedisHistory, raw: redis.Redis, clock: Clock
) -> None:
    await store.append("u", [Event("a", NOON + 1, "e"), Event("b", NOON + 2), Event("c", NOON + 3)])
    await store.remove("u", "e")
    await store.append("u", [Event("d", NOON + 4)])
    assert lives(raw) == 8
    clock.now += DAY_MS
    await store.append("u", [Event("e", NOON + 5, "f")])
    await store.remove("u", "f")
    assert lives(raw) == 90
    await store.forget("u")
    await store.append("u", [Event("g", NOON + DAY_MS + 1)])
    assert lives(raw) == 8


async def test_an_import_brings_users_who_stay(
    store: RedisHistory, raw: redis.Redis, redis_url: str, clock: Clock
) -> None:
    importing = RedisHistory.from_url(redis_url, timeout_s=30, ttl_s=KEPT_S, clock=clock)
    await store.append("v", [Event("a", 1)])
    await importing.append_many([("u", Event("a", 1)), ("v", Event("b", 1))])
    await store.append_many([("u", Event("c", 2)), ("v", Event("c", 2))])
    assert (lives(raw, "u"), lives(raw, "v")) == (90, 90)
    await importing.close()


async def test_a_life_that_is_shorter_than_a_new_users_is_everybodys(
    redis_url: str, raw: redis.Redis, clock: Clock
) -> None:
    store = RedisHistory.from_url(redis_url, timeout_s=30, ttl_s=2 * DAY_S, new_ttl_s=NEW_S, clock=clock)
    await store.append("u", [Event("a", 1)])
    assert lives(raw) == 2
    await store.close()


def test_the_service_gives_new_users_the_set_days(serve: Serve, redis_url: str, raw: redis.Redis) -> None:
    serve(redis_url=redis_url).watch("u", "1001")
    assert lives(raw) == 8
    serve(redis_url=redis_url, history_new_ttl_s=2 * DAY_S).watch("v", "1001")
    assert lives(raw, "v") == 2


async def test_a_flood_of_new_users_evicts_hardly_anybody_who_came_back(
    redis_server: RedisServer, clock: Clock
) -> None:
    """As anonymous callers would, with a full Redis that Compose's policy rules."""
    store = RedisHistory.from_url(redis_server.url, timeout_s=30, ttl_s=KEPT_S, new_ttl_s=NEW_S, clock=clock)
    long = [Event(f"{n:07}", n) for n in range(200)]
    with redis.Redis.from_url(redis_server.url) as raw:
        users = [f"user {n}" for n in range(200)]
        for day in range(2):
            clock.now = NOON + day * DAY_MS
            for user_id in users:
                await store.append(user_id, long[100 * day : 100 * day + 100])
        raw.config_set("maxmemory-policy", "volatile-ttl")
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] + 2_000_000)
        for first in range(0, 2000, 50):
            await store.append_many(
                [(f"flood {n}", event) for n in range(first, first + 50) for event in long]
            )
        assert raw.info("stats")["evicted_keys"] > 1000
        left = sum(raw.exists(history_key(user_id)) for user_id in users)
        raw.config_set("maxmemory", 0)
        raw.config_set("maxmemory-policy", "noeviction")
    assert left > 190
    await store.close()
