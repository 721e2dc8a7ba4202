"""Events of callers: those of one turn of the event loop go in one call, each with an outcome of its own."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest
import redis

from service.circuit import CircuitState
from service.history.errors import HistoryInputError, HistoryUnavailableError, HistoryUnreadableError
from service.history.guarded import GuardedHistory
from service.history.in_process import InProcessHistory
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.history.writing import MAX_TOGETHER, HistoryWriter

ADDED = AppendResult(added=1)


class Store(InProcessHistory):
    """Notes for whom it is asked; calls wait while it is shut, and fail while it is `gone`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.gone = False

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        self.calls.append([user_id for user_id, _ in appends])
        await self.open.wait()
        if self.gone:
            raise HistoryUnavailableError("gone")
        outcomes = await super().append_each(appends)
        return [
            HistoryUnreadableError("something else") if user_id == "bad" else outcome
            for (user_id, _), outcome in zip(appends, outcomes, strict=True)
        ]


def sent(writer: HistoryWriter, user_id: str, number: int) -> asyncio.Task[AppendResult]:
    return asyncio.create_task(writer.append_many([(user_id, Event(f"i{number}", number))]))


async def test_events_that_come_together_are_one_call_and_each_has_its_own_outcome() -> None:
    store = Store()
    writer = HistoryWriter(store)
    calls = [("u", 1), ("v", 1), ("bad", 1), ("u", 1), ("u", 2)]
    outcomes = await asyncio.gather(*(sent(writer, *call) for call in calls), return_exceptions=True)
    assert store.calls == [[user for user, _ in calls]]
    assert isinstance(outcomes.pop(2), HistoryUnreadableError)
    assert outcomes == [ADDED, ADDED, AppendResult(repeated=1), ADDED]
    assert await store.read("u", 9) == [Event("i1", 1), Event("i2", 2)]


async def test_a_call_is_bounded_and_many_events_have_their_own() -> None:
    store = Store()
    writer = HistoryWriter(store)
    users = [f"u{user}" for user in range(MAX_TOGETHER + 6)]
    many = writer.append_many([("m", Event(str(number), number)) for number in range(1000)])
    outcomes = await asyncio.gather(*(sent(writer, user, 1) for user in users), many)
    assert outcomes == [ADDED] * len(users) + [AppendResult(added=1000)]
    assert list(map(len, store.calls)) == [MAX_TOGETHER, 6]


async def test_a_bad_argument_is_its_senders_alone() -> None:
    writer = HistoryWriter(Store())
    outcomes = await asyncio.gather(
        sent(writer, "u", 1), sent(writer, "", 1), sent(writer, "v", 2**60), return_exceptions=True
    )
    assert outcomes[0] == ADDED
    assert [type(outcome) for outcome in outcomes[1:]] == [HistoryInputError] * 2


async def test_who_leaves_spoils_no_other_and_a_slow_call_keeps_no_later_one() -> None:
    store = Store()
    writer = HistoryWriter(store)
    store.open.clear()
    stays, leaves = sent(writer, "u", 1), sent(writer, "v", 1)
    while not store.calls:
        await asyncio.sleep(0)
    leaves.cancel()
    later = sent(writer, "w", 1)
    while len(store.calls) < 2:
        await asyncio.sleep(0)
    store.open.set()
    assert (await stays, await later) == (ADDED, ADDED)
    assert await store.read("v", 9) == [Event("i1", 1)]


async def test_a_failure_that_nobody_waits_for_any_more_is_no_noise() -> None:
    store, noise = Store(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context["message"]))
    store.gone = True
    store.open.clear()
    leaves = sent(HistoryWriter(store), "u", 1)
    while not store.calls:
        await asyncio.sleep(0)
    leaves.cancel()
    store.open.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    await asyncio.sleep(0)
    gc.collect()
    assert noise == []


async def test_a_call_that_fails_is_one_failure_and_told_to_all_whose_it_was() -> None:
    store = Store()
    store.gone = True
    guarded = GuardedHistory(store, failures=2)
    writer = HistoryWriter(guarded)
    for state in (CircuitState.CLOSED, CircuitState.OPEN):
        assert writer.takes_events
        outcomes = await asyncio.gather(
            *(sent(writer, f"u{user}", 1) for user in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {HistoryUnavailableError}
        assert guarded.state("append") is state
    assert not writer.takes_events


@pytest.fixture
def raw(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
async def guarded(redis_url: str) -> AsyncIterator[GuardedHistory]:
    store = GuardedHistory(RedisHistory.from_url(redis_url, timeout_s=30), failures=1)
    yield store
    await store.close()


async def test_of_a_pipeline_each_has_what_redis_says_of_it(
    guarded: GuardedHistory, raw: redis.Redis
) -> None:
    raw.set("dimerec:history:2:{bad}", "no history")
    writer = HistoryWriter(guarded)
    await guarded.forget("gone", 5)
    calls = [("u", 1), ("bad", 1), ("gone", 4), ("gone", 5), ("gone", 6), ("u", 1), ("u", 2)]
    outcomes = await asyncio.gather(*(sent(writer, *call) for call in calls), return_exceptions=True)
    assert isinstance(outcomes.pop(1), HistoryUnreadableError)
    outdated = AppendResult(outdated=1)
    assert outcomes == [ADDED, outdated, outdated, ADDED, AppendResult(repeated=1), ADDED]
    assert await guarded.read("gone", 9) == [Event("i6", 6)]
    assert guarded.state("append") is CircuitState.CLOSED


async def test_a_redis_that_takes_nothing_opens_the_circuit(
    guarded: GuardedHistory, raw: redis.Redis
) -> None:
    writer = HistoryWriter(guarded)
    assert await sent(writer, "u", 1) == ADDED
    raw.config_set("maxmemory", 1)
    try:
        outcomes = await asyncio.gather(sent(writer, "u", 2), sent(writer, "v", 1), return_exceptions=True)
    finally:
        raw.config_set("maxmemory", 0)
    assert ["maxmemory" in str(outcome) for outcome in outcomes] == [True, True]
    assert not writer.takes_events
    assert await guarded.read("u", 9) == [Event("i1", 1)]
