"""Ranks of items that lie where their content or their categories say, for users who watched them next."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.vector_index import Rows
from training.evaluation.metrics import ndcg

K = 50
"""Of NDCG@k: a screen of ten would tell nothing of most items that nobody has learned."""
_BLOCK = 2**24
"""Scores at once: 64 MB."""


class Watches(NamedTuple):
    """Held-out events, and what their users were after by then."""

    rows: Rows
    """(watches,) of the items."""
    interests: NDArray[np.float32]
    """(watches, interests, dim), unit vectors."""


def gains(
    watches: Watches, rows: Rows, moved: Mapping[str, NDArray[np.float64]], vectors: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """NDCG@k of each watch of one of `rows`, by where its item is `moved` to: unit vectors (rows, dim).

    All other items stay where `vectors` (items, dim) has them; an item counts by its best interest.
    """
    line_of = np.full(len(vectors) + 1, -1)
    line_of[rows] = np.arange(len(rows))
    kept = np.flatnonzero(line_of[watches.rows] >= 0)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in moved}
    size = max(1, _BLOCK // (watches.interests.shape[1] * len(vectors)))
    for first in range(0, len(kept), size):
        some = kept[first : first + size]
        interests, items = watches.interests[some], watches.rows[some]
        scores = (interests @ vectors.T).max(axis=1)
        scores[np.arange(len(some)), items - 1] = -np.inf
        for name, there in moved.items():
            own = np.einsum("wid,wd->wi", interests, there[line_of[items]]).max(axis=1)
            rank = 1 + (scores > own[:, None]).sum(axis=1)
            found[name].append(ndcg(rank, K))
    return {name: np.concatenate([*parts, np.empty(0)]) for name, parts in found.items()}
