"""Micro-batching: requests that wait together are computed together, on one worker thread.

A batch starts as soon as the worker is free and somebody waits, so an idle service adds no wait and batches
form by themselves while the previous one computes. Nothing polls. The event loop owns all state here; the
worker thread sees only the list of items handed to it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from service.errors import ClosingError, DeadlineExceededError, OverloadedError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Compute = Callable[[list[Item]], Sequence[Answer | Exception]]
"""Runs in the worker thread: one answer, or the exception of that item alone, for each item in order."""


class Completed(NamedTuple, Generic[Answer]):
    """An answer and what it took to get it."""

    answer: Answer
    queue_ms: float
    """Wait before its batch started."""
    batch_size: int
    """Items computed together with it, itself included."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Answer]):
    item: Item
    future: asyncio.Future[Completed[Answer]]
    since: float
    deadline: float


class MicroBatcher(Generic[Item, Answer]):
    """Collects items of concurrent callers into batches of at most `max_batch` for `compute`.

    At most `max_queue` items wait. `on_batch` hears the size of each batch that starts. To be used within
    one event loop; close it before the loop ends.
    """

    def __init__(
        self,
        compute: Compute[Item, Answer],
        *,
        max_batch: int,
        max_queue: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._waiting: dict[_Entry[Item, Answer], None] = {}  # a dict is a set in order of arrival
        self._suspects: deque[_Entry[Item, Answer]] = deque()  # their batch failed: each is computed alone
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._running = False
        self._started: float | None = None
        self._last_compute_s = 0.0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def queue_length(self) -> int:
        """Items waiting for a batch."""
        return len(self._waiting)

    def alive(self, stalled_after_s: float) -> bool:
        """True where work is accepted and no batch has kept the worker for `stalled_after_s`."""
        if self._closing:
            return False
        return self._started is None or time.perf_counter() - self._started < stalled_after_s

    async def submit(self, item: Item, timeout_s: float) -> Completed[Answer]:
        """Wait for the item's answer.

        Raises OverloadedError at once when the queue is full, DeadlineExceededError when no batch took the
        item within `timeout_s` (a batch that has started is always waited for), ClosingError after `close`,
        and whatever `compute` gave for this item. Cancelling the caller takes the item out of the queue.
        """
        if self._closing:
            raise ClosingError
        if timeout_s <= 0:
            raise DeadlineExceededError
        if len(self._waiting) >= self._max_queue:
            raise OverloadedError(len(self._waiting), self._retry_after_s())
        loop = asyncio.get_running_loop()
        now = time.perf_counter()  # loop.time() may be no finer than a millisecond
        entry = _Entry[Item, Answer](item, loop.create_future(), now, now + timeout_s)
        self._waiting[entry] = None
        expiry = loop.call_later(timeout_s, self._expire, entry)
        if not self._running:
            self._running = True
            self._idle.clear()
            loop.call_soon(self._start_next)  # callers that are ready in this turn of the loop join in
        try:
            return await entry.future
        finally:
            expiry.cancel()
            self._waiting.pop(entry, None)

    async def close(self) -> None:
        """Take no new items, finish those that wait or compute, and end the worker."""
        self._closing = True
        await self._idle.wait()
        self._worker.shutdown()

    def _retry_after_s(self) -> int:
        batches = math.ceil(len(self._waiting) / self._max_batch)
        return max(1, math.ceil(batches * self._last_compute_s))

    def _expire(self, entry: _Entry[Item, Answer]) -> None:
        if entry in self._waiting and not entry.future.done():
            entry.future.set_exception(DeadlineExceededError())

    def _take(self) -> list[_Entry[Item, Answer]]:
        """The next batch: callers that left or ran out of time are passed over."""
        now = time.perf_counter()
        while self._suspects:
            suspect = self._suspects.popleft()
            if not suspect.future.done():
                return [suspect]
        batch: list[_Entry[Item, Answer]] = []
        while self._waiting and len(batch) < self._max_batch:
            entry = next(iter(self._waiting))
            if entry.deadline <= now:
                self._expire(entry)
            del self._waiting[entry]
            if not entry.future.done():
                batch.append(entry)
        return batch

    def _start_next(self) -> None:
        batch = self._take()
        if not batch:
            self._running = False
            self._idle.set()
            return
        self._on_batch(len(batch))
        loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        computation = loop.run_in_executor(self._worker, self._run, [entry.item for entry in batch])
        computation.add_done_callback(partial(self._deliver, batch, self._started))

    def _run(self, items: list[Item]) -> Sequence[Answer | Exception]:
        answers = self._compute(items)
        if len(answers) != len(items):
            raise RuntimeError(f"{len(items)} items were computed but {len(answers)} answers came back")
        return answers

    def _deliver(
        self,
        batch: list[_Entry[Item, Answer]],
        started: float,
        computation: asyncio.Future[Sequence[Answer | Exception]],
    ) -> None:
        self._last_compute_s = time.perf_counter() - started
        self._started = None
        failure = computation.exception()
        if failure is not None and len(batch) > 1:
            self._suspects.extend(batch)
        else:
            answers = [failure] if failure is not None else computation.result()
            for entry, answer in zip(batch, answers, strict=True):
                if entry.future.done():
                    continue
                if isinstance(answer, BaseException):
                    entry.future.set_exception(answer)
                else:
                    queue_ms = 1000 * (started - entry.since)
                    entry.future.set_result(Completed(answer, queue_ms, len(batch)))
        self._start_next()
