"""Measuring a recommender on held-out events: full ranking, in blocks of users, and paired comparisons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bundle.manifest import ServingDefaults
from index.catalogue import Catalogue
from model.batch import windows
from model.dimerec import DimeRec
from model.interests import InterestSettings, find_interests, history_seeds, interest_weights
from training import metrics
from training.diversity import DiversityTally
from training.errors import DataError
from training.metrics import Ranks, Scores
from training.scoring import Scorer
from training.splits import Histories, Positions, Targets

DEFAULT_KS = (5, 10, 20, 50)
METRICS = {"hr": metrics.hit_rate, "ndcg": metrics.ndcg}
"""Measures of accuracy by name: (ranks `(rows,)`, k) → `(rows,)`."""

_MAX_SCORES_IN_MEMORY = 2**24
"""Scores of a block of users with all items (float32: 64 MiB)."""
_MAX_BATCH = 512
_MAX_COSINES_IN_MEMORY = 2**21
"""Cosines of a block of interests with all items: few enough to stay near the processor."""
_MAX_RESAMPLES_IN_MEMORY = 2**22


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and the ranks it came from."""

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
    size = batch_size or min(_MAX_BATCH, max(1, _MAX_SCORES_IN_MEMORY // scorer.items))
    for first in range(0, len(targets), size):
        histories = targets.histories.batch(first, size)
        scores = scorer.score(histories)
        for tally in tallies:
            tally.add(scores, histories, targets.items[first : first + size])
        if on_progress is not None:
            on_progress(len(histories))


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


class DimeRecScorer:
    """A DimeRec model, asked as `serving` says, with every item as a candidate and not only the index's hits.

    The noise of a history is a function of `seed` and the history alone, so that a score depends on nothing
    else. With merge `mean` an item's score is the logarithm of the mean over interests, weighted where they
    are of both kinds, of softmax over all items (cosine / temperature): the same order as the mean's, without
    underflow far from every interest. With `max` it is the greatest cosine. An item of the history counts
    `repeat_weight` times in the mean.
    """

    def __init__(
        self, model: DimeRec, serving: ServingDefaults, seed: int = 0, repeat_weight: float = 1.0
    ) -> None:
        self._model = model
        self._serving = serving
        self._seed = seed
        self._repeat_weight = repeat_weight
        self._settings = InterestSettings(
            serving.draws, serving.steps, serving.interest_mode, serving.guidance_weight
        )

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return self._model.config.items

    @torch.inference_mode()
    def score(self, histories: Histories) -> Scores:
        """Scores of all items for each history `(rows, items)`."""
        vectors = self._model.item_vectors()
        size = max(1, _MAX_COSINES_IN_MEMORY // (self._interests_per_row * self.items))
        parts = [
            self._merged(self.interests(histories.batch(first, size)), vectors)
            for first in range(0, len(histories), size)
        ]
        scores: Scores = torch.cat(parts).numpy()
        if self._repeat_weight != 1:
            rows, positions = histories.flattened()
            scores[rows, histories.items[positions] - 1] += np.log(self._repeat_weight)  # once, if seen twice
        return scores

    def interests(self, histories: Histories) -> Tensor:
        """Unit interest embeddings `(rows, interests, dim)`: draws first, then the guidance.

        The model is put into evaluation mode for it.
        """
        training = self._model.training
        self._model.eval()
        history = windows(histories.items, histories.starts, histories.ends, self._model.config.max_length)
        found = find_interests(
            self._model,
            history.to(self._device),
            [self._settings] * len(histories),
            history_seeds(history, self._seed),
        )
        self._model.train(training)
        return torch.stack([interests.vectors for interests in found])

    def _merged(self, interests: Tensor, vectors: Tensor) -> Tensor:
        if self._serving.merge == "max":
            return (interests @ vectors.T).float().amax(dim=1).cpu()
        logits = ((interests / self._serving.temperature) @ vectors.T).float()
        total = logits.logsumexp(dim=2, keepdim=True)
        if self._serving.interest_mode == "both":
            guidance = self._model.config.guidance_count
            weights = interest_weights(self._serving.draws, guidance, self._serving.guidance_weight)
            total -= weights.log().to(total.device)[:, None]
        logits -= total
        return logits.logsumexp(dim=1).cpu()

    @property
    def _interests_per_row(self) -> int:
        return self._serving.draws + self._model.config.guidance_count

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device


@dataclass(frozen=True)
class Difference:
    """How much better the first of two recommenders is, with a 95 % bootstrap interval over users."""

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


def without_seen(scores: Scores, histories: Histories) -> Scores:
    """A copy of the scores in which the items of each history are -inf."""
    rows, positions = histories.flattened()
    remaining = scores.copy()
    remaining[rows, histories.items[positions] - 1] = -np.inf
    return remaining
