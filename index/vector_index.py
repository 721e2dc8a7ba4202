"""What an index is: unit vectors in, the rows with the greatest cosine out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import VectorError

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

# float32 normalisation leaves about 1e-7; half-precision weights about 1e-3.
UNIT_TOLERANCE = 5e-3


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over unit vectors, each known by its row (1 … n; 0 is padding).

    Two implementations: :class:`index.exact.ExactIndex`, the NumPy reference, and
    :class:`index.faiss_index.FaissIndex`.
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
        """Return how many vectors the index holds."""
        ...

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return cosines (q, k) and rows (q, k), best first, for ``queries`` (q, dim).

        Where fewer than ``k`` are found a line ends in cosine −inf and row −1.
        """
        ...

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors (len(rows), dim) of these rows."""
        ...


def checked_unit_vectors(vectors: Vectors, name: str, dim: int | None = None) -> Vectors:
    """Return unit ``vectors`` (count, dim) as contiguous float32; :class:`VectorError` names a fault."""
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


def checked_depth(k: int) -> int:
    """Return ``k``, or raise :class:`VectorError` when it asks for less than one neighbour."""
    if k < 1:
        raise VectorError(f"k must be at least 1, not {k}")
    return k
