"""The readable reference: exact search in NumPy, which every other index is tested against."""

import numpy as np
from numpy.typing import NDArray

from index.ties import Ties, best_by_keys
from index.vector_index import Eligible, Hits, Rows, Vectors, checked_hits, checked_unit_vectors
from index.vector_table import ItemVectors

CHUNK = 65_536
"""Items scored at a time: a bound on memory, 256 KiB a query."""


class ExactIndex:
    """Exact search over the items of a table."""

    kind = "exact"

    def __init__(self, table: ItemVectors, twins: Ties | None = None) -> None:
        self._table = table
        self._twins = twins
        self.dim = table.dim

    def __len__(self) -> int:
        return len(self._table)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each query, best first, equal cosines by row, or as `twins` are ordered."""
        checked_hits(k)
        queries = checked_unit_vectors(queries, "queries", self.dim)
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        start = 0
        for block in self._table.blocks(CHUNK):
            cosines = queries @ block.T
            own = np.arange(start + 1, start + 1 + len(block))
            if self._twins is not None:
                self._twins.level(cosines, own)
            if eligible is not None:
                cosines[:, ~eligible.mask[start + 1 : start + 1 + cosines.shape[1]]] = -np.inf
            for line, values in enumerate(cosines):
                positions = best_positions(values, k, self._keys(own))
                positions = positions[values[positions] > -np.inf]
                together = np.concatenate([best[line], values[positions]])
                both = np.concatenate([rows[line], own[positions]])
                order = best_first(together, self._keys(both))[:k]
                rows[line] = both[order]
                best[line] = together[order]
            start += len(block)
        return Hits(best, rows)

    def _keys(self, rows: Rows) -> Rows | None:
        return None if self._twins is None else self._twins.keys(rows)


def best_first(values: NDArray[np.floating], keys: Rows | None = None) -> Rows:
    """The positions of `values`, the greatest first, equal ones by key, without keys by position."""
    return np.argsort(-values, kind="stable") if keys is None else np.lexsort((keys, -values))


def best_positions(values: Vectors, k: int, keys: Rows | None = None) -> Rows:
    """The positions of the `k` greatest of `values`, best first, equal ones as `best_first` has them.

    As a stable sort of everything would, but sorting only what reaches the k-th greatest value.
    """
    if keys is not None:
        by_key: Rows = best_by_keys(values[None], min(k, len(values)), keys)[0]
        return by_key
    positions = np.arange(len(values))
    if k < len(values):
        positions = np.flatnonzero(values >= np.partition(values, -k)[-k])
    return positions[best_first(values[positions])[:k]]
