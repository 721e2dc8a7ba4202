"""The start of item vectors: what the log says of items that are met together, before any gradient.

A truncated SVD of the positive pointwise mutual information of items that lie close in a sequence: what
word2vec factorises implicitly (Levy and Goldberg, NIPS 2014). With a handful of events per item, as in most
catalogues' tails, gradient descent from random vectors overfits before it finds this structure.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from training.data.splits import Sequences


class Together(NamedTuple):
    """The rule by which items are met together."""

    window: int
    """Events apart at which two items still count."""
    decay: float
    """Weight of a pair relative to a pair one event nearer."""
    smoothing: float
    """Exponent of an item's count as a context (Levy, Goldberg and Dagan, TACL 2015)."""


TOGETHER = Together(window=8, decay=0.8, smoothing=0.75)
"""The numbers for a sparse log; dense ones want a shorter window, and little hangs on the other two.

NDCG@10 on validation of the start alone, before any training, on MovieLens-100K, KuaiRand-Pure and Amazon
Beauty (`python -m benchmarks.quality.constants cooccurrence`): .092, .034, .032. A window of 2: .093, .037,
.025; of 4: .097, .036, .031; of 16: .095, .031, .031. A decay of .5: .089, .034, .031; of 1: .090, .034,
.032. A smoothing of .5: .090, .036, .031; of 1: .090, .038, .031.
"""
_EVENTS_AT_ONCE = 2**20
"""A bound on memory: the pairs of one distance in a stretch of the log, some 30 MB."""
_NEGLIGIBLE = 1e-6
"""Part of the greatest below which a value is rounding, which would become a direction of its own."""


def item_directions(
    train: Sequences, items: int, dim: int, together: Together = TOGETHER
) -> npt.NDArray[np.float32]:
    """A unit vector for each item `(items, dim)`, zero where the log says nothing of it.

    That is: items met with none, and those without a part in the `dim` strongest directions. Line i is item
    row i + 1. Directions beyond the rank of the matrix are zero in every vector.
    """
    information = _positive_mutual_information(_met_together(train, items, together), together.smoothing)
    directions = np.zeros((items, dim), np.float32)
    rank = min(dim, items - 1)
    if not information.nnz or rank < 1:
        return directions
    gram = LinearOperator((items, items), lambda vector: information.T @ (information @ vector))
    _, right = eigsh(gram, rank, v0=np.ones(items), rng=np.random.default_rng(0))  # svds takes no rng so far
    scaled = information @ right  # left singular vectors times singular values
    strengths = np.linalg.norm(scaled, axis=0)
    kept = strengths > _NEGLIGIBLE * strengths.max()
    vectors = scaled[:, kept] / np.sqrt(strengths[kept])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = norms > _NEGLIGIBLE * norms.max()
    directions[:, : vectors.shape[1]] = np.divide(vectors, norms, out=np.zeros_like(vectors), where=known)
    return directions


def followed_by(train: Sequences, items: int, window: int, decay: float) -> sparse.csr_array:
    """Weights of pairs `(items, items)` of an item and one after it in a sequence, at most `window` apart.

    A pair one event farther apart counts `decay` times as much. Added up in stretches of the log.
    """
    users = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    total = sparse.csr_array((items, items), dtype=np.float64)
    for first in range(0, len(train.items), _EVENTS_AT_ONCE):
        for apart in range(1, window + 1):
            ends = slice(first + apart, first + _EVENTS_AT_ONCE + apart)
            later, user = train.items[ends] - 1, users[ends]
            earlier = train.items[first : first + len(later)] - 1
            same = users[first : first + len(later)] == user
            weights = np.full(np.count_nonzero(same), decay ** (apart - 1))
            total = total + sparse.csr_array((weights, (earlier[same], later[same])), shape=total.shape)
    return total


def _met_together(train: Sequences, items: int, together: Together) -> sparse.csr_array:
    """Symmetric weights of item pairs `(items, items)`."""
    total = followed_by(train, items, together.window, together.decay)
    return total + total.T


def _positive_mutual_information(counts: sparse.csr_array, smoothing: float) -> sparse.csr_array:
    """log(p(a, b) / p(a) p(b)) where it is positive, else 0; p(b) from smoothed counts."""
    pairs = counts.tocoo()
    of_item = counts.sum(axis=1)
    of_context = of_item**smoothing
    expected = of_item[pairs.row] * of_context[pairs.col] / of_context.sum()
    mutual = np.maximum(np.log(pairs.data / expected), 0)
    information = sparse.csr_array((mutual, (pairs.row, pairs.col)), shape=counts.shape)
    information.eliminate_zeros()
    return information
