"""Full ranking of held-out events, in blocks of users, and the metrics of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.data.splits import Histories, Positions, Targets
from training.errors import DataError
from training.evaluation import metrics
from training.evaluation.diversity import DiversityTally
from training.evaluation.metrics import Ranks, Scores
from training.evaluation.scorer import Scorer

DEFAULT_KS = (5, 10, 20, 50)
METRICS = {"hr": metrics.hit_rate, "ndcg": metrics.ndcg}
"""Measures of accuracy by name: (ranks `(rows,)`, k) → `(rows,)`."""

_MAX_SCORES_IN_MEMORY = 2**24
"""Scores of a block of users with all items, a bound on memory (float32: 64 MiB)."""
_MAX_BATCH = 512
"""Users of a block: as many as examples in a step of training, which so fit the device."""


@dataclass(frozen=True)
class Evaluation:
    """Measured values, and the ranks that they come from."""

    metrics: dict[str, float]
    """`hr@k`, `ndcg@k`; with a catalogue also `coverage@k` and, where items have categories,
    `distinct_categories@k` and `intra_list_distance@k`."""
    ranks: Ranks
    """`(targets,)`, for paired comparisons."""
    users: Positions
    """`(targets,)`, the user of each."""


def evaluate(
    scorer: Scorer,
    targets: Targets,
    catalogue: Catalogue | None = None,
    *,
    ks: Sequence[int] = DEFAULT_KS,
    exclude_seen: bool,
    batch_size: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Rank every item for every target and average the metrics.

    `exclude_seen`: items of the history leave the ranking, as when serving; a target that was seen before is
    then a miss, for it can no longer be recommended. `catalogue`: measure diversity as well, of the plain
    first k of each ranking. `batch_size`: users at once, by default as many as fit a fixed block of memory.
    `on_progress` is called with the number of targets of each finished batch. Raises DataError where there
    is no target.
    """
    tally = _Tally(exclude_seen, catalogue, ks)
    _rank([tally], scorer, targets, batch_size, on_progress)
    return tally.evaluation(targets)


def evaluate_both(
    scorer: Scorer,
    targets: Targets,
    catalogue: Catalogue | None = None,
    *,
    ks: Sequence[int] = DEFAULT_KS,
    batch_size: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> tuple[Evaluation, Evaluation]:
    """As `evaluate` with seen items removed and, from the same scores, with seen items kept."""
    removed, kept = _Tally(True, catalogue, ks), _Tally(False, catalogue, ks)
    _rank([removed, kept], scorer, targets, batch_size, on_progress)
    return removed.evaluation(targets), kept.evaluation(targets)


def _rank(
    tallies: Sequence["_Tally"],
    scorer: Scorer,
    targets: Targets,
    batch_size: int | None,
    on_progress: Callable[[int], object] | None,
) -> None:
    if not len(targets):
        raise DataError("the split holds no event out to predict; prepare data with longer histories")
    size = batch_size or block_of(scorer.items)
    for first in range(0, len(targets), size):
        histories = targets.histories.batch(first, size)
        scores = scorer.score(histories)
        for tally in tallies:
            tally.add(scores, histories, targets.items[first : first + size])
        if on_progress is not None:
            on_progress(len(histories))


def block_of(items: int) -> int:
    """Users that are scored at once in a catalogue of so many items."""
    return min(_MAX_BATCH, max(1, _MAX_SCORES_IN_MEMORY // items))


class _Tally:
    """One way of ranking, added up batch by batch."""

    def __init__(self, exclude_seen: bool, catalogue: Catalogue | None, ks: Sequence[int]) -> None:
        self._filter_seen = exclude_seen
        self._ks = ks
        self._diversity = None if catalogue is None else DiversityTally(catalogue, ks)
        self._ranks: list[Ranks] = []

    def add(self, scores: Scores, histories: Histories, items: npt.NDArray[np.int32]) -> None:
        if self._filter_seen:
            scores = without_seen(scores, histories)
        self._ranks.append(metrics.ranks(scores, items))
        if self._diversity is not None:
            self._diversity.add(scores)

    def evaluation(self, targets: Targets) -> Evaluation:
        ranks = np.concatenate(self._ranks)
        measured = {
            f"{name}@{k}": float(of(ranks, k).mean()) for name, of in METRICS.items() for k in self._ks
        }
        if self._diversity is not None:
            measured |= self._diversity.metrics()
        return Evaluation(measured, ranks, targets.users)


def without_seen(scores: Scores, histories: Histories) -> Scores:
    """A copy of the scores in which the items of each history are -inf."""
    rows, positions = histories.flattened()
    remaining = scores.copy()
    remaining[rows, histories.items[positions] - 1] = -np.inf
    return remaining
