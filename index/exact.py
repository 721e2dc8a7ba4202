"""The readable reference: exact search in NumPy, which every other index is tested against."""

import numpy as np

from index.errors import VectorError
from index.vector_index import Rows, Vectors, checked_depth, checked_unit_vectors


class ExactIndex:
    """Exact search over ``vectors`` (count, dim), line i known as ``rows[i]`` (as row i + 1 by default)."""

    kind = "exact"

    def __init__(self, vectors: Vectors, rows: Rows | None = None) -> None:
        self._vectors = checked_unit_vectors(vectors, "vectors")
        self._rows = np.arange(1, len(vectors) + 1) if rows is None else np.asarray(rows, dtype=np.int64)
        if self._rows.shape != (len(self._vectors),):
            raise VectorError(f"{len(self._vectors)} vectors need as many rows, not {self._rows.shape}")
        if np.any(np.diff(self._rows) <= 0) or (len(self._rows) and self._rows[0] < 1):
            raise VectorError("rows must be positive and ascending")
        self.dim = self._vectors.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return cosines (q, k) and rows (q, k), best first, equal cosines by ascending row."""
        checked_depth(k)
        cosines = checked_unit_vectors(queries, "queries", self.dim) @ self._vectors.T
        best = np.full((len(cosines), k), -np.inf, dtype=np.float32)
        rows = np.full((len(cosines), k), -1, dtype=np.int64)
        for line, values in enumerate(cosines):
            positions = best_positions(values, k)
            best[line, : len(positions)] = values[positions]
            rows[line, : len(positions)] = self._rows[positions]
        return best, rows

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors (len(rows), dim) of these rows."""
        positions = np.searchsorted(self._rows, rows)
        if np.any(self._rows[np.minimum(positions, len(self) - 1)] != rows):
            raise VectorError("some rows are not in the index")
        return self._vectors[positions]


def best_positions(values: Vectors, k: int) -> Rows:
    """Return the positions of the ``k`` greatest of ``values``, best first, equal ones by position.

    As a stable sort of everything would, but sorting only what reaches the k-th greatest value.
    """
    positions = np.arange(len(values))
    if k < len(values):
        positions = np.flatnonzero(values >= np.partition(values, -k)[-k])
    order = np.argsort(-values[positions], kind="stable")[:k]
    return positions[order]
