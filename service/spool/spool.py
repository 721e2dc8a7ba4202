"""The spool: records reach the disk in a thread, those of many callers with one flush."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from files.clock import now_ms
from service.errors import StartupError
from service.history.errors import SpoolRefusedError
from service.spool.file import Kept, Record, SpoolFile, SpoolFileError
from service.telemetry import Metrics

TAKEN_WITHIN_S = 5.0
"""Chosen: a disk that takes longer fails, and whoever waits may send again."""
CALLS_A_COMMIT = 256
"""A bound on how long the calls after them wait."""

log = structlog.get_logger("dimerec.spool")

Answer = TypeVar("Answer")
Call = tuple[Sequence[Record], "asyncio.Future[None]"]


class Spool:
    """Takes records in, durably, and hands them out in order. Raises StartupError where it cannot be opened.

    Calls raise SpoolFileError, but for `take`. The event loop never waits for the disk.
    """

    def __init__(
        self, directory: Path, max_bytes: int, metrics: Metrics, clock: Callable[[], int] = now_ms
    ) -> None:
        self.directory = directory
        self._metrics = metrics
        self._clock = clock
        try:
            self._file = SpoolFile(directory, max_bytes)
        except SpoolFileError as error:
            raise StartupError(f"DIMEREC_SPOOL: {directory} cannot be used: {error}") from error
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[Call] = []
        self._committing: asyncio.Task[None] | None = None

    async def take(self, records: Sequence[Record]) -> None:
        """Keep all of the records, or none; they have reached the disk at the end.

        Raises SpoolRefusedError where the spool is full, or its disk fails.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, taken))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                await taken
        except (TimeoutError, SpoolFileError) as error:
            self._metrics.spool_records.labels("refused").inc(len(records))
            log.warning("spool refuses", reason=str(error) or "the disk is slow")
            raise SpoolRefusedError("the store is away, and the spool takes nothing") from error
        self._metrics.spool_records.labels("taken").inc(len(records))

    async def holds(self, user_ids: Collection[str]) -> bool:
        """True where a record of one of the users waits, which others of them must not overtake.

        Raises SpoolRefusedError where the disk is too slow to say so.
        """
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                return await self._done(lambda: self._file.holds(user_ids))
        except TimeoutError as error:
            raise SpoolRefusedError("the spool's disk is slow, and what waits there comes first") from error

    async def after(self, seq: int, limit: int) -> list[Kept]:
        """As `SpoolFile.after`."""
        return await self._done(lambda: self._file.after(seq, limit))

    async def settle(self, seqs: Sequence[int]) -> None:
        """Remove records that were delivered."""
        removed = await self._done(lambda: self._file.settle(seqs))
        self._metrics.spool_records.labels("delivered").inc(removed)

    async def clean(self) -> None:
        """Leave nothing of removed records in the file's log."""
        await self._done(self._file.clean)

    async def observe(self) -> int:
        """Show how many records wait, and since when; returns the number."""
        counts = await self._done(self._file.counts)
        self._metrics.spool_pending.set(counts.pending)
        age_ms = 0 if counts.oldest_ms is None else self._clock() - counts.oldest_ms
        self._metrics.spool_oldest_seconds.set(max(0, age_ms) / 1000)
        return counts.pending

    async def close(self) -> None:
        """Take what is waiting, and close the file."""
        if self._committing is not None:
            await self._committing
        await self._done(self._file.close)
        self._thread.shutdown()

    async def _done(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                calls = [call for call in self._waiting[:CALLS_A_COMMIT] if not call[1].done()]
                del self._waiting[:CALLS_A_COMMIT]
                await self._commit(calls)
        finally:
            self._committing = None

    async def _commit(self, calls: Sequence[Call]) -> None:
        now = self._clock()
        outcomes = await self._done(lambda: self._file.take([records for records, _ in calls], now))
        for (_, taken), error in zip(calls, outcomes, strict=True):
            if taken.done():
                continue  # nobody waits for it any more
            if error is None:
                taken.set_result(None)
            else:
                taken.set_exception(error)
