"""From the cosines of many interests with many items to one list: score, choose, diversify.

Arrays only; the plain-loop reference that these are tested against is `tests/index/reference.py`.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.vector_index import Rows, Vectors

Merge = Literal["mean", "max"]

DEFAULT_TEMPERATURE = 0.05
"""τ of the softmax over hits where nobody chose another: that of large logs. A bundle says its own."""


class Merged(NamedTuple):
    """Items scored over all interests.

    `scores` (items,): mean of softmaxes in 0 … 1, or greatest cosine; `shares` (interests, items): what
    each interest contributed, in units that are comparable within one list.
    """

    scores: Vectors
    shares: Vectors


def merge_interests(
    cosines: Vectors,
    merge: Merge,
    temperature: float,
    weights: Vectors | None = None,
    nearest: Vectors | None = None,
) -> Merged:
    """Score items from their `cosines` (interests, items).

    `mean`: the mean over interests, weighted by `weights` (interests,) of sum 1 (None: as much each), of
    softmax(cosine / temperature), so that an interest gives away the same total however near its items are;
    its share is what it gives. The softmax is over the given items, or over an interest's `nearest`
    (interests, hits) cosines where there are more items than are given: what a score means must not depend on
    how many were asked for. `max`: the greatest cosine; the interest that has it has the whole share.
    """
    if merge == "max":
        shares = np.zeros_like(cosines)
        shares[cosines.argmax(axis=0), np.arange(cosines.shape[1])] = 1.0
        return Merged(cosines.max(axis=0), shares)
    over = cosines if nearest is None else nearest
    greatest = over.max(axis=1, keepdims=True)
    shares = np.exp((cosines - greatest) / np.float32(temperature))
    given = shares if nearest is None else np.exp((nearest - greatest) / np.float32(temperature))
    counts = np.float32(1 / len(cosines)) if weights is None else weights[:, None]
    shares *= counts / given.sum(axis=1, keepdims=True)
    return Merged(shares.sum(axis=0), shares)


def diversify(
    scores: Vectors,
    categories: NDArray[np.float32],
    k: int,
    diversity: float,
    fresh: int = 0,
    added: NDArray[np.bool_] | None = None,
) -> Rows:
    """Choose `k` positions greedily, each the best by its score and by what it adds in categories.

    Each is the one of greatest (1 − δ) · score / max score − δ · overlap, where overlap is the mean Jaccard
    overlap of its categories with those of each already chosen; equal ones by position.

    `scores` (items,): best first, negative ones count as 0; `categories` (items, categories): 0 or 1,
    an item without any overlaps with nothing; `diversity`: δ in 0 … 1, where 0 leaves the order as it is;
    `fresh`: how many of the chosen must be `added` (items,), as far as there are so many: once no more can be
    chosen but these, only they are.
    """
    if added is None:
        added = np.zeros(len(scores), dtype=np.bool_)
    if not diversity:
        return _first_with(added, k, fresh)
    relevance = np.maximum(scores.astype(np.float64), 0.0)
    if len(relevance) and relevance[0] > 0.0:
        relevance *= (1.0 - diversity) / relevance[0]
    sizes = categories.sum(axis=1)
    overlap = np.zeros(len(scores))
    chosen: list[int] = []
    length = min(k, len(scores))
    needed = min(fresh, int(np.count_nonzero(added)))
    for count in range(length):
        objective = relevance - (diversity / max(count, 1)) * overlap
        if length - count <= needed:
            objective[~added] = -np.inf
        position = int(np.argmax(objective))
        chosen.append(position)
        needed -= bool(added[position])
        relevance[position] = -np.inf
        shared = categories @ categories[position]
        overlap += shared / np.maximum(sizes + sizes[position] - shared, 1.0)
    return np.array(chosen, dtype=np.int64)


def _first_with(added: NDArray[np.bool_], k: int, fresh: int) -> Rows:
    """The first `k` positions of which `fresh` are `added`, as far as there are so many; ascending."""
    needed = np.flatnonzero(added)[: min(k, fresh)]
    others = np.setdiff1d(np.arange(len(added)), needed, assume_unique=True)[: k - len(needed)]
    return np.sort(np.concatenate([needed, others]))
