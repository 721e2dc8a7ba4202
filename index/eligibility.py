"""The items that may be answered with: a mask for each set of categories and filter, kept for the next
request.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.attributes import Attributes
from index.catalogue import Catalogue
from index.filters import Filter, matching
from index.vector_index import Rows

MAX_KEPT = 16
"""Masks kept, those asked for most recently: callers choose what is asked for, so that their number needs a
bound.

Of a million items each takes 1 MB, and up to 8 MB more for its rows.
"""


@dataclass(frozen=True, eq=False)
class EligibleRows:
    """Rows that may be answered.

    `mask` (items + 2,): by row; the first entry stands for padding and the last for −1, an index's "no
    hit", and both are False, so that hits may be looked up as they come. `alive`: rows that may be answered
    where nothing is asked for; None: all.
    """

    mask: NDArray[np.bool_]
    count: int
    alive: int | None = None

    @property
    def everything(self) -> bool:
        """True where no item that is alive is left out."""
        return self.count == (len(self.mask) - 2 if self.alive is None else self.alive)

    @property
    def all_rows(self) -> bool:
        """True where no row is left out, dead ones neither."""
        return self.count == len(self.mask) - 2

    @property
    def share(self) -> float:
        """Part of the catalogue that is eligible, 0 … 1."""
        return self.count / max(1, len(self.mask) - 2)

    @cached_property
    def rows(self) -> Rows:
        """The eligible rows, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """One bit an item, row 1's first: what FAISS reads, whose positions count from 0."""
        return np.packbits(self.mask[1:-1], bitorder="little")

    def first(self, count: int) -> "EligibleRows":
        """Those of rows 1 … `count`, as an index of only these rows reads them."""
        if count not in self._first:
            mask = np.append(self.mask[: count + 1], False)
            self._first[count] = EligibleRows(mask, int(np.count_nonzero(mask)))
        return self._first[count]

    def after(self, count: int) -> Rows:
        """The eligible rows that come after the first `count` of the catalogue, ascending."""
        return np.flatnonzero(self.mask[count + 1 :]) + count + 1

    _first: dict[int, "EligibleRows"] = field(default_factory=dict, init=False, repr=False)
    """Kept: many searches ask for the same."""


class Asked(NamedTuple):
    """Any of these categories, None for all; and a filter, None for none."""

    categories: frozenset[str] | None
    where: Filter | None


class Eligibility:
    """The eligible rows of a catalogue, by the categories and the filter of a request.

    The first time that they are asked for they cost a pass over the rows that have one of the categories, and
    one over a column for each condition; the newest `MAX_KEPT` are kept. Safe to share between threads.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        alive = catalogue.alive
        count = int(np.count_nonzero(alive))
        self._everything = EligibleRows(alive, count, count)
        self._kept: OrderedDict[Asked, EligibleRows] = OrderedDict()
        self._turn = Lock()

    @property
    def attributes(self) -> Attributes:
        """The columns that a filter takes passes over."""
        return self._catalogue.attributes

    def of(self, categories: frozenset[str] | None, where: Filter | None = None) -> EligibleRows:
        """The rows that have any of `categories`, all for None, and that the filter `where` lets through.

        Unknown categories have none. Raises FilterError for a filter that the attributes do not allow.
        """
        if categories is None and where is None:
            return self._everything
        asked = Asked(categories, where)
        found = self._found(asked)
        if found is not None:
            return found
        made = self._of(asked)
        with self._turn:
            self._kept[asked] = made
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return made

    def kept_count(self, categories: frozenset[str] | None, where: Filter | None = None) -> int | None:
        """About the number of these, where they cost no pass, since they were asked for lately; else None."""
        if categories is None and where is None:
            return self._everything.count
        found = self._found(Asked(categories, where))
        return None if found is None else found.count

    def _found(self, asked: Asked) -> EligibleRows | None:
        with self._turn:
            if asked in self._kept:
                self._kept.move_to_end(asked)
            return self._kept.get(asked)

    def _of(self, asked: Asked) -> EligibleRows:
        mask = self._none()
        if asked.categories is None:
            mask[1:-1] = True
        for name in asked.categories or ():
            mask[self._catalogue.rows_of(name)] = True
        if asked.where is not None:
            mask[1:-1] &= matching(asked.where, self._catalogue.attributes)
        return EligibleRows(mask, int(np.count_nonzero(mask)), self._everything.count)

    def _none(self) -> NDArray[np.bool_]:
        return np.zeros(len(self._catalogue) + 2, dtype=np.bool_)
