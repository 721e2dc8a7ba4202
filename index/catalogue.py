"""The catalogue: the caller's item ids and the rows they have here, with titles, categories, popularity."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.attributes import Attributes, AttributeValue
from index.errors import CatalogueError
from index.item_columns import attributes_in, id_hash, make_columns, parse_columns, write_columns
from index.moved import MovedRows
from index.remembering import remembering
from index.ties import Ties
from index.vector_index import Rows

MAX_KEPT = 2**15
"""Ids that a process keeps as Python objects with their rows, those used last: a few hundred bytes each.

Of the rest it has nothing of its own: they lie in a file that all processes map. What describes items is kept
by whoever answers with it (`engine.descriptions`).
"""

_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class Item(NamedTuple):
    """Description of an item."""

    item_id: str
    title: str | None
    categories: tuple[str, ...]


class Catalogue:
    """Items in row order: line i of every column describes row i + 1; row 0 is padding and is no item.

    `item_ids`: unique, each as `files.ids.is_id` asks; `titles`: None where unknown;
    `categories`: none, one or several an item; `popularity`: events counted in the training log,
    int64 (items,); `attributes`: of as many lines. Immutable; safe to share between threads.
    Raises `CatalogueError` when the columns do not fit together.
    """

    moved: MovedRows | None = None
    """Rows of items that were changed since the bundle; None: there are none."""

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str | None],
        categories: Sequence[Sequence[str]],
        popularity: Sequence[int] | NDArray[np.int64],
        attributes: Attributes | None = None,
    ) -> None:
        attributes = Attributes(len(item_ids), {}) if attributes is None else attributes
        self._use(make_columns(item_ids, titles, categories, popularity, attributes))

    def __len__(self) -> int:
        return len(self._popularity)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Every item's id: a copy, as `titles` and `categories` are; serving asks by row."""
        return tuple(self._columns["item_id"].to_pylist())

    @property
    def titles(self) -> tuple[str | None, ...]:
        """Every item's title."""
        return tuple(self._columns["title"].to_pylist())

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """Every item's categories."""
        return tuple(map(tuple, self._columns["categories"].to_pylist()))

    @property
    def popularity(self) -> NDArray[np.int64]:
        """Events of every item that were counted in the training log (items,)."""
        return self._popularity

    def events_of(self, rows: Rows) -> NDArray[np.int64]:
        """The same of `rows`."""
        return self._popularity[rows - 1]

    @cached_property
    def most_watched(self) -> Rows:
        """The rows that are a bundle's, those with the most events first, equal ones by row."""
        ranked: Rows = np.argsort(-self._popularity, kind="stable") + 1
        return ranked

    @cached_property
    def log_commonness(self) -> NDArray[np.float32]:
        """Logarithm of one more than the events of every item (items,).

        An added one without events, of which nobody knows, is as common as the mean of the others.
        """
        events = self.popularity
        common = np.log1p(events).astype(np.float32)
        unknown = np.flatnonzero(events[self.base_rows :] == 0) + self.base_rows
        if len(unknown):
            common[unknown] = common[: self.base_rows].mean()
        return common

    @property
    def events(self) -> int:
        """Events in the training log."""
        return int(self._popularity.sum())

    @property
    def alive(self) -> NDArray[np.bool_]:
        """The rows that may be answered, by row (items + 2,): False for padding and for −1, "no hit"."""
        mask = np.zeros(len(self) + 2, dtype=np.bool_)
        mask[1:-1] = True
        return mask

    @property
    def dead_rows(self) -> Rows:
        """The rows that may not be answered, ascending: none in a catalogue without an overlay."""
        return _NO_ROWS

    @property
    def ties(self) -> Ties | None:
        """The order of equal rows where it is not that of the rows: where some were added."""
        return None

    @property
    def base_rows(self) -> int:
        """The rows that are a bundle's; the others were added since."""
        return len(self)

    def of_alive(self, rows: Rows) -> Rows:
        """Those of `rows` that may be answered, in their order."""
        return rows

    def row(self, item_id: str) -> int | None:
        """The row of `item_id`, None when it is not in the catalogue."""
        return self._kept_rows(item_id)

    def served_row(self, item_id: str) -> int | None:
        """The row of `item_id`, None where it may not be answered."""
        return self._kept_rows(item_id)

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """The rows of those `item_ids` that are in the catalogue, in their order."""
        found = map(self._kept_rows, item_ids)
        return np.array([row for row in found if row is not None], dtype=np.int64)

    def new(self, rows: Rows) -> NDArray[np.bool_]:
        """True for each of `rows` that was added to the bundle and has no event in the training log."""
        return np.zeros(len(rows), dtype=np.bool_)

    def item(self, row: int) -> Item:
        """The description of `row`."""
        if not 1 <= row <= len(self):
            raise CatalogueError(f"row {row} is not in the catalogue, whose rows are 1 … {len(self)}")
        line = row - 1
        codes = self._codes[self._offsets[line] : self._offsets[line + 1]].tolist()
        names = tuple(self._names[code] for code in codes)
        return Item(self._columns["item_id"][line].as_py(), self._columns["title"][line].as_py(), names)

    def item_id(self, row: int) -> str:
        """The caller's id of `row`."""
        return self.item(row).item_id

    def title(self, row: int) -> str | None:
        """The title of `row`, None where unknown."""
        return self.item(row).title

    def category(self, row: int) -> tuple[str, ...]:
        """The categories of `row`."""
        return self.item(row).categories

    @property
    def attributes(self) -> Attributes:
        """The attributes of the items, column by column."""
        return self._attributes

    def attributes_of(self, row: int) -> dict[str, AttributeValue]:
        """The attributes of `row`, those that it has."""
        return self._attributes.of(row - 1)

    @property
    def category_names(self) -> list[str]:
        """Every category, in order of first appearance."""
        return list(self._code_of)

    def ordered_categories(self, codes: Rows) -> Rows:
        """Codes of `category_names`, ascending, in the order of equal ones."""
        return codes

    def unknown_categories(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that no item has, each once, in their order."""
        return [name for name in dict.fromkeys(names) if name not in self._code_of]

    @property
    def category_shares(self) -> NDArray[np.float64]:
        """Part of the items that has each of `category_names`."""
        return self.category_counts / max(len(self), 1)

    @cached_property
    def category_counts(self) -> NDArray[np.int64]:
        """The number of items that have each of `category_names`."""
        return np.bincount(self._codes, minlength=len(self._names))

    def rows_of(self, category: str) -> Rows:
        """The rows, ascending, that have this category, in one pass over all; an unknown one has none."""
        code = self._code_of.get(category)
        if code is None:
            return _NO_ROWS
        return np.searchsorted(self._offsets, np.flatnonzero(self._codes == code), side="right")

    def category_codes(self, rows: Rows) -> tuple[Rows, Rows]:
        """The categories of `rows` as pairs: a position in `rows`, and one in `category_names`."""
        lines = rows - 1
        counts = self._offsets[lines + 1] - self._offsets[lines]
        owners = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self._codes[self._offsets[lines][owners] + within].astype(np.int64)

    def category_matrix(self, rows: Rows) -> NDArray[np.float32]:
        """The categories of `rows`: 0 or 1, (len(rows), categories that occur among them)."""
        owners, codes = self.category_codes(rows)
        present, columns = np.unique(codes, return_inverse=True)
        matrix = np.zeros((len(rows), len(present)), dtype=np.float32)
        matrix[owners, columns] = 1.0
        return matrix

    def write(self, path: Path) -> None:
        """Write the catalogue so that it can be mapped, atomically."""
        write_columns(self._columns, path)

    @classmethod
    def parse(cls, content: object, name: str) -> "Catalogue":
        """The catalogue in the bytes of a file that `write` wrote, looked at where they are.

        `name`: of the file, whose checksum the caller has compared. Raises `CatalogueError`.
        """
        catalogue = cls.__new__(cls)
        catalogue._use(parse_columns(content, name))
        return catalogue

    def _use(self, columns: pa.RecordBatch) -> None:
        self._columns = columns
        self._popularity: NDArray[np.int64] = columns["popularity"].to_numpy()
        self._hashes: NDArray[np.uint64] = columns["id_hash"].to_numpy()
        self._hash_rows: NDArray[np.int32] = columns["hash_row"].to_numpy()
        categories = columns["categories"]
        self._offsets: NDArray[np.int32] = categories.offsets.to_numpy()
        self._codes: NDArray[np.int32] = categories.values.indices.to_numpy()
        self._code_of = {name: code for code, name in enumerate(categories.values.dictionary.to_pylist())}
        self._names = tuple(self._code_of)
        self._attributes = attributes_in(columns)
        self._kept_rows = remembering(self._find, MAX_KEPT)

    def _find(self, item_id: str) -> int | None:
        hashed = np.uint64(id_hash(item_id))
        position = int(np.searchsorted(self._hashes, hashed))
        while position < len(self) and self._hashes[position] == hashed:
            row = int(self._hash_rows[position])
            if self._columns["item_id"][row - 1].as_py() == item_id:
                return row
            position += 1
        return None
