"""The room beside a bundle: so many items may be new or changed, whoever puts them at the same time."""

import asyncio
from collections.abc import Iterable, Sequence

from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Entry, Write
from service.errors import CatalogueFullError

MAX_LIVE_ITEMS = 20_000
"""Items that are new or changed beside a bundle. Chosen: each view of them takes time with their number."""


class Room:
    """The bound on items that are new or changed. Changes are looked at and made in one `turn`."""

    def __init__(self, live: LiveCatalogue, max_items: int = MAX_LIVE_ITEMS) -> None:
        self._live = live
        self.max_items = max_items
        self.turn = asyncio.Lock()
        """Held from a look at the room until what was found to fit counts, or several would take the same."""

    def fitting(self, writes: Sequence[Write], others: int = 0) -> tuple[list[bool], int | None]:
        """True for each of these changes, one after the other, for which there is room; and the room left.

        `others`: changes of other processes that do not count here yet; each may have taken room, and they
        are not counted in what is left. That is None where none of the changes takes any.
        """
        free = self.max_items - self._live.added_items - others
        takes = False
        added: dict[str, bool] = {}
        fits = []
        for write in writes:
            was_added = added.get(write.item_id, self._live.is_added(write.item_id))
            taken = (write.description is not None) - was_added
            fits.append(taken <= 0 or free > 0)
            if fits[-1]:
                free -= taken
                takes |= taken > 0
                added[write.item_id] = write.description is not None
        return fits, free + others if takes else None

    def check(self, entries: Iterable[Entry]) -> None:
        """Raise CatalogueFullError unless there is room for all of these entries."""
        added = sum(not entry.removed and not self._live.is_added(entry.item_id) for entry in entries)
        if self._live.added_items + added > self.max_items:
            raise CatalogueFullError(self.max_items)
