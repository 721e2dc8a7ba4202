"""Rows after those of a catalogue: items that are new or changed since its bundle, and rows that are dead.

A changed item is a dead row of the catalogue and a row after it. Rows are only ever added, so that a view,
once made, stays as it is while the next one is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from index.added_attributes import AddedAttributes
from index.attributes import NO_ATTRIBUTES, Attributes, AttributeValue
from index.catalogue import Catalogue, Item
from index.eligibility import Asked, Eligibility, EligibleRows
from index.filters import Filter, matching
from index.growing import Growing
from index.moved import MovedRows
from index.ties import Ties, key_of
from index.vector_index import Rows, Vectors


class LayeredCatalogue(Catalogue):
    """The items of a `base` and those of the rows after it. Immutable; made by `Overlay.view`.

    Categories of the base come first. An id has the row that was added last for it. A dead row is still
    described: histories hold it.
    """

    def __init__(
        self,
        base: Catalogue,
        items: Sequence[Item],
        row_of: dict[str, int],
        alive: NDArray[np.bool_],
        code_of: dict[str, int],
        offsets: Rows,
        codes: Rows,
        popularity: NDArray[np.int64],
        attributes: Attributes,
        replaced: Rows,
        ties: Ties,
    ) -> None:
        self.base = base
        self._items = items
        self._row_of = row_of
        self._alive = alive
        self._code_of = code_of
        self._offsets_added = offsets
        self._codes_added = codes
        self.popularity_added = popularity
        """Events of the added rows, counted in the training log: those of the row that each replaces."""
        self.added_attributes = attributes
        """Those of the added rows, of the schema of the base."""
        self.moved = MovedRows(len(base), replaced, alive[len(base) + 1 : -1])
        self._dead = np.flatnonzero(~alive[1:-1]) + 1
        self._ties = ties

    def __len__(self) -> int:
        return len(self.base) + len(self.popularity_added)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Every row's id."""
        return tuple(self.item_id(row) for row in range(1, len(self) + 1))

    @property
    def titles(self) -> tuple[str | None, ...]:
        """Every row's title."""
        return tuple(self.title(row) for row in range(1, len(self) + 1))

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """Every row's categories."""
        return tuple(self.category(row) for row in range(1, len(self) + 1))

    @property
    def popularity(self) -> NDArray[np.int64]:
        """Events of every row; those of a replaced row count for both."""
        return np.concatenate([self.base.popularity, self.popularity_added])

    def events_of(self, rows: Rows) -> NDArray[np.int64]:
        """The same of `rows`."""
        events = np.empty(len(rows), dtype=np.int64)
        added = rows > len(self.base)
        events[added] = self.popularity_added[rows[added] - len(self.base) - 1]
        events[~added] = self.base.events_of(rows[~added])
        return events

    @property
    def most_watched(self) -> Rows:
        """As the base's, dead ones among them."""
        return self.base.most_watched

    @property
    def events(self) -> int:
        """Events in the training log, each counted once."""
        return self.base.events

    @property
    def alive(self) -> NDArray[np.bool_]:
        """The rows that may be answered, by row (rows + 2,)."""
        return self._alive

    @property
    def dead_rows(self) -> Rows:
        """The rows that may not be answered, ascending."""
        return self._dead

    @property
    def ties(self) -> Ties:
        """The order of equal rows."""
        return self._ties

    @property
    def base_rows(self) -> int:
        """The rows that are the bundle's."""
        return len(self.base)

    def of_alive(self, rows: Rows) -> Rows:
        """Those of `rows` that may be answered, in their order."""
        living: Rows = rows[self._alive[rows]]
        return living

    def row(self, item_id: str) -> int | None:
        """The row of `item_id`, dead or not; None when it is in neither part."""
        row = self._row_of.get(item_id)
        return self.base.row(item_id) if row is None else row

    def served_row(self, item_id: str) -> int | None:
        """The row of `item_id`, None where it is dead or there is none."""
        row = self.row(item_id)
        return row if row is not None and self._alive[row] else None

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """The rows of those `item_ids` that there are, in their order."""
        of_added, of_base = self._row_of.get, self.base.row
        found = [of_added(item_id) or of_base(item_id) for item_id in item_ids]  # no row is 0
        return np.array([row for row in found if row is not None], dtype=np.int64)

    def new(self, rows: Rows) -> NDArray[np.bool_]:
        """True for each of `rows` that was added and has no event in the training log."""
        new = rows > len(self.base)
        new[new] = self.popularity_added[rows[new] - len(self.base) - 1] == 0
        return new

    def item(self, row: int) -> Item:
        """The description of `row`."""
        return self.base.item(row) if row <= len(self.base) else self._items[row - len(self.base) - 1]

    @property
    def attributes(self) -> Attributes:
        """Those of the base's rows."""
        return self.base.attributes

    def attributes_of(self, row: int) -> dict[str, AttributeValue]:
        """The attributes of `row`, those that it has."""
        added = row - len(self.base)
        return self.base.attributes_of(row) if added <= 0 else self.added_attributes.of(added - 1)

    def unknown_categories(self, names: Iterable[str]) -> list[str]:
        """Those that neither the base has nor an added item that may be answered."""
        unknown = self.base.unknown_categories(names)
        return [name for name in unknown if not self._alive[self.added_rows_of(name)].any()]

    def ordered_categories(self, codes: Rows) -> Rows:
        """The new ones by name: codes follow the order in which items came."""
        new = codes[codes >= len(self.base.category_counts)]
        if len(new) < 2:
            return codes
        by_name = sorted(new.tolist(), key=self.category_names.__getitem__)
        return np.concatenate([codes[: -len(new)], np.array(by_name)])

    @property
    def category_shares(self) -> NDArray[np.float64]:
        """Part of the rows that are alive that has each of `category_names`."""
        names = len(self._code_of)
        counts = np.zeros(names, dtype=np.int64)
        counts[: len(self.base.category_counts)] = self.base.category_counts
        for rows, sign in ((np.arange(len(self.base) + 1, len(self) + 1), 1), (self._dead, -1)):
            counts += sign * np.bincount(self.category_codes(rows)[1], minlength=names)
        return counts / max(len(self) - len(self._dead), 1)

    def rows_of(self, category: str) -> Rows:
        """The rows, ascending, that have this category, dead ones among them."""
        return np.concatenate([self.base.rows_of(category), self.added_rows_of(category)])

    def added_rows_of(self, category: str) -> Rows:
        """The added rows, ascending, that have this category."""
        code = self._code_of.get(category, -1)
        positions = np.flatnonzero(self._codes_added == code)
        rows: Rows = np.searchsorted(self._offsets_added, positions, side="right") + len(self.base)
        return rows

    def category_codes(self, rows: Rows) -> tuple[Rows, Rows]:
        """The categories of `rows` as pairs: a position in `rows`, and one in `category_names`."""
        added = rows > len(self.base)
        if not added.any():
            return self.base.category_codes(rows)
        of_base, of_added = np.flatnonzero(~added), np.flatnonzero(added)
        owners, codes = self.base.category_codes(rows[of_base])
        lines = rows[of_added] - len(self.base) - 1
        starts = self._offsets_added[lines]
        counts = self._offsets_added[lines + 1] - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = np.concatenate([of_base[owners], np.repeat(of_added, counts)])
        codes = np.concatenate([codes, self._codes_added[np.repeat(starts, counts) + within]])
        order = np.argsort(owners, kind="stable")
        return owners[order], codes[order]


class LayeredEligibility(Eligibility):
    """The eligible rows of a layered catalogue; those of its base are kept there."""

    def __init__(self, base: Eligibility, catalogue: LayeredCatalogue) -> None:
        super().__init__(catalogue)
        self._base = base
        self._layered = catalogue

    def kept_count(self, categories: frozenset[str] | None, where: Filter | None = None) -> int | None:
        """Those of the base where none were asked for since the last change, which takes no pass, either."""
        found = super().kept_count(categories, where)
        return self._base.kept_count(categories, where) if found is None else found

    def _of(self, asked: Asked) -> EligibleRows:
        mask = self._none()
        first = self._base.of(*asked).mask[:-1]
        mask[: len(first)] = first
        if asked.categories is None:
            mask[len(first) : -1] = True
        for name in asked.categories or ():
            mask[self._layered.added_rows_of(name)] = True
        if asked.where is not None:
            mask[len(first) : -1] &= matching(asked.where, self._layered.added_attributes)
        mask &= self._layered.alive
        return EligibleRows(mask, int(np.count_nonzero(mask)), self._everything.count)


class Overlay:
    """The rows added to a catalogue so far. One writer; its views may be read meanwhile."""

    def __init__(self, base: Catalogue, dim: int) -> None:
        self._base = base
        self._items: list[Item] = []
        self._row_of: dict[str, int] = {}
        self._alive = Growing(np.empty(0, dtype=np.bool_))
        self._alive.extend(np.append(False, np.ones(len(base), dtype=np.bool_)))
        self._vectors = Growing(np.empty((0, dim), dtype=np.float32))
        self._popularity = Growing(np.empty(0, dtype=np.int64))
        self._code_of = {name: code for code, name in enumerate(base.category_names)}
        self._codes = Growing(np.empty(0, dtype=np.int64))
        self._offsets = Growing(np.zeros(1, dtype=np.int64))
        self._attributes = AddedAttributes(base.attributes.schema)
        self._replaced = Growing(np.empty(0, dtype=np.int64))
        self._keys = Growing(np.empty(0, dtype=np.int64))
        self._firsts = Growing(np.empty(0, dtype=np.int64))
        self._first_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def replaced(self) -> int:
        """Added rows that a later row of their item replaced: the room that a new overlay would save."""
        return len(self._items) - len(self._row_of)

    @property
    def vectors(self) -> Vectors:
        """The vectors (rows, dim) that were added; they stay as they are while more come."""
        return self._vectors.filled

    def put(
        self,
        item: Item,
        vector: Vectors,
        attributes: Mapping[str, AttributeValue] = NO_ATTRIBUTES,
        *,
        alive: bool = True,
    ) -> None:
        """Add a row for `item`, with a unit `vector` (dim,); the row that it had is dead from now on."""
        self.remove(item.item_id)
        replaced = self._base.row(item.item_id)
        popularity = 0 if replaced is None else int(self._base.popularity[replaced - 1])
        names = dict.fromkeys(item.categories)
        codes = [self._code_of.setdefault(name, len(self._code_of)) for name in names]
        self._items.append(item)
        self._row_of[item.item_id] = len(self._base) + len(self._items)
        self._alive.extend(np.array([alive]))
        self._vectors.extend(vector[None])
        self._popularity.extend(np.array([popularity]))
        self._codes.extend(np.array(codes, dtype=np.int64))
        self._offsets.extend(self._offsets.filled[-1:] + len(codes))
        self._attributes.put(attributes)
        self._replaced.extend(np.array([replaced or 0]))
        self._keys.extend(np.array([key_of(item.item_id)]))
        digest = blake2b(vector.tobytes(), digest_size=16).digest()
        self._firsts.extend(np.array([self._first_of.setdefault(digest, len(self._items) - 1)]))

    def remove(self, item_id: str) -> None:
        """Let the row of an item be dead; an unknown one has none."""
        self.turn(item_id, alive=False)

    def put_back(self, item_id: str, *, alive: bool) -> None:
        """Let an item have the row of the catalogue again, which must have one; an added one is dead."""
        self.remove(item_id)
        self._row_of.pop(item_id, None)
        self.turn(item_id, alive=alive)

    def turn(self, item_id: str, *, alive: bool) -> None:
        """Let the row of an item be alive or dead, its vector and description as they are."""
        row = self._row_of.get(item_id, self._base.row(item_id))
        if row is not None:
            self._alive.filled[row] = alive

    def view(self) -> tuple[LayeredCatalogue, Vectors]:
        """The catalogue as it is now, and the vectors (rows, dim) that were added to it."""
        catalogue = LayeredCatalogue(
            self._base,
            self._items,
            dict(self._row_of),
            np.append(self._alive.filled, False),
            dict(self._code_of),
            self._offsets.filled,
            self._codes.filled,
            self._popularity.filled,
            self._attributes.view(),
            self._replaced.filled,
            Ties(len(self._base), self._keys.filled, self._firsts.filled),
        )
        return catalogue, self.vectors
