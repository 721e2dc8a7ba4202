"""The micro-batcher with real threads: what forms a batch, what is refused, and what survives."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from service.batcher import Completed, MicroBatcher
from service.errors import ClosingError, DeadlineExceededError, OverloadedError


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
