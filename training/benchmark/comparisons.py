"""Comparison of one recommender with another: paired over users, with all seeds."""

from collections.abc import Iterable, Sequence

import numpy as np

from training.benchmark.store import Store, ranks_name
from training.benchmark.summary import Line
from training.errors import BenchmarkError
from training.evaluation.bootstrap import Compared, Difference, paired_bootstrap
from training.evaluation.ranking import Evaluation

COMPARED = (("hr", 10), ("ndcg", 10))


class Comparison(Compared):
    """Such a difference on the test part of one data set, over seeds."""

    data: str
    split: str
    exclude_seen: bool
    seeds: int
    runs: list[str]
    """The fits whose ranks were compared."""

    @property
    def sort_key(self) -> tuple[str, str, str, str, str, bool]:
        """The compared pair; the key of the order among others."""
        return (self.data, self.split, self.first, self.second, self.metric, not self.exclude_seen)


def compare(first: Line, second: Line, store: Store, name: str = "ndcg", k: int = 20) -> Comparison:
    """Difference of two recommenders on hit rate or NDCG at k, from the ranks of their targets.

    A user's metric is averaged over the seeds; then users are resampled, with a fixed seed. A recommender
    with one seed, such as one without randomness, is compared with each seed of the other. Raises
    BenchmarkError where the two cannot be paired.
    """
    seeds = max(len(first.rows), len(second.rows))
    try:
        found: Difference = paired_bootstrap(
            _over_seeds(first, seeds, store),
            _over_seeds(second, seeds, store),
            name,
            k,
            generator=np.random.default_rng(0),
        )
    except ValueError as error:
        raise BenchmarkError(f"{first.label} and {second.label} cannot be compared: {error}") from error
    row = first.first
    return Comparison(
        data=row.data,
        split=row.split,
        first=first.label,
        second=second.label,
        metric=f"{name}@{k}",
        exclude_seen=row.exclude_seen,
        seeds=seeds,
        runs=[row.run for line in (first, second) for row in line.rows],
        mean=found.mean,
        low=found.low,
        high=found.high,
    )


def compare_with(name: str, lines: Sequence[Line], store: Store) -> Iterable[Comparison]:
    """The recommender called `name` with each other line of the same data, split and ranking."""
    for first in (line for line in lines if line.label == name):
        for second in lines:
            if second is not first and _protocol(second) == _protocol(first):
                for metric, k in COMPARED:
                    yield compare(first, second, store, metric, k)


def _over_seeds(line: Line, seeds: int, store: Store) -> Evaluation:
    """All seeds as one evaluation: a user's targets are there once for each seed, and stay together."""
    rows = line.rows * seeds if len(line.rows) == 1 else line.rows
    files = [(store.ranks(row.run), ranks_name(row.variant, row.exclude_seen)) for row in rows]
    return Evaluation(
        metrics={},
        ranks=np.concatenate([ranks[name].astype(np.float64) for ranks, name in files]),
        users=np.concatenate([ranks["users"] for ranks, _ in files]),
    )


def _protocol(line: Line) -> tuple[str, str, str, str, bool]:
    row = line.first
    return (row.data, row.data_fingerprint, row.split, row.part, row.exclude_seen)
