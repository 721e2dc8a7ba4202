"""One re-ranker for recommenders of any kind: diversity of categories against the rank that each gives.

The scores of different recommenders have different scales, and δ weighs a score against an overlap of
categories. So a score counts only by its rank: relevance is 1 / log2(1 + rank), what NDCG says that a hit
at this rank is worth. No recommender gains from the scale or the shape of its scores.
"""

import numpy as np
import numpy.typing as npt

DELTAS = tuple(tenth / 10 for tenth in range(11))
"""Values of δ; between two of them a curve is close to a straight line."""
POOL = 100
"""Candidates that are re-ranked, for every recommender; as many as an interest brings for 50 answers."""


def category_overlaps(memberships: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Jaccard overlap of the categories of each two of a row's items `(rows, pool, pool)`, 0 … 1.

    `memberships`: which categories they have, 0 or 1, `(rows, pool, categories)`.
    """
    sizes = memberships.sum(axis=2)
    shared = memberships @ memberships.transpose(0, 2, 1)
    overlaps: npt.NDArray[np.float32] = shared / np.maximum(sizes[:, :, None] + sizes[:, None, :] - shared, 1)
    return overlaps


def rank_values(ranks: int) -> npt.NDArray[np.float64]:
    """Relevance of the item at each rank, best first: 1 / log2(1 + rank) `(ranks,)`."""
    return 1 / np.log2(np.arange(ranks) + 2)


def diversified(
    pools: npt.NDArray[np.int64], overlaps: npt.NDArray[np.float32], k: int, diversity: float
) -> npt.NDArray[np.int64]:
    """The k items that `index.merging.diversify` chooses from each row's pool by relevance `(rows, k)`.

    `pools`: item rows, best first, 0: no item, `(rows, pool)`; `overlaps` `(rows, pool, pool)`;
    `diversity`: δ in 0 … 1. Where a pool has less than k items, 0 follows them.
    """
    every = np.arange(len(pools))
    relevance = np.where(pools > 0, (1 - diversity) * rank_values(pools.shape[1]), -np.inf)
    overlap = np.zeros(pools.shape)
    lists = np.zeros((len(pools), k), dtype=np.int64)
    for count in range(min(k, pools.shape[1])):
        position = np.argmax(relevance - (diversity / max(count, 1)) * overlap, axis=1)
        lists[:, count] = np.where(np.isneginf(relevance[every, position]), 0, pools[every, position])
        relevance[every, position] = -np.inf
        overlap += overlaps[every, position]
    return lists


def crossing(recalls: npt.NDArray[np.float64], reference: float, tolerance: float) -> float:
    """The position on a curve where the reference is met, between 0 and its last point; NaN for nowhere.

    A curve that stays below meets it at its best point where that is within `tolerance`, a part of it.
    """
    reached = np.flatnonzero(recalls >= reference)
    if not len(reached):
        near = recalls.max() >= (1 - tolerance) * reference
        return float(recalls.argmax()) if near else np.nan
    last = int(reached[-1])
    if last == len(recalls) - 1:
        return float(last)
    return last + float((recalls[last] - reference) / (recalls[last] - recalls[last + 1]))
