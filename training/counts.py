"""Counts fitted to a model: followers from the training events, their weight from the validation events."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bundle.facts import CountsFacts
from index.counts import Counted, Counts
from training.cooccurrence import followed_by
from training.data.splits import Histories, Sequences, Split, Targets
from training.evaluation import metrics
from training.evaluation.bootstrap import Difference, resampled
from training.evaluation.metrics import Ranks, Scores
from training.evaluation.ranking import block_of, without_seen
from training.evaluation.scorer import Scorer

FOLLOWERS = 64
"""Followers that each item keeps: as good as 256 on two logs (docs/experiments.md)."""
WINDOW, WINDOW_DECAY = 8, 0.8
"""Events apart at which an item still follows another, and what one event farther counts: as good as a window
of 4 with .6, and better than the next event alone (docs/experiments.md).
"""
FEW = 10.0
"""Events that an item is short of being believed: its followers' parts sum to n / (n + FEW), so that a common
item says more than a rare one. Of 0, 3 and 10 the best on validation (docs/experiments.md).
"""
DECAYS = (0.8, 0.6, 0.4)
"""Weights of an event of a history relative to the next newer one, to choose from."""
WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Parts of the counts in an item's score, to choose from. From .3 on HR@50 fell on each log tried."""
MAX_TARGETS = 5_000
"""Validation events that a weight is chosen on: NDCG@10 of .05 has a standard error of .002 on them."""


class Fitted(NamedTuple):
    """Counts and how they do on validation events, seen items removed."""

    counts: Counts
    """The weight is 0 where none was better beyond chance."""
    targets: int
    before: dict[str, float]
    """`ndcg@10` and `hr@50` of the model alone."""
    after: dict[str, float]
    """The same with the best counts, even where they were not taken."""
    lead: Difference | None
    """NDCG@10 of these less that of the model alone; None where no weight kept HR@50."""

    @property
    def used(self) -> Counts | None:
        """The counts where they add something."""
        return self.counts if self.counts.weight else None

    @property
    def facts(self) -> CountsFacts:
        """As a bundle's manifest has them."""
        return CountsFacts(
            followers=self.counts.followers.shape[1],
            decay=self.counts.decay,
            weight=self.counts.weight,
            targets=self.targets,
            before=self.before,
            after=self.after,
            lead=None if self.lead is None else (self.lead.low, self.lead.high),
        )


def count_followers(train: Sequences, items: int) -> Counts:
    """The followers of each item in training sequences; of weight 0 so far."""
    followed = followed_by(train, items, WINDOW, WINDOW_DECAY)
    followed.setdiag(0)
    followed = followed.tocsr()
    followed.eliminate_zeros()
    lines = np.repeat(np.arange(items), np.diff(followed.indptr))
    followed.data /= (followed.sum(axis=1) + FEW)[lines]
    return greatest(followed, FOLLOWERS)


def greatest(parts: sparse.csr_array, count: int) -> Counts:
    """The `count` greatest parts of each line `(items, items)`, equal ones by column."""
    items = parts.shape[0]
    lines = np.repeat(np.arange(items), np.diff(parts.indptr))
    order = np.lexsort((parts.indices, -parts.data, lines))
    position = np.arange(len(lines)) - parts.indptr[lines]
    order, position = order[position < count], position[position < count]
    followers = np.zeros((items, count), np.int32)
    kept = np.zeros((items, count), np.float32)
    followers[lines[order], position] = parts.indices[order] + 1
    kept[lines[order], position] = parts.data[order]
    return Counts(followers, kept, DECAYS[0], 0.0)


def with_counts(scores: Scores, counted: Sequence[Counted], weight: float) -> Scores:
    """Logarithms of the probabilities `(rows, items)` that `scores` are, after counts had their part.

    A line of which they know nothing stays as it is.
    """
    merged = scores.copy()
    for line, (rows, own) in zip(merged, counted, strict=True):
        if weight and len(rows):
            line += np.float32(np.log1p(-weight))
            said = np.log(own * np.float32(weight / own.sum(dtype=np.float64)))
            line[rows - 1] = np.logaddexp(line[rows - 1], said)
    return merged


def listed(histories: Histories) -> list[npt.NDArray[np.int32]]:
    """The histories one by one."""
    return [histories[row] for row in range(len(histories))]


def fit_weight(scorer: Scorer, counts: Counts, targets: Targets) -> Fitted:
    """Choose decay and weight by NDCG@10 of a sample of `targets`, among those that lose nothing of HR@50.

    The weight is 0 unless the 95 % interval of its gain is above 0. `scorer` scores by logarithms of
    probabilities, as a DimeRec does whose interests are merged by their mean.
    """
    chosen = targets.sample(MAX_TARGETS, np.random.default_rng(0))
    choices = [replace(counts, decay=decay, weight=weight) for decay in DECAYS for weight in WEIGHTS]
    alone, *ranked = ranks_with(scorer, [counts, *choices], chosen)
    before = summary(alone)
    kept = [index for index, own in enumerate(ranked) if summary(own)["hr@50"] >= before["hr@50"]]
    if not kept:
        return Fitted(counts, len(chosen), before, before, None)
    best = max(kept, key=lambda index: summary(ranked[index])["ndcg@10"])
    gain = metrics.ndcg(ranked[best], 10) - metrics.ndcg(alone, 10)
    lead = resampled(gain, chosen.users, generator=np.random.default_rng(0))
    taken = choices[best] if lead.low > 0 else replace(choices[best], weight=0.0)
    return Fitted(taken, len(chosen), before, summary(ranked[best]), lead)


def fit_followers(scorer: Scorer, split: Split, items: int) -> Fitted:
    """As `fit_weight`, for what followed what in the part of a split that is trained on."""
    return fit_weight(scorer, count_followers(split.train, items), split.validation)


def ranks_with(scorer: Scorer, choices: Sequence[Counts], targets: Targets) -> list[Ranks]:
    """Ranks of the targets with each of these counts, seen items removed; the scorer is asked once."""
    found: list[list[Ranks]] = [[] for _ in choices]
    size = block_of(scorer.items)
    for first in range(0, len(targets), size):
        histories, items = targets.histories.batch(first, size), targets.items[first : first + size]
        scores, rows = scorer.score(histories), listed(histories)
        counted: dict[float, list[Counted]] = {}
        for own, choice in zip(found, choices, strict=True):
            if choice.decay not in counted:
                counted[choice.decay] = choice.of(rows)
            merged = without_seen(with_counts(scores, counted[choice.decay], choice.weight), histories)
            own.append(metrics.ranks(merged, items))
    return [np.concatenate(own) for own in found]


def summary(ranks: Ranks) -> dict[str, float]:
    """`ndcg@10` and `hr@50`, which counts are chosen by."""
    return {
        "ndcg@10": float(metrics.ndcg(ranks, 10).mean()),
        "hr@50": float(metrics.hit_rate(ranks, 50).mean()),
    }


def said(facts: CountsFacts) -> str:
    """A line on what counting brought."""
    if not facts.used:
        return (
            "What followed what in the log adds nothing to the answers on validation events: it is left out."
        )
    before, after = (part["ndcg@10"] for part in (facts.before, facts.after))
    return (
        f"What followed what in the log is one more interest, of weight {facts.weight:g}:"
        f" ndcg@10 on validation {before:.4f} → {after:.4f}."
    )
