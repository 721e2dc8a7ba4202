"""Added items that are equally near or equally popular: one order for them, in whatever order they came.

Rows follow the order in which items came, which is another one in each process. And a product of matrices
rounds by the place of a row, so that items of one vector would have cosines that differ in the last digit:
they are given the cosine of one of them.
"""

from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from index.vector_index import Rows, Vectors

_BEYOND = 1 << 62
"""Greater than any row: added items come after those of the bundle."""


def key_of(item_id: str) -> int:
    """The place of an added item among equal ones: that of a digest of its id, which favours none."""
    return _BEYOND | int.from_bytes(blake2b(item_id.encode(), digest_size=8).digest()) >> 2


def best_by_keys(values: NDArray[np.floating], k: int, keys: Rows) -> Rows:
    """The columns of the `k` greatest of each line (lines, k), best first, equal ones by key.

    `keys` (columns,) or (lines, columns); `k`: at most the number of columns.
    """
    width = values.shape[1]
    if not k:
        return np.empty((len(values), 0), dtype=np.int64)
    margin = np.partition(values, width - k, axis=1)[:, width - k]
    reached = values >= margin[:, None]
    clear = np.count_nonzero(reached, axis=1) == k
    best = np.empty((len(values), k), dtype=np.int64)
    best[clear] = np.nonzero(reached[clear])[1].reshape(-1, k)
    keys = np.broadcast_to(keys, values.shape)
    for line in np.flatnonzero(~clear):
        own, least = values[line], margin[line]
        above, equal = np.flatnonzero(own > least), np.flatnonzero(own == least)
        room = k - len(above)
        best[line] = np.append(above, equal[np.argpartition(keys[line, equal], room - 1)[:room]])
    found = np.take_along_axis(values, best, axis=1)
    order = np.lexsort((np.take_along_axis(keys, best, axis=1), -found), axis=-1)
    ordered: Rows = np.take_along_axis(best, order, axis=1)
    return ordered


class Ties:
    """The order of a catalogue's rows where they are equal, and those of the rows added that have one vector.

    `keys` (added,): as `key_of`; `firsts` (added,): for each the first added line of the same vector.
    """

    def __init__(self, base_rows: int, keys: NDArray[np.int64], firsts: Rows) -> None:
        self.base_rows = base_rows
        self._keys = keys
        self._firsts = firsts
        self._later = np.flatnonzero(firsts != np.arange(len(firsts)))
        self._is_twin = np.zeros(len(firsts), dtype=np.bool_)
        self._is_twin[self._later] = self._is_twin[firsts[self._later]] = True

    @property
    def twins(self) -> "Ties | None":
        """Itself where added rows have one vector: only then cosines are equal."""
        return self if len(self._later) else None

    @cached_property
    def all_keys(self) -> NDArray[np.int64]:
        """The keys of all rows."""
        return np.concatenate([np.arange(1, self.base_rows + 1), self._keys])

    def keys(self, rows: Rows) -> NDArray[np.int64]:
        """By which equal `rows` (of any shape) are ordered, ascending."""
        keys: NDArray[np.int64] = rows.astype(np.int64)
        added = rows > self.base_rows
        keys[added] = self._keys[rows[added] - self.base_rows - 1]
        return keys

    def ordered(self, rows: Rows) -> Rows:
        """`rows` in the order of equal ones."""
        ordered: Rows = rows[np.argsort(self.keys(rows))]
        return ordered

    def are_twins(self, rows: Rows) -> NDArray[np.bool_]:
        """True for each of `rows` (n,) that was added and whose vector another one has."""
        found = rows > self.base_rows
        found[found] = self._is_twin[rows[found] - self.base_rows - 1]
        return found

    def groups(self, start: int) -> tuple[Rows, Rows, Rows]:
        """The added lines from `start` on that are twins, one of each vector, and the vector of each of them.

        Lines count from `start`, ascending.
        """
        lines = np.flatnonzero(self._is_twin[start:])
        _, one, group = np.unique(self._firsts[start:][lines], return_index=True, return_inverse=True)
        return lines, lines[one], group

    def level_added(self, cosines: Vectors) -> None:
        """Let equal vectors have equal cosines (queries, added), in place."""
        cosines[:, self._later] = cosines[:, self._firsts[self._later]]

    def level(self, cosines: Vectors, rows: Rows) -> None:
        """The same of the cosines (queries, rows) with some rows."""
        columns = np.flatnonzero(self.are_twins(rows))
        if len(columns) < 2:
            return
        lines = rows[columns] - self.base_rows - 1
        _, first, group = np.unique(self._firsts[lines], return_index=True, return_inverse=True)
        cosines[:, columns] = cosines[:, columns[first[group]]]
