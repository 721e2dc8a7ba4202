"""Changes of histories, which go into the spool while the store is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol, TypeVar

import structlog

from files.clock import now_ms
from service.history.encoding import identity
from service.history.errors import HistoryUnavailableError, HistoryUnreadableError
from service.history.protocol import (
    AppendResult,
    Event,
    HistoryStore,
    check_event_id,
    check_events,
    check_user,
)
from service.history.writing import HistoryWriter
from service.spool.file import Record, SpoolFileError
from service.spool.spool import Spool

log = structlog.get_logger("dimerec.spool")

Answer = TypeVar("Answer")


class Spooled(NamedTuple):
    """The number of changes, without repeats among them, that were taken in and are not yet visible."""

    changes: int


class HistoryWrites(Protocol):
    """Changes histories; a HistoryStore is one, and never answers Spooled. Raises as a HistoryStore does."""

    @property
    def takes_events(self) -> bool:
        """False where they would be refused at once."""
        ...

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult | Spooled:
        """As `HistoryStore.append_many`."""
        ...

    async def remove(self, user_id: str, event_id: str) -> int | Spooled:
        """As `HistoryStore.remove`."""
        ...

    async def forget(self, user_id: str) -> int | Spooled:
        """As `HistoryStore.forget`."""
        ...


class SpooledWrites:
    """Changes a store, and takes into the spool what the store does not take.

    What concerns a user with a record in the spool goes there, too, so that all of it comes in order. Where
    the file cannot be read, nobody knows of such records, and changes go to the store at once: a `forget`
    that is delivered later, from a file that can be read again, takes them away.
    """

    def __init__(
        self, store: HistoryStore | HistoryWriter, spool: Spool, clock: Callable[[], int] = now_ms
    ) -> None:
        self._store = store
        self._spool = spool
        self._clock = clock

    @property
    def takes_events(self) -> bool:
        """Always: what the store does not take, the spool may."""
        return True

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult | Spooled:
        """As the store's, or all of the events into the spool."""
        users = {user_id for user_id, _ in events}
        for user_id in users:
            check_user(user_id)
        check_events([event for _, event in events])
        return await self._written(users, lambda: _distinct(events), lambda: self._store.append_many(events))

    async def remove(self, user_id: str, event_id: str) -> int | Spooled:
        """As the store's, or into the spool."""
        check_user(user_id)
        check_event_id(event_id)
        record = Record("remove", user_id, event_id=event_id)
        return await self._written([user_id], lambda: [record], lambda: self._store.remove(user_id, event_id))

    async def forget(self, user_id: str) -> int | Spooled:
        """As the store's, or into the spool, where nothing else is left of the user."""
        check_user(user_id)
        now = self._clock()
        record = Record("forget", user_id, timestamp=now)
        return await self._written([user_id], lambda: [record], lambda: self._store.forget(user_id, now))

    async def _written(
        self,
        user_ids: Collection[str],
        changes: Callable[[], Sequence[Record]],
        write: Callable[[], Awaitable[Answer]],
    ) -> Answer | Spooled:
        if not await self._waits(user_ids):
            try:
                return await write()
            except HistoryUnreadableError:
                raise
            except HistoryUnavailableError:
                pass
        records = changes()  # only here: as a rule nobody needs them
        await self._spool.take(records)
        return Spooled(len(records))

    async def _waits(self, user_ids: Collection[str]) -> bool:
        try:
            return await self._spool.holds(user_ids)
        except SpoolFileError as error:  # its trouble is none of the store's
            log.warning("spool unreadable", reason=str(error))
            return False


def _distinct(events: Sequence[tuple[str, Event]]) -> list[Record]:
    """Records of the events, without repeats among them."""
    distinct: dict[tuple[str, bytes], Record] = {}
    for user_id, event in events:
        distinct.setdefault((user_id, identity(event)), Record("append", user_id, *event))
    return [*distinct.values()]
