"""The vectors of the catalogue's items, in this process: what candidates are scored with."""

from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from tokenize import TokenError
from typing import Protocol

import numpy as np

from files.atomic import replacing
from index.errors import IndexFileError, VectorError
from index.ties import Ties
from index.vector_index import Rows, Vectors


class ItemVectors(Protocol):
    """Unit vectors by row: `VectorTable`, or one with more rows after it (`LayeredTable`)."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors (len(rows), dim) of these rows; `VectorError` for one that is not there."""
        ...

    def cosines(self, queries: Vectors) -> Vectors:
        """The cosines (q, rows) of unit `queries` (q, dim) with all rows."""
        ...

    def blocks(self, size: int) -> Iterator[Vectors]:
        """All vectors in the order of their rows, at most `size` at a time."""
        ...


class VectorTable:
    """Unit vectors (items, dim), line i those of row i + 1.

    Always local, wherever the index is that finds neighbours, which looks at this very array where it keeps
    whole vectors; the array may be mapped from a file, and is never written.
    """

    def __init__(self, vectors: Vectors) -> None:
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

    def cosines(self, queries: Vectors) -> Vectors:
        """The cosines (q, items) of unit `queries` (q, dim) with all rows."""
        products: Vectors = queries @ self.all.T
        return products

    def blocks(self, size: int) -> Iterator[Vectors]:
        """All vectors in the order of their rows, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.all[start : start + size]

    def write(self, path: Path) -> None:
        """Write the vectors as NumPy does, atomically."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, self.all.astype("<f4", copy=False), version=(1, 0))

    @classmethod
    def parse(cls, content: mmap, name: str) -> "VectorTable":
        """The table in the bytes of a file that `write` wrote, looked at where they are.

        `name`: of the file, whose checksum the caller has compared. Raises `IndexFileError`.
        """
        try:
            np.lib.format.read_magic(content)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(content)
            vectors = np.frombuffer(content, dtype, offset=content.tell()).reshape(shape)
        except (ValueError, SyntaxError, TokenError, TypeError) as error:  # of a header that is Python
            raise IndexFileError(f"{name} is no NumPy file: publish the bundle again") from error
        if len(shape) != 2 or by_columns or dtype != np.dtype("<f4"):
            raise IndexFileError(f"{name} must hold float32 (items, dim), by rows: publish the bundle again")
        return cls(vectors)


class LayeredTable:
    """The vectors of a `base`, and after them `added` (rows, dim); `twins`: of the added rows, if any."""

    def __init__(self, base: ItemVectors, added: Vectors, twins: Ties | None = None) -> None:
        self.base = base
        self.added = added
        self._twins = twins

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.base.dim

    def __len__(self) -> int:
        return len(self.base) + len(self.added)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors (len(rows), dim) of these rows; `VectorError` for one that is not there."""
        if rows.max(initial=0) <= len(self.base):
            return self.base.vectors(rows)
        if rows.max() > len(self):
            raise VectorError(f"rows must lie in 1 … {len(self)}")
        found = np.empty((len(rows), self.dim), dtype=np.float32)
        added = rows > len(self.base)
        found[added] = self.added[rows[added] - len(self.base) - 1]
        found[~added] = self.base.vectors(rows[~added])
        return found

    def cosines(self, queries: Vectors) -> Vectors:
        """The cosines (q, rows) of unit `queries` (q, dim) with all rows."""
        products = np.empty((len(queries), len(self)), dtype=np.float32)
        products[:, : len(self.base)] = self.base.cosines(queries)
        np.matmul(queries, self.added.T, out=products[:, len(self.base) :])
        if self._twins is not None:
            self._twins.level_added(products[:, len(self.base) :])
        return products

    def blocks(self, size: int) -> Iterator[Vectors]:
        """All vectors in the order of their rows, at most `size` at a time."""
        yield from self.base.blocks(size)
        for start in range(0, len(self.added), size):
            yield self.added[start : start + size]
