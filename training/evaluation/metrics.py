"""Ranking accuracy: a target's rank among all items, never among sampled ones, and what follows from it."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
"""`(rows, items)`; column i belongs to item row i + 1; -inf: removed from the ranking."""
Ranks = npt.NDArray[np.float64]
"""`(rows,)` 1 = first; ties count half, so that a rank may end in .5; inf: not in the ranking."""


def ranks(scores: Scores, targets: npt.NDArray[np.int32]) -> Ranks:
    """Rank of each row's target item among all items: 1 + those above it + half of those level with it.

    A target that was removed from the ranking has the rank inf. Raises ValueError if a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must be numbers, some are NaN")
    of_target = scores[np.arange(len(scores)), targets - 1][:, None]
    above = (scores > of_target).sum(axis=1)
    level = (scores == of_target).sum(axis=1) - 1
    return np.where(np.isneginf(of_target[:, 0]), np.inf, 1 + above + level / 2)


def hit_rate(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """HR@k of each row `(rows,)`: 1 where the target is among the first k. Its mean is recall@k as well."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """NDCG@k of each row `(rows,)` with its one target: 1 / log2(1 + rank) within the first k, else 0."""
    return np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)


def top_items(scores: Scores, k: int) -> npt.NDArray[np.int64]:
    """Item rows of the first k of each ranking `(rows, k)`, level ones by row; 0 where fewer are left."""
    if scores.shape[1] < k:
        missing = np.full((len(scores), k - scores.shape[1]), -np.inf, np.float32)
        scores = np.concatenate([scores, missing], axis=1)
    kth_best = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    rows, columns = np.nonzero(scores >= kth_best)
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    first = np.searchsorted(rows, np.arange(len(scores)))
    chosen = order[first[:, None] + np.arange(k)]
    return np.where(np.isneginf(values[chosen]), 0, columns[chosen] + 1)
