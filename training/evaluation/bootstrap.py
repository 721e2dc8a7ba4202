"""Paired comparisons of two recommenders."""

from dataclasses import dataclass

import numpy as np

from training.evaluation.ranking import METRICS, Evaluation

_MAX_RESAMPLES_IN_MEMORY = 2**22
"""A bound on memory: 32 MiB of indices."""


@dataclass(frozen=True)
class Difference:
    """The first of two recommenders less the second, with a 95 % bootstrap interval over users."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    first: Evaluation,
    second: Evaluation,
    metric: str,
    k: int,
    *,
    generator: np.random.Generator,
    resamples: int = 2000,
) -> Difference:
    """Difference of a metric of `METRICS` at k, first − second, users resampled with replacement.

    A user's targets stay together, since they are not independent of each other. Raises ValueError where the
    two were not measured on the same targets.
    """
    if not np.array_equal(first.users, second.users):
        raise ValueError("the two evaluations are of different targets")
    of = METRICS[metric]
    _, user = np.unique(first.users, return_inverse=True)
    total = np.bincount(user, weights=of(first.ranks, k) - of(second.ranks, k))
    count = np.bincount(user)
    at_once = max(1, _MAX_RESAMPLES_IN_MEMORY // len(count))
    means = []
    for done in range(0, resamples, at_once):
        drawn = generator.integers(len(count), size=(min(at_once, resamples - done), len(count)))
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(total.sum() / count.sum()), float(low), float(high))
