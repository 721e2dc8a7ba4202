"""Items as answers describe them, kept for the next answer."""

from engine.contract import DescribedItem, WatchedItem
from index.catalogue import Catalogue
from index.remembering import remembering
from index.vector_index import Rows

MAX_KEPT = 65_536
"""Items kept, those answered with most recently: a few hundred bytes each."""


class Descriptions:
    """The descriptions of a catalogue's rows. Safe to share between threads.

    `base`: those of the catalogue that a layered one is made of, which are kept.
    """

    def __init__(self, catalogue: Catalogue, base: "Descriptions | None" = None) -> None:
        self._catalogue = catalogue
        self._base = base
        self._rows = 0 if base is None else len(base._catalogue)
        self.of = remembering(self._of, MAX_KEPT)
        """A row as an item of an answer."""
        self.watched = remembering(self._watched, MAX_KEPT)
        """A row as an item of a history."""

    def new(self, rows: Rows) -> list[bool]:
        """True for each of `rows` that is new, as `Catalogue.new` has it."""
        new: list[bool] = self._catalogue.new(rows).tolist()
        return new

    def _of(self, row: int) -> DescribedItem:
        if self._base is not None and row <= self._rows:
            return self._base.of(row)
        return DescribedItem(*self._catalogue.item(row))

    def _watched(self, row: int) -> WatchedItem:
        if self._base is not None and row <= self._rows:
            return self._base.watched(row)
        item_id, title, _ = self._catalogue.item(row)
        return WatchedItem(item_id, title)
