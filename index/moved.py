"""Rows of a bundle's items where they were changed since: which they had, and which they have now."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.vector_index import Rows


class MovedRows:
    """The rows of `base` items, of which each of the `replaced` (added rows,) has one more; 0: of none.

    `alive` (added rows,): those that may be answered; an item has one such row at most.
    """

    def __init__(self, base: int, replaced: Rows, alive: NDArray[np.bool_]) -> None:
        self._base = base
        self._replaced = replaced
        self._alive = alive

    def learned(self, rows: Rows) -> Rows:
        """The base's rows of the items in `rows`, in their order; of items that it has not, none."""
        added = rows > self._base
        found = rows.copy()
        found[added] = self._replaced[rows[added] - self._base - 1]
        known: Rows = found[found > 0]
        return known

    def now(self, rows: Rows) -> Rows:
        """The rows that the items in these `rows` of the base are answered by; their own where by none."""
        moved: Rows = self._moved[rows]
        return moved

    @cached_property
    def _moved(self) -> Rows:
        moved = np.arange(self._base + 1)
        alive = np.flatnonzero(self._alive & (self._replaced > 0))
        moved[self._replaced[alive]] = self._base + 1 + alive
        return moved
