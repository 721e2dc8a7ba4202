"""The vectors of the catalogue's items, in this process: what candidates are scored with."""

import numpy as np

from index.errors import VectorError
from index.vector_index import Rows, Vectors


class VectorTable:
    """Unit vectors (items, dim), line i those of row i + 1.

    Always local, wherever the index is that finds neighbours; the array may be a view into the index or
    mapped from a file, and is never written.
    """

    def __init__(self, vectors: Vectors, owner: object = None) -> None:
        self._owner = owner  # keeps the memory alive that `vectors` is a view of
        self.all = vectors
        """(items, dim)."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.all.shape[1])

    def __len__(self) -> int:
        return len(self.all)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors (len(rows), dim) of these rows; `VectorError` for one that is not there."""
        if len(rows) and not 1 <= rows.min() <= rows.max() <= len(self):
            raise VectorError(f"rows must lie in 1 … {len(self)}")
        return self.all.take(np.asarray(rows) - 1, axis=0)
