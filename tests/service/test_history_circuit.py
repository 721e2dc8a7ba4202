"""The circuit breaker, with a clock of the test's own.

Before a store that the test lets answer or fail, and before a real Redis that is frozen and let go.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import redis
import redis.asyncio

from service.circuit import CircuitState
from service.history.errors import HistoryInputError, HistoryUnavailableError, HistoryUnreadableError
from service.history.guarded import GuardedHistory
from service.history.in_process import InProcessHistory
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer

FAILURES = 3
RESET_S = 10.0
HISTORY = [Event("a", 1)]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class GatedHistory(InProcessHistory):
    """A store in memory that fails while `gone`, and whose reads wait while the gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.load(("u", event) for event in HISTORY)
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False
        self.full = False
        self.reads = 0

    async def ping(self) -> None:
        if self.gone:
            raise HistoryUnavailableError("gone")

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        if self.full:
            raise HistoryUnavailableError("full")
        return await super().append(user_id, events)

    async def users(self, limit: int) -> list[str]:
        if self.gone:
            raise HistoryUnavailableError("gone")
        return await super().users(limit)

    async def read(self, user_id: str, limit: int) -> list[Event]:
        self.reads += 1
        await self.gate.wait()
        if self.gone:
            raise HistoryUnavailableError("gone")
        return await super().read(user_id, limit)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store() -> GatedHistory:
    return GatedHistory()


@pytest.fixture
def breaker(store: GatedHistory, clock: Clock) -> GuardedHistory:
    return GuardedHistory(store, failures=FAILURES, reset_s=RESET_S, clock=clock)


async def fail(breaker: GuardedHistory, times: int, message: str = "^gone$") -> None:
    for _ in range(times):
        with pytest.raises(HistoryUnavailableError, match=message):
            await breaker.read("u", 9)


async def refused_at_once(breaker: GuardedHistory) -> None:
    await fail(breaker, 1, "failed lately")


async def open_circuit(breaker: GuardedHistory, store: GatedHistory) -> None:
    """Open the circuit; the store is well again afterwards."""
    store.gone = True
    await fail(breaker, FAILURES)
    store.gone = False
    assert state(breaker) == CircuitState.OPEN


def state(breaker: GuardedHistory) -> CircuitState:
    return breaker.state("read")


async def begin(call: Coroutine[Any, Any, list[Event]]) -> "asyncio.Task[list[Event]]":
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


async def test_failures_in_a_row_open_the_circuit(breaker: GuardedHistory, store: GatedHistory) -> None:
    store.gone = True
    await fail(breaker, FAILURES - 1)
    assert state(breaker) == CircuitState.CLOSED
    await fail(breaker, 1)
    assert state(breaker) == CircuitState.OPEN
    await refused_at_once(breaker)
    assert store.reads == FAILURES


async def test_every_call_of_the_kind_is_refused_while_open(
    breaker: GuardedHistory, store: GatedHistory
) -> None:
    await open_circuit(breaker, store)
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: breaker.read("u", 9),
        lambda: breaker.read_many(["u"], 9),
        lambda: breaker.users(9),
        lambda: breaker.ping(),
    ]
    for call in calls:
        with pytest.raises(HistoryUnavailableError, match="failed lately"):
            await call()
    assert await store.read("u", 9) == HISTORY


async def test_a_store_that_refuses_events_still_serves_histories(
    breaker: GuardedHistory, store: GatedHistory
) -> None:
    store.full = True
    for message in ("^full$", "^full$", "^full$", "failed lately"):
        with pytest.raises(HistoryUnavailableError, match=message):
            await breaker.append("u", [Event("b", 2)])
    assert (breaker.state("append"), breaker.state("read")) == (CircuitState.OPEN, CircuitState.CLOSED)
    assert await breaker.read("u", 9) == HISTORY
    assert await breaker.forget("u") == 1


async def test_an_answer_in_between_starts_the_count_anew(
    breaker: GuardedHistory, store: GatedHistory
) -> None:
    for _ in range(3):
        store.gone = True
        await fail(breaker, FAILURES - 1)
        store.gone = False
        assert await breaker.read("u", 9) == HISTORY
    assert state(breaker) == CircuitState.CLOSED


async def test_it_closes_by_itself(breaker: GuardedHistory, store: GatedHistory, clock: Clock) -> None:
    await open_circuit(breaker, store)
    clock.now += RESET_S - 0.001
    await refused_at_once(breaker)
    clock.now += 0.001
    assert state(breaker) == CircuitState.HALF_OPEN
    assert await breaker.read("u", 9) == HISTORY
    assert state(breaker) == CircuitState.CLOSED
    store.gone = True
    await fail(breaker, FAILURES - 1)
    assert state(breaker) == CircuitState.CLOSED


async def test_a_failed_probe_opens_it_again_for_the_whole_time(
    breaker: GuardedHistory, store: GatedHistory, clock: Clock
) -> None:
    await open_circuit(breaker, store)
    store.gone = True
    clock.now += RESET_S
    await fail(breaker, 1)
    clock.now += RESET_S - 0.001
    await refused_at_once(breaker)
    clock.now += 0.001
    store.gone = False
    assert await breaker.read("u", 9) == HISTORY


async def test_only_one_call_is_the_probe(breaker: GuardedHistory, store: GatedHistory, clock: Clock) -> None:
    await open_circuit(breaker, store)
    clock.now += RESET_S
    store.gate.clear()
    probe = await begin(breaker.read("u", 9))
    for _ in range(5):
        await refused_at_once(breaker)
    store.gate.set()
    assert await probe == HISTORY
    assert await breaker.read("u", 9) == HISTORY
    assert store.reads == FAILURES + 2


async def test_a_cancelled_probe_leaves_room_for_the_next(
    breaker: GuardedHistory, store: GatedHistory, clock: Clock
) -> None:
    await open_circuit(breaker, store)
    clock.now += RESET_S
    store.gate.clear()
    probe = await begin(breaker.read("u", 9))
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert state(breaker) == CircuitState.HALF_OPEN
    store.gate.set()
    assert await breaker.read("u", 9) == HISTORY


async def test_listing_users_has_no_say(breaker: GuardedHistory, store: GatedHistory, clock: Clock) -> None:
    store.gone = True
    for _ in range(FAILURES + 1):
        with pytest.raises(HistoryUnavailableError, match="gone"):
            await breaker.users(9)
    assert state(breaker) == CircuitState.CLOSED
    await open_circuit(breaker, store)
    clock.now += RESET_S
    assert await breaker.users(9) == ["u"]
    assert state(breaker) == CircuitState.HALF_OPEN


@pytest.mark.parametrize("late_call_fails", [True, False])
async def test_a_call_from_before_it_opened_has_no_say(
    breaker: GuardedHistory, store: GatedHistory, clock: Clock, late_call_fails: bool
) -> None:
    store.gate.clear()
    late = await begin(breaker.read("u", 9))
    store.gone = True
    for _ in range(FAILURES):
        with pytest.raises(HistoryUnavailableError):
            await breaker.ping()
    clock.now += RESET_S - 0.001
    store.gone = late_call_fails
    store.gate.set()
    await asyncio.gather(late, return_exceptions=True)
    assert state(breaker) == CircuitState.OPEN
    clock.now += 0.001
    assert state(breaker) == CircuitState.HALF_OPEN


async def test_what_says_nothing_about_the_store_does_not_count(
    redis_server: RedisServer, clock: Clock
) -> None:
    breaker = GuardedHistory(
        RedisHistory.from_url(redis_server.url, timeout_s=30.0), failures=FAILURES, clock=clock
    )
    with redis.Redis.from_url(redis_server.url) as raw:
        raw.set("dimerec:history:2:{v}", "not a history")
    for _ in range(FAILURES + 1):
        with pytest.raises(HistoryUnreadableError):
            await breaker.read("v", 9)
        with pytest.raises(HistoryInputError):
            await breaker.read("", 9)
    assert state(breaker) == CircuitState.CLOSED
    await breaker.close()


async def test_waiting_for_a_connection_of_our_own_does_not_count(
    redis_server: RedisServer, clock: Clock
) -> None:
    store = RedisHistory(
        redis.asyncio.Redis.from_url(redis_server.url), timeout_s=30, busy_s=0.01, max_connections=0
    )
    breaker = GuardedHistory(store, failures=FAILURES, clock=clock)
    await fail(breaker, FAILURES + 1, "connections are in use")
    assert state(breaker) == CircuitState.CLOSED
    await breaker.close()


async def test_a_frozen_redis_opens_it_and_a_redis_that_is_back_closes_it(
    redis_server: RedisServer, clock: Clock
) -> None:
    store = RedisHistory.from_url(redis_server.url, timeout_s=0.5)
    breaker = GuardedHistory(store, failures=FAILURES, reset_s=RESET_S, clock=clock)
    await breaker.append("u", HISTORY)
    redis_server.pause()
    await fail(breaker, FAILURES, "did not answer")
    redis_server.resume()
    await refused_at_once(breaker)
    clock.now += RESET_S
    assert await breaker.read("u", 9) == HISTORY
    assert state(breaker) == CircuitState.CLOSED
    await breaker.close()
