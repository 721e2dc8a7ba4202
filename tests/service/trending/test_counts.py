"""Counts with a half-life, in the process and in Redis, against sums over all events."""

import math
from collections import defaultdict

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
HALF_LIVES_MS = st.sampled_from([1_000.0, 60_000.0, 3 * 86_400_000.0])

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


def check(found: dict[str, float], expected: dict[str, float]) -> None:
    for item_id in {*found, *expected}:
        got, wanted = found.get(item_id, 0.0), expected.get(item_id, 0.0)
        assert math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-4), item_id  # least ones are dropped
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


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, half_life_ms=HALF_LIVES_MS, calls=st.integers(1, 4))
async def test_in_redis_too_whoever_counts(
    redis_url: str, events: list[tuple[str, float, float, bool]], half_life_ms: float, calls: int
) -> None:
    now, counted = START_MS, list[tuple[str, int]]()
    async with Redis.from_url(redis_url) as raw:
        await raw.flushdb()
    processes = [SharedCounts(Redis.from_url(redis_url), half_life_ms) for _ in range(2)]
    own = [DecayedCounts(half_life_ms) for _ in processes]
    for number, (item_id, age, passed, taken_back) in enumerate(events):
        now += int(passed * half_life_ms)
        at = now + int(age * half_life_ms)
        own[number % 2].add(item_id, at, now)
        if taken_back:  # by the other process, once the first has told of it
            await processes[number % 2].exchange(own[number % 2].at(now), now)
            own[number % 2] = DecayedCounts(half_life_ms)
            own[(number + 1) % 2].add(item_id, at, now, times=-1.0)
        else:
            counted.append((item_id, min(at, now)))
        if number % calls == 0:
            for index in (0, 1):
                await processes[index].exchange(own[index].at(now), now)
                own[index] = DecayedCounts(half_life_ms)
    await processes[0].exchange(own[0].at(now), now)
    found = await processes[1].exchange(own[1].at(now), now)
    check(
        found,
        {item_id: count for item_id, count in summed(counted, now, half_life_ms).items() if count > 2e-6},
    )
    for shared in processes:
        await shared.close()


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
        store = SharedCounts(Redis.from_url(request.getfixturevalue("redis_url")), 1_000, max_items=20)
        for number in range(200):
            await store.exchange({f"{number:03}": 1.0 + number % 7}, START_MS)
            found = await store.exchange({"always": 1.0} if number % 7 == 6 else {}, START_MS)
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
    store = SharedCounts(Redis.from_url(redis_url), 1_000)
    await store.exchange({"a": 1.0}, START_MS)
    life_ms = await store._client.pttl(store.key)
    assert 19_000 < life_ms <= 20_000
    assert await store.exchange({}, START_MS + 21_000) == {}
    assert await store._client.exists(store.key) == 0
    await store.close()


async def test_something_else_under_the_key_is_told_of(redis_url: str) -> None:
    store = SharedCounts(Redis.from_url(redis_url), 1_000)
    await store._client.set(store.key, "text")
    with pytest.raises(HistoryUnavailableError):
        await store.exchange({"a": 1.0}, START_MS)
    await store.close()
