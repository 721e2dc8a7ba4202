"""The readable reference: exact search in NumPy, which every other index is tested against."""

import numpy as np

from index.vector_index import Eligible, Hits, Rows, Vectors, checked_hits, checked_unit_vectors
from index.vector_table import ItemVectors

CHUNK = 65_536
"""Items scored at a time: a bound on memory, 256 KiB a query."""


class ExactIndex:
    """Exact search over the items of a table."""

    kind = "exact"

    def __init__(self, table: ItemVectors) -> None:
        self._table = table
        self.dim = table.dim

    def __len__(self) -> int:
        return len(self._table)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each query, best first, equal cosines by ascending row."""
        checked_hits(k)
        queries = checked_unit_vectors(queries, "queries", self.dim)
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        start = 0
        for block in self._table.blocks(CHUNK):
            cosines = queries @ block.T
            if eligible is not None:
                cosines[:, ~eligible.mask[start + 1 : start + 1 + cosines.shape[1]]] = -np.inf
            for line, values in enumerate(cosines):
                positions = best_positions(values, k)
                positions = positions[values[positions] > -np.inf]
                together = np.concatenate([best[line], values[positions]])
                order = np.argsort(-together, kind="stable")[:k]
                rows[line] = np.concatenate([rows[line], start + 1 + positions])[order]
                best[line] = together[order]
            start += len(block)
        return Hits(best, rows)


def best_positions(values: Vectors, k: int) -> Rows:
    """The positions of the `k` greatest of `values`, best first, equal ones by position.

    As a stable sort of everything would, but sorting only what reaches the k-th greatest value.
    """
    positions = np.arange(len(values))
    if k < len(values):
        positions = np.flatnonzero(values >= np.partition(values, -k)[-k])
    order = np.argsort(-values[positions], kind="stable")[:k]
    return positions[order]
