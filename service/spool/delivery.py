"""Delivery: one process at a time brings the spool's records to the store, the oldest first."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import structlog

from service.history.errors import HistoryInputError, HistoryUnavailableError, HistoryUnreadableError
from service.history.protocol import Event, HistoryStore
from service.spool.file import Kept, Record, SpoolFileError
from service.spool.spool import Spool

EVERY_S = 1.0
"""Chosen: as soon as that, what was taken in is visible once the store is back."""
STEP = 500
"""Records a round trip: some 50 KB."""

log = structlog.get_logger("dimerec.spool")


class Delivery:
    """Brings records to a store and removes them from the spool afterwards.

    A process that ends in between leaves them to be delivered again, which changes nothing: an event that is
    known is a repeat, and until then nobody else writes to these users' histories. Only in a full history,
    an event that was dropped as the oldest may take the place of another one of the same millisecond.
    """

    def __init__(self, spool: Spool, store: HistoryStore) -> None:
        self._spool = spool
        self._store = store
        self._stuck: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Deliver again and again; never returns."""
        while True:
            try:
                await self.deliver()
            except (HistoryUnavailableError, SpoolFileError, OSError) as error:
                log.info("spool waits", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Close the spool and the store; what waits is delivered after the next start."""
        await self._spool.close()
        await self._store.close()

    async def deliver(self) -> None:
        """Deliver all that waits, unless another process does.

        Raises HistoryUnavailableError where the store does not take it, SpoolFileError and OSError.
        """
        if not await self._spool.observe():
            return
        with _first(self._spool.directory / "delivery.lock") as first:
            if not first:
                return
            stuck: set[str] = set()
            reached = 0
            try:
                while records := await self._spool.after(reached, STEP):
                    reached = records[-1].seq
                    for run in _runs(records):
                        await self._settled([one for one in run if one.record.user_id not in stuck], stuck)
                    await self._spool.observe()
            finally:
                await self._spool.clean()
                await self._spool.observe()
            self._tell(frozenset(stuck))

    async def _settled(self, run: Sequence[Kept], stuck: set[str]) -> None:
        """Deliver records that may go together; users whose key holds something else become stuck."""
        if run:
            await self._spool.settle([one.seq for one in await self._given(run, stuck)])

    async def _given(self, run: Sequence[Kept], stuck: set[str]) -> Sequence[Kept]:
        """Those that the store has taken: all, or where one is in the way, those of the other users."""
        first = run[0].record
        try:
            match first.kind:
                case "append":
                    return await self._appended(run, stuck)
                case "remove":
                    await self._store.remove(first.user_id, first.event_id or "")
                case "forget":
                    await self._store.forget(first.user_id, first.timestamp)
        except (HistoryUnreadableError, HistoryInputError):
            users = {one.record.user_id for one in run}
            if len(users) == 1:
                stuck.update(users)
                return []
            each = [[one for one in run if one.record.user_id == user_id] for user_id in users]
            return [one for of_user in each for one in await self._given(of_user, stuck)]
        return run

    async def _appended(self, run: Sequence[Kept], stuck: set[str]) -> Sequence[Kept]:
        """As `_given`, of events: a user's of one call stay one append, since what it drops may come anew."""
        appends: dict[tuple[int, str], list[Kept]] = {}
        for one in run:
            appends.setdefault((one.call, one.record.user_id), []).append(one)
        outcomes = await self._store.append_each(
            [(user_id, [_event(one.record) for one in kept]) for (_, user_id), kept in appends.items()]
        )
        for (_, user_id), outcome in zip(appends, outcomes, strict=True):
            if isinstance(outcome, HistoryUnreadableError):
                stuck.add(user_id)
            elif isinstance(outcome, HistoryUnavailableError):
                raise outcome
        return [one for one in run if one.record.user_id not in stuck]

    def _tell(self, stuck: frozenset[str]) -> None:
        if len(stuck) > len(self._stuck):
            log.warning("spool keeps records of users whose history is unreadable", users=len(stuck))
        self._stuck = stuck


def _event(record: Record) -> Event:
    names = record.event_id, record.event_type, record.request_id
    return Event(record.item_id or "", record.timestamp or 0, *names)


def _runs(records: Sequence[Kept]) -> Iterator[list[Kept]]:
    """Neighbours that may go together: events; other changes go one by one."""
    for kind, same in groupby(records, key=lambda one: one.record.kind):
        run = [*same]
        yield from [run] if kind == "append" else ([one] for one in run)


@contextmanager
def _first(path: Path) -> Iterator[bool]:
    """True where no other process is in such a block; the system ends it with the process."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
