"""The protocol of an index: unit vectors in, the rows with the greatest cosine out."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import VectorError

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

UNIT_TOLERANCE = 5e-3
"""The greatest distance of a length from 1.

The farthest of 200,000 random unit vectors of 16 (64) dimensions, rounded: float32 4e-8 (2e-8), float16 3e-4
(2e-4), bfloat16 2.7e-3 (1.5e-3).
"""


class Hits(NamedTuple):
    """The hits of each query, best first; a line of fewer than asked for ends in cosine −inf and row −1."""

    cosines: Vectors
    """(queries, k)."""
    rows: Rows
    """(queries, k)."""

    def first(self, count: int) -> "Hits":
        """The best `count` of each query."""
        return Hits(self.cosines[:, :count], self.rows[:, :count])

    def of(self, queries: slice | Rows) -> "Hits":
        """The hits of some of the queries."""
        return Hits(self.cosines[queries], self.rows[queries])


class Eligible(Protocol):
    """Rows that may be found; `index.eligibility.EligibleRows` is what there is."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """By row (items + 2,), False for padding at 0 and for "no hit" at −1."""
        ...

    @property
    def bitmap(self) -> NDArray[np.uint8]:
        """The same without these two, a bit an item, the lowest first."""
        ...

    @property
    def count(self) -> int:
        """Number of eligible rows."""
        ...

    @property
    def share(self) -> float:
        """Part of the catalogue that is eligible, 0 … 1."""
        ...

    def first(self, count: int) -> "Eligible":
        """Those of rows 1 … `count`, as an index of only these rows reads them."""
        ...


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over unit vectors, each known by its row (1 … n; 0 is padding).

    It may be in another process: what candidates are scored with is the local
    `index.vector_table.ItemVectors`. Two implementations: `index.exact.ExactIndex`, the NumPy
    reference, and `index.faiss_index.FaissIndex`; `index.layered.LayeredIndex` adds rows to one of them.
    """

    @property
    def kind(self) -> str:
        """Name of the way it searches: exact, flat, hnsw or ivf."""
        ...

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        ...

    def __len__(self) -> int:
        """Number of vectors in the index."""
        ...

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each of `queries` (q, dim), among `eligible` rows only where given.

        Fewer than `k` may be found; none that is not eligible is.
        """
        ...


def checked_unit_vectors(vectors: Vectors, name: str, dim: int | None = None) -> Vectors:
    """Unit `vectors` (count, dim) as contiguous float32; `VectorError` names a fault."""
    checked = np.ascontiguousarray(vectors, dtype=np.float32)
    if checked.ndim != 2:
        raise VectorError(f"{name} must have the shape (count, dim), not {checked.shape}")
    if dim is not None and checked.shape[1] != dim:
        raise VectorError(f"{name} have {checked.shape[1]} dimensions, the index has {dim}")
    squared = np.einsum("ij,ij->i", checked, checked)
    # Written so that NaN fails it too.
    if not np.all(np.abs(squared - 1.0) <= 2 * UNIT_TOLERANCE):
        line = int(np.argmin(np.abs(squared - 1.0) <= 2 * UNIT_TOLERANCE))
        raise VectorError(
            f"{name} must have length 1, line {line} has {np.sqrt(squared[line]):.4g}: normalise them"
        )
    return checked


def checked_hits(k: int) -> int:
    """`k`; raises `VectorError` when it asks for less than one neighbour."""
    if k < 1:
        raise VectorError(f"k must be at least 1, not {k}")
    return k


def kept(hits: Hits, k: int, eligible: Eligible) -> Hits:
    """The first `k` hits of each line that are eligible."""
    usable = eligible.mask[hits.rows]
    order = np.argsort(~usable, axis=1, kind="stable")[:, :k]
    usable = np.take_along_axis(usable, order, 1)
    return Hits(
        np.where(usable, np.take_along_axis(hits.cosines, order, 1), np.float32(-np.inf)),
        np.where(usable, np.take_along_axis(hits.rows, order, 1), -1),
    )
