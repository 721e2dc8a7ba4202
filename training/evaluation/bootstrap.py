"""Paired comparisons of two recommenders."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from training.data.splits import Positions
from training.evaluation.ranking import METRICS, Evaluation

RESAMPLES = 2000
"""Chosen: of the ends of an interval, 50 means lie beyond each."""
_LOSSES = ("nll", "brier", "ece")
_MAX_RESAMPLES_IN_MEMORY = 2**22
"""A bound on memory: 32 MiB of indices, or of counts."""


@dataclass(frozen=True)
class Difference:
    """The first of two recommenders less the second, with a 95 % bootstrap interval over users."""

    mean: float
    low: float
    high: float


class Compared(BaseModel):
    """First − second on one metric, seen items removed unless said, with a 95 % interval over users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    second: str
    metric: str
    mean: float
    low: float
    high: float

    @property
    def lower_is_better(self) -> bool:
        """True of a loss, such as `nll` or `ece`."""
        return self.metric.startswith(_LOSSES)

    @property
    def mark(self) -> str:
        """The second beside the first: + better, − worse, nothing where these users show no difference."""
        if self.low <= 0 <= self.high:
            return ""
        return "−" if (self.mean > 0) != self.lower_is_better else "+"

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.mark:
            return "no difference that these users show"
        return f"{self.second if self.mark == '+' else self.first} is better"


def paired_bootstrap(
    first: Evaluation,
    second: Evaluation,
    metric: str,
    k: int,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Difference:
    """Difference of a metric of `METRICS` at k, first − second, users resampled with replacement.

    A user's targets stay together, since they are not independent of each other. Raises ValueError where the
    two were not measured on the same targets.
    """
    if not np.array_equal(first.users, second.users):
        raise ValueError("the two evaluations are of different targets")
    of = METRICS[metric]
    differences = of(first.ranks, k) - of(second.ranks, k)
    return resampled(differences, first.users, generator=generator, resamples=resamples)


def resampled(
    differences: npt.NDArray[np.float64],
    users: Positions,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Difference:
    """The mean of `differences` `(rows,)` with its interval; `users` `(rows,)`: whose each is."""
    _, user = np.unique(users, return_inverse=True)
    total = np.bincount(user, weights=differences)
    count = np.bincount(user)
    at_once = max(1, _MAX_RESAMPLES_IN_MEMORY // len(count))
    means = []
    for done in range(0, resamples, at_once):
        drawn = generator.integers(len(count), size=(min(at_once, resamples - done), len(count)))
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    return interval(float(total.sum() / count.sum()), np.concatenate(means))


def resample_counts(users: int, generator: np.random.Generator) -> Iterator[npt.NDArray[np.float64]]:
    """The times that each of `users` is in each of `RESAMPLES` resamples, in blocks `(resamples, users)`.

    For figures that are no means of a value for each user.
    """
    at_once = max(1, _MAX_RESAMPLES_IN_MEMORY // users)
    for done in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - done)
        yield generator.multinomial(users, np.full(users, 1 / users), size=size).astype(np.float64)


def interval(mean: float, resampled_means: npt.NDArray[np.float64]) -> Difference:
    """A difference with the interval that 95 % of its resamples lie in."""
    low, high = np.quantile(resampled_means, [0.025, 0.975])
    return Difference(mean, float(low), float(high))
