"""An index of a catalogue and of the rows that came after it, with those left out that are dead.

The base is mapped and never changed, or a copy that has the first of the rows after it, too
(`index.building.extended`). Those that it lacks are few: they are searched by a matrix product, and only what
is nearer than the last hit of the base enters its line.
"""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index import tuning
from index.eligibility import EligibleRows
from index.ties import Ties
from index.vector_index import (
    Eligible,
    Hits,
    Rows,
    VectorIndex,
    Vectors,
    checked_hits,
    checked_unit_vectors,
    kept,
)
from index.whole import best_columns

SPARE_HITS = 8
"""Hits that are asked for beside the expected number of dead ones among the nearest. Chosen: a line that has
more of them is searched again, so that this number decides nothing but how often.
"""
MAX_PRODUCT_ROWS = 1_024
"""Added rows of one product: their cosines are compared while they are in the processor's cache.

20,000 rows of 64 dimensions and 768 queries, ms of the thread: 12.7 with 1,024, 18 in one.
"""


class LayeredIndex:
    """The rows 1 … n of `base` and, from n + 1 on, those of `added` (rows, dim).

    `alive`: by row, as `index.eligibility.EligibleRows.mask`; dead rows are never found. `twins`: of rows of
    one vector, if any, the order.
    """

    def __init__(
        self, base: VectorIndex, added: Vectors, alive: NDArray[np.bool_], twins: Ties | None = None
    ) -> None:
        self._twins = twins
        self.kind = base.kind
        self.dim = base.dim
        self._base = base
        self._added = added
        self._alive = EligibleRows(alive, int(np.count_nonzero(alive)))
        self._alive_base = self._alive.first(len(base))

    def __len__(self) -> int:
        return len(self._base) + len(self._added)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each query that are alive, among `eligible` rows only where given."""
        checked_hits(k)
        queries = checked_unit_vectors(queries, "queries", self.dim)
        if eligible is None:
            found, mask = self._of_base(queries, k), self._alive.mask
        else:
            found, mask = self._base.search(queries, k, eligible.first(len(self._base))), eligible.mask
        if not len(self._added):
            return found
        return self._joined(
            found, *self._nearer(queries, found.cosines[:, -1:], mask[len(self._base) + 1 : -1]), k
        )

    def _of_base(self, queries: Vectors, k: int) -> Hits:
        """The nearest rows of the base that are alive.

        Cells look only those rows up that are near by their codes. Otherwise to ask for some more and strike
        the dead ones takes less time than to look each row up, which is left for the lines that have too few
        then.
        """
        alive = self._alive_base
        if alive.all_rows:
            return self._base.search(queries, k)
        if self.kind == "ivf":
            return self._base.search(queries, k, alive)
        more = math.ceil(2 * k * (1 - alive.share)) + SPARE_HITS
        if k + more > tuning.MAX_HITS:
            return self._base.search(queries, k, alive)
        found = kept(self._base.search(queries, k + more), k, alive)
        wanted = min(k, alive.count)
        short = np.flatnonzero(found.rows[:, wanted - 1] < 0)
        if wanted and len(short):
            found.cosines[short], found.rows[short] = self._base.search(queries[short], k, alive)
        return found

    def _nearer(
        self, queries: Vectors, least: Vectors, usable: NDArray[np.bool_]
    ) -> tuple[Rows, Rows, Vectors]:
        """Lines, columns and cosines of the `usable` added rows nearer than `least` (queries, 1), by line."""
        found = []
        twins, one_of_each, group = self._groups
        of_each = queries @ self._added[one_of_each].T
        for start in range(0, len(self._added), MAX_PRODUCT_ROWS):
            cosines = queries @ self._added[start : start + MAX_PRODUCT_ROWS].T
            first, last = np.searchsorted(twins, (start, start + MAX_PRODUCT_ROWS))
            if first < last:
                cosines[:, twins[first:last] - start] = of_each[:, group[first:last]]
            cells = np.flatnonzero(cosines > least)
            lines, columns = np.divmod(cells, cosines.shape[1])
            found.append((lines, columns + start, cosines.ravel()[cells]))
        lines, columns, nearer = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(lines, kind="stable")
        order = order[usable[columns[order]]]
        return lines[order], columns[order], nearer[order]

    @cached_property
    def _groups(self) -> tuple[Rows, Rows, Rows]:
        """Those of the added rows that have one vector, as `Ties.groups`."""
        if self._twins is None:
            return (np.empty(0, dtype=np.int64),) * 3
        return self._twins.groups(len(self._base) - self._twins.base_rows)

    def _joined(self, found: Hits, lines: Rows, columns: Rows, cosines: Vectors, k: int) -> Hits:
        """The hits of the base with those of the added rows that are nearer; of equal ones the base's."""
        counts = np.bincount(lines, minlength=len(found.rows))
        own = np.flatnonzero(counts)
        if not len(own):
            return found
        ranks = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = len(own), int(counts.max())
        positions = (np.cumsum(counts > 0) - 1)[lines], ranks
        nearer = np.full(shape, -np.inf, dtype=np.float32)
        nearer[positions] = cosines
        rows = np.full(shape, -1, dtype=np.int64)
        rows[positions] = columns + len(self._base) + 1
        together = np.concatenate([found.cosines[own], nearer], axis=1)
        both = np.concatenate([found.rows[own], rows], axis=1)
        order = best_columns(together, k, None if self._twins is None else self._twins.keys(both))
        found.cosines[own] = np.take_along_axis(together, order, axis=1)
        found.rows[own] = np.take_along_axis(both, order, axis=1)
        return found
