"""Counts with a half-life, in the process and in Redis, against sums over all events."""

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from service.history.errors import HistoryUnavailableError
from service.trending import decay
from service.trending.decay import DecayedCounts
from service.trending.shared import SharedCounts
from tests.effort import examples

START_MS = 1_795_000_000_000
DAY_MS = 86_400_000
WRONG_MS = [0, 60 * DAY_MS, -60 * DAY_MS]
HALF_LIVES_MS = st.sampled_from([1_000.0, 60_000.0, 3.0 * DAY_MS])

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "é 3", "d"]),
        st.floats(-25, 2),  # the event's time and the passing of time before it, in half-lives
        st.sampled_from([0.0, 0.001, 0.5, 3.0, 700.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def summed(counted: list[tuple[str, int]], moment_ms: int, half_life_ms: float) -> dict[str, float]:
    """What is to come out, by the definition."""
    sums: defaultdict[str, float] = defaultdict(float)
    for item_id, at_ms in counted:
        sums[item_id] += 2.0 ** ((at_ms - moment_ms) / half_life_ms)
    return sums


def check(found: dict[str, float], expected: dict[str, float], rel_tol: float = 1e-6) -> None:
    for item_id in {*found, *expected}:
        got, wanted = found.get(item_id, 0.0), expected.get(item_id, 0.0)
        assert math.isclose(got, wanted, rel_tol=rel_tol, abs_tol=1e-4), item_id  # least ones are dropped
    assert sorted(found.values(), reverse=True) == list(found.values())


@given(events=EVENTS, half_life_ms=HALF_LIVES_MS)
def test_a_count_is_the_sum_of_what_each_event_still_weighs(
    events: list[tuple[str, float, float, bool]], half_life_ms: float
) -> None:
    counts, now, counted = DecayedCounts(half_life_ms), START_MS, list[tuple[str, int]]()
    for item_id, age, passed, taken_back in events:
        now += int(passed * half_life_ms)
        at = now + int(age * half_life_ms)
        counts.add(item_id, at, now)
        if taken_back:
            counts.add(item_id, at, now, times=-1.0)
        else:
            counted.append((item_id, min(at, now)))
    check(counts.at(now), summed(counted, now, half_life_ms))
    later = now + int(2.5 * half_life_ms)
    check(counts.at(later), summed(counted, later, half_life_ms))


async def pass_time(raw: Any, key: str, half_lives: float) -> None:
    """Let time pass for the counts in Redis, whose clock goes on as it does: they become older by so much."""
    for item in await raw.zrange(key, 0, -1):
        await raw.zincrby(key, -half_lives, item)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, calls=st.integers(1, 4), off_ms=st.lists(st.sampled_from(WRONG_MS), min_size=2))
async def test_in_redis_too_whoever_counts_and_whatever_the_own_clock_says(
    redis_url: str, events: list[tuple[str, float, float, bool]], calls: int, off_ms: list[int]
) -> None:
    half_life_ms = 30.0 * DAY_MS  # beside which a test takes no time
    now, counted = START_MS, list[tuple[str, int]]()
    raw = Redis.from_url(redis_url)
    await raw.flushdb()
    processes = [SharedCounts(Redis.from_url(redis_url), half_life_ms) for _ in range(2)]
    own = [DecayedCounts(half_life_ms) for _ in processes]

    def count(index: int, item_id: str, at: int, times: float = 1.0) -> None:
        own[index].add(item_id, at + off_ms[index], now + off_ms[index], times)

    async def tell(index: int) -> dict[str, float]:
        sent = own[index].at(now + off_ms[index])
        own[index] = DecayedCounts(half_life_ms)
        return await processes[index].exchange(sent)

    for number, (item_id, age, passed, taken_back) in enumerate(events):
        now += int(passed * half_life_ms)
        await pass_time(raw, processes[0].key, passed)
        at = now + int(age * half_life_ms)
        count(number % 2, item_id, at)
        if taken_back:  # by the other process, once the first has told of it
            await tell(number % 2)
            count((number + 1) % 2, item_id, at, times=-1.0)
        else:
            counted.append((item_id, min(at, now)))
        if number % calls == 0:
            for index in (0, 1):
                await tell(index)
    await tell(0)
    found = await tell(1)
    expected = {name: one for name, one in summed(counted, now, half_life_ms).items() if one > 2e-6}
    check(found, expected, rel_tol=0.002)  # the moment that is told of is a coarse one
    for shared in processes:
        await shared.close()
    await raw.aclose()


@pytest.mark.parametrize("shared", [False, True])
async def test_those_with_the_greatest_counts_stay(shared: bool, request: pytest.FixtureRequest) -> None:
    counts = DecayedCounts(1_000, max_items=20)
    for number in range(200):
        for _ in range(1 + number % 7):
            counts.add(f"{number:03}", START_MS, START_MS)
        if number % 7 == 6:
            counts.add("always", START_MS, START_MS)
    found = counts.at(START_MS)
    if shared:
        store = SharedCounts(Redis.from_url(request.getfixturevalue("redis_url")), DAY_MS, max_items=20)
        for number in range(200):
            await store.exchange({f"{number:03}": 1.0 + number % 7})
            found = await store.exchange({"always": 1.0} if number % 7 == 6 else {})
            assert await store._client.zcard(store.key) <= 20 * decay.SLACK
        await store.close()
    assert len(found) <= 20
    assert len(counts) <= 20 * decay.SLACK
    assert next(iter(found)) == "always"
    assert min(found.values()) >= 6


def test_a_clock_that_was_set_back_changes_nothing() -> None:
    counts = DecayedCounts(60_000)
    counts.add("a", START_MS, START_MS)
    assert counts.at(START_MS - 10**9) == pytest.approx({"a": 1.0})


def test_events_after_a_clock_was_set_back_count_as_those_before() -> None:
    counts, then = DecayedCounts(60_000), START_MS - 10**9
    counts.add("a", START_MS, START_MS)
    for _ in range(3):
        counts.add("b", then, then)
    counts.add("c", then - 60_000, then)
    assert counts.at(then) == pytest.approx({"b": 3.0, "a": 1.0, "c": 0.5})


async def test_counts_in_redis_end_with_their_last_event(redis_url: str) -> None:
    store = SharedCounts(Redis.from_url(redis_url), DAY_MS)
    await store.exchange({"a": 1.0})
    life_ms = await store._client.pttl(store.key)
    assert 19 * DAY_MS < life_ms <= 20 * DAY_MS
    await pass_time(store._client, store.key, 21)
    assert await store.exchange({}) == {}
    assert await store._client.exists(store.key) == 0
    await store.close()


async def test_something_else_under_the_key_is_told_of(redis_url: str) -> None:
    store = SharedCounts(Redis.from_url(redis_url), 1_000)
    await store._client.set(store.key, "text")
    with pytest.raises(HistoryUnavailableError):
        await store.exchange({"a": 1.0})
    await store.close()
