"""The catalogue log as a whole: read by pages, and restored from an export."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from service.catalogue.compacting import Kept, droppable
from service.catalogue.following import Follower
from service.catalogue.live import LiveCatalogue
from service.catalogue.paging import first_after
from service.catalogue.protocol import CatalogueLog, Contents, Entry
from service.catalogue.room import Room


class Page(NamedTuple):
    """Some entries by id; `after`: to ask with for the next ones, None where there are none.

    `sequence`: of the last change of which none before it is missing.
    """

    entries: list[Entry]
    after: str | None
    sequence: int
    passed_ms: int


class WholeLog:
    """All entries of what is live and of its log."""

    def __init__(
        self,
        live: LiveCatalogue,
        kept: CatalogueLog,
        follower: Follower | None,
        room: Room,
    ) -> None:
        self._live = live
        self._log = kept
        self._follower = follower
        self._room = room

    async def begin(self) -> None:
        """As `CatalogueLog.begin`, before anything is answered."""
        await self._log.begin()

    @property
    def sequence(self) -> int:
        """The sequence of the last change of which none before it is missing here."""
        return self._live.sequence if self._follower is None else self._follower.sequence

    def page(self, limit: int, after: str | None) -> Page:
        """The first `limit` entries whose ids come after `after`, as they count here.

        Whatever changes between two pages, an item that was changed before the first of them is on one.
        """
        sequence = self.sequence
        return Page(*first_after(self._live.entries(), limit, after), sequence, self._live.passed_ms)

    async def restore(self, contents: Contents) -> None:
        """Store entries of an earlier time, each where there is no newer one of its item.

        Raises CatalogueFullError and CatalogueUnavailableError.
        """
        async with self._room.turn:
            self._room.check(contents.entries)
            await self._log.restore(contents)
            await self._live.take_all(contents.entries)
        self._live.pass_time(contents.passed_ms)
        self._live.note_sequence(contents.sequence)

    async def compact(self, kept: Sequence[Kept]) -> list[Entry]:
        """Drop entries from which nothing follows in these bundles, which are all; returns the dropped ones.

        Raises CatalogueUnavailableError.
        """
        spent = await asyncio.to_thread(droppable, self._live.contents.entries, kept)
        dropped = await self._log.drop([one for one in spent if one.item_id not in self._live.struck])
        for entry in dropped:
            if self._live.entry(entry.item_id) == entry:
                self._live.forget([entry.item_id])
        last = max((entry.sequence for entry in dropped), default=0)
        self._live.compacted = max(self._live.compacted, last)
        return dropped
