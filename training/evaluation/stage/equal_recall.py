"""Each side's categories at one recall: lists are re-ranked for diversity until all have the same recall."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.evaluation.bootstrap import Difference, interval, resample_counts
from training.evaluation.diversity import memberships
from training.evaluation.horizon import LIST_KS, category_recalls, recall
from training.evaluation.reranking import DELTAS, POOL, category_overlaps, crossing, diversified

KEPT = 0.9
"""Chosen: at the lowest recall itself the side that has it is not re-ranked at all, and the others by as much
as the flat beginning of their curves makes of a difference that is mostly noise.
"""
_LISTS_AT_ONCE = 128
"""Lists that are re-ranked at once; their overlaps are `(lists, pool, pool)`, 10 MB."""

Figures = dict[str, float]
"""A metric's name → its mean over users."""


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


def at_equal_recall(curves: Mapping[str, Mapping[int, Curve]], among: Sequence[str]) -> dict[str, Figures]:
    """`categories_at_equal_recall@k` of each side, where its recall@k is the reference.

    That is `KEPT` of the lowest that one of the sides `among` has at δ = 0. Between two δ the values are
    interpolated; a side that never has the reference has no such metric.
    """
    found: dict[str, Figures] = {name: {} for name in curves}
    for k in LIST_KS:
        of_k = {name: of_side[k] for name, of_side in curves.items()}
        users = next(iter(of_k.values())).recalls.shape[1]
        for name, (value,) in _at_reference(np.ones((1, users)), of_k, among).items():
            if not np.isnan(value):
                found[name][_metric(k)] = float(value)
    return found


def equal_recall_differences(
    curves: Mapping[str, Mapping[int, Curve]], among: Sequence[str], *, generator: np.random.Generator
) -> dict[str, dict[str, Difference]]:
    """Of each metric, the first side less each other, with 95 % bootstrap intervals over users.

    Each resample has a reference and crossings of its own: where recall hardly falls with δ, a little more of
    it moves a crossing far. A side that lacks the reference in any resample has no difference.
    """
    first, *others = curves
    found: dict[str, dict[str, Difference]] = {name: {} for name in others}
    means = at_equal_recall(curves, among)
    for k in LIST_KS:
        of_k = {name: of_side[k] for name, of_side in curves.items()}
        users = of_k[first].recalls.shape[1]
        blocks = [_at_reference(counts, of_k, among) for counts in resample_counts(users, generator)]
        drawn = {name: np.concatenate([block[name] for block in blocks]) for name in curves}
        for name in others:
            differences = drawn[first] - drawn[name]
            if _metric(k) in means[name] and not np.isnan(differences).any():
                mean = means[first][_metric(k)] - means[name][_metric(k)]
                found[name][_metric(k)] = interval(mean, differences)
    return found


def _metric(k: int) -> str:
    return f"categories_at_equal_recall@{k}"


def _at_reference(
    counts: npt.NDArray[np.float64], curves: Mapping[str, Curve], among: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Each side's categories at the reference, of each resample `(resamples,)`; NaN where it has it not.

    `counts` `(resamples, users)`.
    """
    recalls = {name: _means(curve.recalls, counts) for name, curve in curves.items()}
    references = KEPT * np.min([recalls[name][:, 0] for name in among], axis=0)
    found = {}
    for name, curve in curves.items():
        positions = [crossing(*of, 0.0) for of in zip(recalls[name], references, strict=True)]
        found[name] = _between(_means(curve.categories, counts), np.array(positions))
    return found


def _means(values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over the users that have a value `(resamples, deltas)`; `values` `(deltas, users)`."""
    defined = ~np.isnan(values).any(axis=0)
    some = counts[:, defined]
    with np.errstate(invalid="ignore"):  # a resample may have none of them
        found: npt.NDArray[np.float64] = some @ values[:, defined].T / some.sum(axis=1, keepdims=True)
    return found


def _between(values: npt.NDArray[np.float64], positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row the value at its position between two columns, linear; NaN where the position is."""
    columns = np.arange(values.shape[1])
    return np.array([np.interp(at, columns, of) for at, of in zip(positions, values, strict=True)])
