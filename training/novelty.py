"""Novelty: how far common items may count less until a stated part of the hits is lost.

Guidance of a strength w away from that of no history is log p(item | history) + w (log p(item | history) −
log p(item)). What p is without a history the log itself says, the share of its events; so the order is by
p(item | history) / p(item)^(w / (1 + w)): with a power of an item's commonness. A vector g∅ in place of no
history, in (1 + w) g − w g∅, gives less for the same hits (docs/experiments.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bundle.facts import NoveltyFacts
from training.data.splits import Targets
from training.evaluation import metrics
from training.evaluation.bootstrap import resampled
from training.evaluation.metrics import Scores
from training.evaluation.ranking import block_of, without_seen
from training.evaluation.scorer import Scorer

LOSS = 0.1
"""Part of HR@10 that a novelty of 1 may cost. Chosen: `dimerec publish --novelty-loss` takes another."""
POWERS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Powers of an item's commonness, to choose from."""
MAX_TARGETS = 5_000
"""Validation events that a power is chosen on: HR@10 of .1 has a standard error of .004 on them, and its
fall, of the same events, a smaller one.
"""
_LISTED = 20
"""Items of each list that coverage and share are of."""


class Lists(NamedTuple):
    """The first items of each target's ranking, and the target's rank."""

    ranks: metrics.Ranks
    top: npt.NDArray[np.int64]
    """Item rows `(targets, 20)`; 0: fewer are left."""


def lists_at(
    scorer: Scorer, events: npt.NDArray[np.int64], powers: Sequence[float], targets: Targets
) -> list[Lists]:
    """The lists of the targets' users at each power, seen items removed; the scorer is asked once.

    It scores by logarithms of probabilities, as a DimeRec does whose interests are merged by their mean.
    """
    common = np.log1p(events).astype(np.float32)
    found: list[list[Lists]] = [[] for _ in powers]
    size = block_of(scorer.items)
    for first in range(0, len(targets), size):
        histories, items = targets.histories.batch(first, size), targets.items[first : first + size]
        scores = without_seen(scorer.score(histories), histories)
        for own, power in zip(found, powers, strict=True):
            rarer: Scores = scores - np.float32(power) * common
            own.append(Lists(metrics.ranks(rarer, items), metrics.top_items(rarer, _LISTED)))
    return [Lists(*map(np.concatenate, zip(*own, strict=True))) for own in found]


def measured(lists: Lists, events: npt.NDArray[np.int64]) -> dict[str, float]:
    """`hr@10`, `ndcg@10`, `coverage@20` and `share@20`, as `bundle.facts.NoveltyFacts` has them."""
    listed = lists.top[lists.top > 0] - 1
    return {
        "hr@10": float(metrics.hit_rate(lists.ranks, 10).mean()),
        "ndcg@10": float(metrics.ndcg(lists.ranks, 10).mean()),
        "coverage@20": len(np.unique(listed)) / len(events),
        "share@20": float(events[listed].mean() / max(1, events.sum())),
    }


def fit_novelty(
    scorer: Scorer, events: npt.NDArray[np.int64], targets: Targets, loss: float = LOSS
) -> NoveltyFacts | None:
    """The greatest power up to which HR@10 of a sample of `targets` loses no more than the part `loss`.

    Its fall counts by the far end of its 95 % interval over users: the fewer targets, the more careful. None
    where the least that is tried may cost more already, and where nothing is hit anyway. `events`: of every
    item, in what the model was trained on.
    """
    chosen = targets.sample(MAX_TARGETS, np.random.default_rng(0))
    if not len(chosen):
        return None
    alone, *rarer = lists_at(scorer, events, [0.0, *POWERS], chosen)
    before = measured(alone, events)
    hits = metrics.hit_rate(alone.ranks, 10)
    falls = (hits - metrics.hit_rate(lists.ranks, 10) for lists in rarer)
    most = [resampled(fall, chosen.users, generator=np.random.default_rng(0)).high for fall in falls]
    kept = [fall <= loss * before["hr@10"] for fall in most]
    last = (kept.index(False) if False in kept else len(kept)) - 1
    if last < 0 or not before["hr@10"]:
        return None
    return NoveltyFacts(
        power=POWERS[last],
        loss=loss,
        targets=len(chosen),
        before=before,
        after=measured(rarer[last], events),
    )


def said(facts: NoveltyFacts | None) -> str:
    """A line on what a request can ask for."""
    if facts is None:
        return "Requests cannot ask for novelty: nothing says what it costs, or it costs too much."
    hits, parts = (
        tuple(values[name] for values in (facts.before, facts.after)) for name in ("hr@10", "coverage@20")
    )
    return (
        f"At a novelty of 1, hr@10 on validation goes from {hits[0]:.4f} to {hits[1]:.4f} and the part of the"
        f" catalogue in the first 20 of all from {parts[0]:.3f} to {parts[1]:.3f}."
    )
