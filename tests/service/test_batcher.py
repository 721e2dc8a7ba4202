"""The micro-batcher with real threads: what forms a batch, what is refused, and what survives."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from service.batcher import Completed, MicroBatcher
from service.errors import ClosingError, DeadlineExceededError, OverloadedError
from service.pace import MIN_BATCHES


class Gate:
    """A compute function that doubles numbers, once the test opens the gate."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.open.wait(20)
        if 13 in items:
            raise ZeroDivisionError("thirteen spoils the whole computation")
        return [ValueError(f"{item} is negative") if item < 0 else 2 * item for item in items]

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=20)


@asynccontextmanager
async def batching(
    gate: Gate, max_batch: int = 8, max_queue: int = 8
) -> AsyncIterator[MicroBatcher[int, int]]:
    batcher = MicroBatcher[int, int](gate, max_batch=max_batch, max_queue=max_queue)
    try:
        yield batcher
    finally:
        gate.open.set()
        await batcher.close()


def submit(
    batcher: MicroBatcher[int, int], *items: int, timeout_s: float = 20
) -> list[asyncio.Task[Completed[int]]]:
    async def answer(item: int) -> Completed[int]:
        return await batcher.submit(item, timeout_s)

    return [asyncio.create_task(answer(item)) for item in items]


async def outcomes(*tasks: asyncio.Task[Completed[int]]) -> list[object]:
    """What each task gave: the number, or the exception."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [result if isinstance(result, BaseException) else result.answer for result in results]


async def test_requests_ready_together_share_one_batch() -> None:
    gate = Gate()
    gate.open.set()
    async with batching(gate) as batcher:
        done = await asyncio.gather(*submit(batcher, 1, 2, 3))
    assert gate.batches == [[1, 2, 3]]
    assert [completed.answer for completed in done] == [2, 4, 6]
    assert {completed.batch_size for completed in done} == {3}


async def test_a_batch_forms_while_the_previous_one_computes_and_keeps_the_order_of_arrival() -> None:
    gate = Gate()
    async with batching(gate, max_batch=3) as batcher:
        first = submit(batcher, 1)
        await gate.until_entered()
        later = submit(batcher, 2, 3, 4, 5)
        await asyncio.sleep(0)
        assert batcher.queue_length == 4
        gate.open.set()
        await asyncio.gather(*first, *later)
    assert gate.batches == [[1], [2, 3, 4], [5]]


async def test_one_bad_item_fails_alone() -> None:
    gate = Gate()
    gate.open.set()
    async with batching(gate) as batcher:
        good, bad, other = await outcomes(*submit(batcher, 1, -2, 3))
    assert (good, other) == (2, 6)
    assert isinstance(bad, ValueError)


async def test_an_item_that_breaks_the_whole_computation_fails_alone_too() -> None:
    gate = Gate()
    gate.open.set()
    async with batching(gate) as batcher:
        good, bad, other = await outcomes(*submit(batcher, 1, 13, 3))
    assert (good, other) == (2, 6)
    assert isinstance(bad, ZeroDivisionError)
    assert gate.batches == [[1, 13, 3], [1], [13], [3]]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    gate = Gate()
    async with batching(gate, max_queue=2) as batcher:
        running = submit(batcher, 1)
        await gate.until_entered()
        waiting = submit(batcher, 2, 3)
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refused:
            await batcher.submit(4, 20)
        assert refused.value.retry_after_s >= 1
        gate.open.set()
        await asyncio.gather(*running, *waiting)
    assert all(4 not in batch for batch in gate.batches)


async def test_an_expired_request_is_refused_while_the_worker_is_still_busy_and_is_never_computed() -> None:
    gate = Gate()
    async with batching(gate) as batcher:
        running = submit(batcher, 1)
        await gate.until_entered()
        with pytest.raises(DeadlineExceededError):
            await batcher.submit(2, 0.01)
        assert batcher.queue_length == 0
        gate.open.set()
        await asyncio.gather(*running)
    assert gate.batches == [[1]]


async def test_no_time_left_is_refused_before_queueing() -> None:
    gate = Gate()
    async with batching(gate) as batcher:
        with pytest.raises(DeadlineExceededError):
            await batcher.submit(1, 0.0)
    assert gate.batches == []


async def test_a_caller_that_leaves_frees_its_place_at_once_and_is_never_computed() -> None:
    gate = Gate()
    async with batching(gate, max_queue=1) as batcher:
        running = submit(batcher, 1)
        await gate.until_entered()
        (leaver,) = submit(batcher, 2)
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait([leaver])
        assert batcher.queue_length == 0
        (successor,) = submit(batcher, 3)
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*running, successor)
    assert gate.batches == [[1], [3]]


async def test_a_caller_that_leaves_during_its_batch_does_not_harm_the_others() -> None:
    gate = Gate()
    async with batching(gate) as batcher:
        leaver, stayer = submit(batcher, 1, 2)
        await gate.until_entered()
        leaver.cancel()
        gate.open.set()
        assert (await stayer).answer == 4


async def test_close_finishes_what_waits_and_refuses_what_comes_later() -> None:
    gate = Gate()
    async with batching(gate, max_batch=1) as batcher:
        accepted = submit(batcher, 1, 2, 3)
        await gate.until_entered()
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosingError):
            await batcher.submit(4, 20)
        assert not batcher.alive(60)
        gate.open.set()
        done = await asyncio.gather(*accepted)
        await closing
    assert [completed.answer for completed in done] == [2, 4, 6]


async def test_a_computation_that_returns_too_few_answers_fails_its_callers_rather_than_hang() -> None:
    batcher = MicroBatcher[int, int](lambda items: items[1:], max_batch=4, max_queue=4)
    failures = await outcomes(*submit(batcher, 1, 2))
    await batcher.close()
    assert [type(failure) for failure in failures] == [RuntimeError, RuntimeError]


async def test_a_stuck_worker_is_not_alive() -> None:
    gate = Gate()
    async with batching(gate) as batcher:
        assert batcher.alive(0.0)
        running = submit(batcher, 1)
        await gate.until_entered()
        assert batcher.alive(60)
        assert not batcher.alive(0.0)
        gate.open.set()
        await asyncio.gather(*running)
        assert batcher.alive(0.0)


@pytest.mark.parametrize("callers", [1, 7, 40])
async def test_every_caller_gets_its_own_answer(callers: int) -> None:
    gate = Gate()
    gate.open.set()
    numbers = list(range(100, 100 + callers))
    async with batching(gate, max_batch=4, max_queue=64) as batcher:
        done = await asyncio.gather(*submit(batcher, *numbers))
    assert [completed.answer for completed in done] == [2 * number for number in numbers]
    assert all(len(batch) <= 4 for batch in gate.batches)


class Paced:
    """Computes at a pace of the test's own; notes every item."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.computed: list[int] = []

    def __call__(self, items: list[int]) -> list[int]:
        time.sleep(self.seconds * len(items))
        self.computed += items
        return [2 * item for item in items]


async def paced(seconds: float = 0.01, **bounds: int) -> tuple[Paced, MicroBatcher[int, int]]:
    """A batcher that knows its pace, of so many seconds an item at least."""
    compute = Paced(seconds)
    batcher = MicroBatcher[int, int](compute, max_batch=bounds.get("max_batch", 8), max_queue=1_000)
    for _ in range(MIN_BATCHES):
        await batcher.submit(0, 60)
    compute.computed.clear()
    return compute, batcher


async def test_the_door_is_closed_to_what_would_wait_for_longer_than_it_may() -> None:
    _, batcher = await paced()
    waiting = submit(batcher, *range(50))
    await asyncio.sleep(0.001)
    enough_for_others = 2 * batcher.predicted_s(1, "somebody else")
    with pytest.raises(OverloadedError) as refused:
        batcher.admit(enough_for_others)
    assert refused.value.retry_after_s >= 1
    batcher.admit(60)
    batcher.admit(enough_for_others, caller="somebody else")
    await asyncio.gather(*waiting)
    batcher.admit(1e-9)
    await batcher.close()


async def test_work_that_is_on_its_way_counts_at_the_door() -> None:
    _, batcher = await paced()
    running = submit(batcher, 1)
    await asyncio.sleep(0.001)
    with batcher.expecting(1_000), pytest.raises(OverloadedError):
        batcher.admit(0.5)
    batcher.admit(0.5)
    await asyncio.gather(*running)
    await batcher.close()


async def test_a_dear_item_is_predicted_to_take_longer() -> None:
    _, batcher = await paced()
    running = submit(batcher, 1)
    await asyncio.sleep(0.001)
    batcher.admit(0.5, cost=1)
    with pytest.raises(OverloadedError):
        batcher.admit(0.5, cost=1_000)
    await asyncio.gather(*running)
    await batcher.close()


async def test_what_can_no_longer_be_in_time_is_dropped_when_a_batch_is_taken() -> None:
    compute, batcher = await paced(max_batch=2)
    first = submit(batcher, 1)
    await asyncio.sleep(0.001)
    in_time = submit(batcher, 2, timeout_s=60)
    hopeless = asyncio.create_task(batcher.submit(3, 1.0, cost=1_000))
    outcome = await outcomes(*first, *in_time, hopeless)
    assert outcome[:2] == [2, 4]
    assert isinstance(outcome[2], DeadlineExceededError)
    assert compute.computed == [1, 2]
    await batcher.close()


async def test_a_pace_of_another_time_does_not_shut_the_service() -> None:
    compute, batcher = await paced(seconds=0.3)
    compute.seconds = 0.0
    assert await outcomes(*[task for n in range(3) for task in submit(batcher, n, timeout_s=0.2)])
    for number in range(9):
        await outcomes(*submit(batcher, number, timeout_s=0.2))
    assert await outcomes(*submit(batcher, 1, 2, 3, timeout_s=0.2)) == [2, 4, 6]
    await batcher.close()


async def test_callers_have_equal_shares_however_many_they_send() -> None:
    gate = Gate()
    async with batching(gate, max_batch=4, max_queue=100) as batcher:
        running = submit(batcher, 0)
        await gate.until_entered()
        many = [asyncio.create_task(batcher.submit(n, 20, caller="many")) for n in range(100, 120)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(batcher.submit(n, 20, caller="few")) for n in (1, 2)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*running, *many, *few)
    assert {1, 2} < set(gate.batches[1])


async def test_a_full_queue_makes_room_for_a_caller_with_less_in_it() -> None:
    gate = Gate()
    async with batching(gate, max_queue=3) as batcher:
        running = submit(batcher, 0)
        await gate.until_entered()
        many = [asyncio.create_task(batcher.submit(n, 20, caller="many")) for n in (10, 11, 12)]
        await asyncio.sleep(0)
        few = asyncio.create_task(batcher.submit(1, 20, caller="few"))
        await asyncio.sleep(0)
        gate.open.set()
        answers = await outcomes(*many, few)
        await asyncio.gather(*running)
    assert answers[:2] == [20, 22]
    assert isinstance(answers[2], OverloadedError)
    assert answers[3] == 2


async def test_a_batch_of_dear_items_is_short_so_that_others_get_their_turn() -> None:
    compute, batcher = await paced(seconds=0.05, max_batch=64)
    await asyncio.gather(*submit(batcher, 1))
    done = await asyncio.gather(*submit(batcher, *range(40), timeout_s=60))
    assert max(completed.batch_size for completed in done) < 40
    assert sorted(compute.computed) == sorted([1, *range(40)])
    await batcher.close()


def answered_by_a_process_of_niceness(niceness: int) -> int:
    """The niceness of the worker's thread where the event loop's thread has another than 0."""

    def own(items: list[int]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items]

    async def ask() -> int:
        batcher = MicroBatcher[int, int](own, max_batch=1, max_queue=1)
        try:
            return (await batcher.submit(1, 20)).answer
        finally:
            await batcher.close()

    def nice() -> int:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        return asyncio.run(ask())

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(nice).result()


@pytest.mark.parametrize(("niceness", "of_the_worker"), [(10, 15), (17, 19)])
def test_the_worker_is_nicer_than_the_loop_however_nice_that_is(niceness: int, of_the_worker: int) -> None:
    assert answered_by_a_process_of_niceness(niceness) == of_the_worker


def test_where_priorities_may_not_be_changed_the_worker_answers_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_priority = os.setpriority

    def forbidden(which: int, who: int, priority: int) -> None:
        if threading.current_thread().name.startswith("engine"):
            raise PermissionError(13, "Permission denied")
        set_priority(which, who, priority)

    monkeypatch.setattr(os, "setpriority", forbidden)
    assert answered_by_a_process_of_niceness(3) == 3
