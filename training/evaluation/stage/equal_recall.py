"""Each side's categories at one recall: lists are re-ranked until their recall is that of the worst side."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.evaluation.diversity import memberships
from training.evaluation.horizon import LIST_KS, Values, category_recalls, recall
from training.evaluation.reranking import DELTAS, POOL, category_overlaps, crossing, diversified

_LISTS_AT_ONCE = 128
"""Lists that are re-ranked at once; their overlaps are `(lists, pool, pool)`, 10 MB."""


class Curve(NamedTuple):
    """One side's lists of k items by δ."""

    recalls: npt.NDArray[np.float64]
    """`(deltas, users)`"""
    categories: npt.NDArray[np.float64]
    """`category_recall` `(deltas, users)`; NaN where it is undefined."""


def curves(
    top: npt.NDArray[np.int64],
    relevant: Sequence[npt.NDArray[np.int32]],
    catalogue: Catalogue,
    weights: npt.NDArray[np.float64],
) -> dict[int, Curve]:
    """Of each k of `LIST_KS`, from the first items of a ranking `(users, at least POOL)`, 0: no item."""
    found: dict[int, list[Curve]] = {k: [] for k in LIST_KS}
    for first in range(0, len(top), _LISTS_AT_ONCE):
        pools, wanted = top[first : first + _LISTS_AT_ONCE, :POOL], relevant[first : first + _LISTS_AT_ONCE]
        overlaps = category_overlaps(memberships(pools, catalogue))
        for k in LIST_KS:
            lists = [diversified(pools, overlaps, k, delta) for delta in DELTAS]
            found[k].append(
                Curve(
                    np.stack([recall(one, wanted) for one in lists]),
                    np.stack([category_recalls(one, wanted, catalogue, weights) for one in lists]),
                )
            )
    return {k: joined(parts) for k, parts in found.items()}


def joined(parts: Sequence[Curve]) -> Curve:
    """The curve of all users of `parts`."""
    return Curve(*(np.concatenate(of, axis=1) for of in zip(*parts, strict=True)))


def at_equal_recall(curves: Mapping[str, Mapping[int, Curve]], among: Sequence[str]) -> dict[str, Values]:
    """`categories_at_equal_recall@k` of each side, where its recall@k is the reference.

    That is the lowest that one of the sides `among` has at δ = 0. Between two δ the values are interpolated;
    NaN for all users where a side never has the reference.
    """
    found: dict[str, Values] = {name: {} for name in curves}
    for k in LIST_KS:
        reference = min(float(curves[name][k].recalls[0].mean()) for name in among)
        for name, of_side in curves.items():
            curve = of_side[k]
            position = crossing(curve.recalls.mean(axis=1), reference, 0.0)
            found[name][f"categories_at_equal_recall@{k}"] = _between(curve.categories, position)
    return found


def _between(values: npt.NDArray[np.float64], position: float) -> npt.NDArray[np.float64]:
    """Rows at a position between two of them, linear; NaN where the position is."""
    if np.isnan(position):
        return np.full(values.shape[1], np.nan)
    low = min(int(position), len(values) - 2)
    part = position - low
    found: npt.NDArray[np.float64] = (1 - part) * values[low] + part * values[low + 1]
    return found
