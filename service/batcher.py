"""Micro-batching: requests that wait together are computed together, on one worker thread.

A batch starts as soon as the worker is free and somebody waits, so an idle service adds no wait and batches
form by themselves while the previous one computes. Nothing polls. The event loop owns all state here; the
worker thread sees only the list of items handed to it.

What cannot be in time is refused before it costs anything: at the door, by the wait that the queue and the
pace of recent batches predict, and once more when a batch is taken.
"""

import asyncio
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from service.errors import ClosingError, DeadlineExceededError, OverloadedError
from service.fair_queue import Entry, FairQueue
from service.inside import MAX_S, Inside
from service.pace import Pace

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Compute = Callable[[list[Item]], Sequence[Answer | Exception]]
"""Runs in the worker thread: one answer, or the exception of that item alone, for each item in order."""

DEFAULT_STANDING_S = 0.4
WORKER_NICENESS = 5
"""Above that of the event loop's thread, which then gets three quarters of a core that both want.

With 0, 2 and 5 a refusal at twice the saturation took 76, 15 and 10 ms (p99), at three times 152, 21 and 12;
answers in time were .91, .93 and .92 of the peak, and .83, .85 and .82 (medians of three rounds, one core).
"""

MAX_BATCH_S = 0.25
"""Predicted time of a batch beyond which it takes no further item: others get their turn."""


def _yield_to_the_loop() -> None:
    """Let the event loop's thread go first where both want the same core.

    A refusal, or an answer that is ready, takes microseconds, and would otherwise wait behind milliseconds of
    computation.
    """
    if sys.platform != "linux":
        return  # there a thread has no priority of its own
    thread = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + WORKER_NICENESS  # less would need a privilege
    with suppress(PermissionError):  # of a sandbox: requests are answered without it, too
        os.setpriority(os.PRIO_PROCESS, thread, niceness)


CAUTION = 1.3
"""Times the predicted wait that a deadline must allow.

Answers within 300 ms at 2 and 3 times the saturation, of the peak, medians of three rounds on one core: with
1.0 .74 and .59, 600 of 3,000 late; with 1.15 .76 and .69, some late; with 1.3 .81 and .70, none late in most.
"""


PATIENCE = 1 / 3
"""Of a deadline that a request may wait for its answer, and `standing_s` in any case. Chosen: a longer queue
makes all answers later, and no more of them."""


class Completed(NamedTuple, Generic[Answer]):
    """An answer and what it took to get it."""

    answer: Answer
    queue_ms: float
    """Wait before its batch started."""
    batch_size: int
    """Items computed together with it, itself included."""
    started: float
    """Moment at which its batch started (`time.perf_counter`)."""


@dataclass(slots=True, eq=False)
class _Entry(Entry, Generic[Item, Answer]):
    item: Item
    future: asyncio.Future[Completed[Answer]]
    deadline: float


class MicroBatcher(Generic[Item, Answer]):
    """Collects items of concurrent callers into batches of at most `max_batch` for `compute`.

    At most `max_queue` items wait, in fair shares of the callers; from a wait of `standing_s` the newest go
    first (`service.fair_queue`). Costs are in the unit of `service.pace.BATCH_COST`. `on_batch` hears the
    size of each batch that starts. To be used within one event loop; close it before the loop ends.
    """

    def __init__(
        self,
        compute: Compute[Item, Answer],
        *,
        max_batch: int,
        max_queue: int,
        standing_s: float = DEFAULT_STANDING_S,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._standing_s = standing_s
        self._on_batch = on_batch
        self._waiting: FairQueue[_Entry[Item, Answer]] = FairQueue(standing_s)
        self._expected_cost = 0.0
        self._suspects: deque[_Entry[Item, Answer]] = deque()  # their batch failed: each is computed alone
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine", initializer=_yield_to_the_loop)
        self._pace = Pace()
        self.inside = Inside()
        """Those that come for its answers, also where they do not wait here yet."""
        self._running = False
        self._started: float | None = None
        self._batch_size = 0  # of the batch that is computed now, or was last
        self._batch_cost = 0.0
        self._batch_s = 0.0  # as predicted for it
        self._ended = 0.0  # when the worker had the answers of its latest batch
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

    def predicted_s(self, cost: float, caller: str = "") -> float:
        """The time until an item of this cost would be answered; 0 where nobody else is there.

        It is the engine's or the event loop's, whichever has more to do.
        """
        return max(self._computed_s(cost, caller), self.inside.predicted_s())

    def admit(self, timeout_s: float, cost: float | None = None, caller: str = "") -> None:
        """Refuse what could not be answered within `timeout_s`, before anything is done for it.

        `cost`: None where it is not known yet; then it is taken for that of others.

        Raises OverloadedError with the time after which to come back, ClosingError after `close`, and
        DeadlineExceededError where no time is left.
        """
        if self._closing:
            raise ClosingError
        if timeout_s <= 0:
            raise DeadlineExceededError
        computed_s = self._computed_s(self._usual_cost() if cost is None else cost, caller)
        loop_s = self.inside.predicted_s()
        predicted_s = CAUTION * max(computed_s, loop_s) + min(computed_s, loop_s)
        # Two batches are no queue: after a slow one, callers who come back at once would keep the door shut.
        bound_s = max(self._standing_s, PATIENCE * timeout_s) if self.inside.is_crowded else timeout_s
        if predicted_s > timeout_s or computed_s + loop_s > bound_s or loop_s > MAX_S:
            raise OverloadedError(len(self._waiting), max(1, math.ceil(predicted_s - timeout_s)))

    @contextmanager
    def expecting(self, cost: float) -> Iterator[None]:
        """Count work that was admitted and is on its way, as while a history is read, to the queue."""
        self._expected_cost += cost
        try:
            yield
        finally:
            self._expected_cost = max(0.0, self._expected_cost - cost)

    async def submit(
        self, item: Item, timeout_s: float, *, cost: float = 1.0, caller: str = ""
    ) -> Completed[Answer]:
        """Wait for the item's answer.

        Raises OverloadedError at once when the queue is full (a caller with fewer items waiting takes the
        place of one with the most), DeadlineExceededError when no batch took the item within `timeout_s` or
        the next could not answer it by then (a batch that has started is always waited for), ClosingError
        after `close`, and whatever `compute` gave for this item. Cancelling the caller takes the item out of
        the queue.
        """
        if self._closing:
            raise ClosingError
        if timeout_s <= 0:
            raise DeadlineExceededError
        if len(self._waiting) >= self._max_queue:
            self._make_room(caller)
        loop = asyncio.get_running_loop()
        now = time.perf_counter()  # loop.time() may be no finer than a millisecond
        future: asyncio.Future[Completed[Answer]] = loop.create_future()
        patient_s = timeout_s / CAUTION  # so long the door lets it wait
        entry = _Entry(caller, cost, now, item, future, now + timeout_s, patient_s=patient_s)
        self._waiting.add(entry)
        expiry = loop.call_later(timeout_s, self._expire, entry)
        if not self._running:
            self._running = True
            self._idle.clear()
            loop.call_soon(self._start_next)  # callers that are ready in this turn of the loop join in
        try:
            completed = await future
            self._pace.note_lag(time.perf_counter() - self._ended)
            return completed
        finally:
            expiry.cancel()
            self._waiting.discard(entry)

    async def close(self) -> None:
        """Take no new items, finish those that wait or compute, and end the worker."""
        self._closing = True
        await self._idle.wait()
        self._worker.shutdown()

    def _computed_s(self, cost: float, caller: str) -> float:
        """The engine's time. Nothing but a computation shows how long one takes: idle, it always gets one."""
        if self._started is None and not len(self._waiting):
            return 0.0
        running_s = 0.0
        if self._started is not None:
            running_s = max(0.0, self._started + self._batch_s - time.perf_counter())
        coming = self.inside.coming * self._usual_cost()
        ahead = self._waiting.cost_ahead(caller, cost) + self._expected_cost + coming
        mean = self._waiting.cost / len(self._waiting) if len(self._waiting) else cost
        batches, rank = divmod(ahead / mean, self._max_batch)
        # Others will join its batch: as many as the one that is computed now has.
        company = max(0.0, self._batch_cost - (rank + 1) * cost)
        return running_s + self._pace.seconds(ahead + cost + company, batches + 1) + self._pace.lag_s

    def _usual_cost(self) -> float:
        """The mean of those that wait, else of those that are computed."""
        if len(self._waiting):
            return self._waiting.cost / len(self._waiting)
        return self._batch_cost / max(1, self._batch_size)

    def _make_room(self, caller: str) -> None:
        evicted = self._waiting.newest_of_heaviest(caller)
        refusal = OverloadedError(
            len(self._waiting), max(1, math.ceil(self._pace.seconds(self._waiting.cost)))
        )
        if evicted is None:
            raise refusal
        self._refuse(evicted, refusal)

    def _expire(self, entry: _Entry[Item, Answer]) -> None:
        self._refuse(entry, DeadlineExceededError())

    def _refuse(self, entry: _Entry[Item, Answer], refusal: Exception) -> None:
        """Take the entry out of the queue; one whose batch has started is left alone."""
        if self._waiting.discard(entry) and not entry.future.done():
            entry.future.set_exception(refusal)

    def _take(self) -> list[_Entry[Item, Answer]]:
        """The next batch: callers that left, ran out of time or would during the batch are passed over.

        One of the latter is computed if there is nobody else: the pace may be that of another time.
        """
        now = time.perf_counter()
        while self._suspects:
            suspect = self._suspects.popleft()
            if not suspect.future.done():
                return [suspect]
        batch: list[_Entry[Item, Answer]] = []
        late: list[_Entry[Item, Answer]] = []
        cost = 0.0
        # All answers of a batch come at its end.
        share = min(1.0, self._max_batch / max(1, len(self._waiting)))
        ends = now + min(MAX_BATCH_S, self._pace.seconds(share * self._waiting.cost)) + self._pace.lag_s
        while len(batch) < self._max_batch and not (batch and self._pace.seconds(cost) >= MAX_BATCH_S):
            entry = self._waiting.take(now)
            if entry is None:
                break
            if entry.future.done():
                continue
            if max(ends, now + self._pace.seconds(entry.cost)) > entry.deadline:
                late.append(entry)
            else:
                batch.append(entry)
                cost += entry.cost
        late.sort(key=lambda entry: entry.deadline)
        if not batch and late and late[-1].deadline > now:
            batch = [late.pop()]
        for entry in late:
            entry.future.set_exception(DeadlineExceededError())
        return batch

    def _start_next(self) -> None:
        batch = self._take()
        if not batch:
            self._running = False
            self._idle.set()
            return
        self._on_batch(len(batch))
        loop = asyncio.get_running_loop()
        self._batch_size, self._batch_cost = len(batch), sum(entry.cost for entry in batch)
        self._batch_s = self._pace.seconds(self._batch_cost)
        self._started = time.perf_counter()
        computation = loop.run_in_executor(self._worker, self._run, [entry.item for entry in batch])
        computation.add_done_callback(partial(self._deliver, batch, self._started))

    def _run(self, items: list[Item]) -> Sequence[Answer | Exception]:
        answers = self._compute(items)
        if len(answers) != len(items):
            raise RuntimeError(f"{len(items)} items were computed but {len(answers)} answers came back")
        self._ended = time.perf_counter()
        return answers

    def _deliver(
        self,
        batch: list[_Entry[Item, Answer]],
        started: float,
        computation: asyncio.Future[Sequence[Answer | Exception]],
    ) -> None:
        failure = computation.exception()
        if failure is None:
            self._pace.note(time.perf_counter() - started, self._batch_cost)
        self._started = None
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
                    entry.future.set_result(Completed(answer, queue_ms, len(batch), started))
        self._start_next()
