"""Followers and what they say of a history, against plain loops; their weight, chosen on validation."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from index.counts import NEWEST, Counted, Counts
from tests.effort import examples
from tests.training.logs import cyclic_dataset, forking_dataset
from tests.training.test_cooccurrence import sequences
from training.counts import (
    DECAYS,
    FEW,
    FOLLOWERS,
    WEIGHTS,
    WINDOW,
    WINDOW_DECAY,
    count_followers,
    fit_weight,
    ranks_with,
    with_counts,
)
from training.data.splits import Histories, leave_one_out
from training.evaluation.metrics import Scores

ITEMS = 12
HISTORIES = st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=2 * NEWEST), min_size=1, max_size=6)


def followed_by_hand(histories: list[list[int]]) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = {}
    for history in histories:
        for place, item in enumerate(history):
            for apart, later in enumerate(history[place + 1 : place + 1 + WINDOW]):
                if later != item:
                    own = found.setdefault(item, {})
                    own[later] = own.get(later, 0.0) + WINDOW_DECAY**apart
    return {
        item: {later: weight / (sum(own.values()) + FEW) for later, weight in own.items()}
        for item, own in found.items()
    }


def scores_by_hand(parts: dict[int, dict[int, float]], history: list[int], decay: float) -> dict[int, float]:
    scores: dict[int, float] = {}
    for age, item in enumerate(reversed(history[-NEWEST:])):
        for later, part in parts.get(item, {}).items():
            scores[later] = scores.get(later, 0.0) + decay**age * part
    return scores


@settings(max_examples=examples(50), deadline=None)
@given(HISTORIES, HISTORIES, st.sampled_from(DECAYS))
def test_scores_are_the_parts_with_which_items_follow(
    log: list[list[int]], asked: list[list[int]], decay: float
) -> None:
    counts = replace(count_followers(sequences(log), ITEMS), decay=decay)
    parts = followed_by_hand(log)
    for history, found in zip(asked, counts.of([np.array(own) for own in asked]), strict=True):
        expected = scores_by_hand(parts, history, decay)
        assert found.rows.tolist() == sorted(expected)
        assert found.scores == pytest.approx([expected[row] for row in sorted(expected)], rel=1e-5)


def test_a_score_does_not_depend_on_the_other_histories() -> None:
    counts = count_followers(leave_one_out(forking_dataset()).train, 60)
    asked = [np.random.default_rng(seed).integers(1, 61, 5 + seed) for seed in range(9)]
    for history, together in zip(asked, counts.of(asked), strict=True):
        (alone,) = counts.of([history])
        assert alone.rows.tolist() == together.rows.tolist()
        assert alone.scores.tolist() == together.scores.tolist()


def test_an_item_keeps_its_commonest_followers() -> None:
    pairs = [[1, later] for later in range(2, 102) for _ in range(later)]
    counts = count_followers(sequences(pairs), 101)
    assert counts.followers.shape == (101, FOLLOWERS)
    assert counts.followers[0].tolist() == list(range(101, 101 - FOLLOWERS, -1))
    assert not counts.followers[1:].any()
    assert not counts.parts[1:].any()


def test_eligible_items_keep_their_scores() -> None:
    counted = Counted(np.array([2, 5, 9]), np.array([1, 2, 3], np.float32))
    eligible = np.zeros(12, np.bool_)
    eligible[[2, 9]] = True
    assert counted.among(eligible).rows.tolist() == [2, 9]
    assert counted.among(eligible).scores.tolist() == [1, 3]


def test_counts_have_their_part_of_the_probabilities() -> None:
    scores = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], np.float32))
    counted = [
        Counted(np.array([2, 3]), np.array([3, 1], np.float32)),
        Counted(np.empty(0, np.int64), np.empty(0, np.float32)),
    ]
    merged = with_counts(scores, counted, 0.2)
    assert np.exp(merged[0]) == pytest.approx([0.4, 0.2 + 0.15, 0.2 + 0.05])
    assert merged[1].tolist() == scores[1].tolist()
    assert with_counts(scores, counted, 0.0).tolist() == scores.tolist()


class Nothing:
    """Knows nothing but that items of higher rows are a little likelier."""

    def __init__(self, items: int, slope: float = 1e-3) -> None:
        self.items = items
        self._slope = slope

    def score(self, histories: Histories) -> Scores:
        line = self._slope * np.arange(self.items, dtype=np.float32)
        scores: Scores = np.tile(line - np.float32(logsumexp(line)), (len(histories), 1))
        return scores


class Next(Nothing):
    """Knows what follows in `cyclic_dataset`."""

    def score(self, histories: Histories) -> Scores:
        scores = super().score(histories)
        last: npt.NDArray[Any] = histories.items[histories.ends - 1]
        scores[np.arange(len(scores)), last % self.items] = 0.0
        return scores


def test_counts_that_bring_something_have_a_weight() -> None:
    split = leave_one_out(cyclic_dataset(users=200))
    fitted = fit_weight(Nothing(40), count_followers(split.train, 40), split.validation)
    assert fitted.counts.weight in WEIGHTS
    assert fitted.counts.decay in DECAYS
    assert fitted.lead is not None
    assert fitted.lead.low > 0
    assert fitted.lead.mean == pytest.approx(fitted.after["ndcg@10"] - fitted.before["ndcg@10"])
    assert fitted.targets == 200


def test_counts_that_bring_nothing_have_none() -> None:
    split = leave_one_out(cyclic_dataset(users=200))
    fitted = fit_weight(Next(40), count_followers(split.train, 40), split.validation)
    assert fitted.counts.weight == 0
    assert fitted.before["ndcg@10"] == 1


def test_no_counts_no_weight() -> None:
    split = leave_one_out(cyclic_dataset(users=20))
    nobody: Counts = count_followers(sequences([[1], [2]]), 40)
    assert fit_weight(Nothing(40), nobody, split.validation).counts.weight == 0


def test_ranks_are_those_of_the_merged_probabilities() -> None:
    split = leave_one_out(forking_dataset())
    counts = replace(count_followers(split.train, 60), weight=0.3)
    targets = split.test
    (found,) = ranks_with(Nothing(60), [counts], targets)
    parts = followed_by_hand(
        [
            split.train.items[start:end].tolist()
            for start, end in zip(split.train.offsets[:-1], split.train.offsets[1:], strict=True)
        ]
    )
    model = np.exp(Nothing(60).score(targets.histories.batch(0, 1))[0].astype(float))
    for row in range(0, len(targets), 37):
        history = targets.histories[row].tolist()
        said = scores_by_hand(parts, history, counts.decay)
        total = math.fsum(said.values())
        merged = [0.7 * model[item - 1] + 0.3 * said.get(item, 0.0) / total for item in range(1, 61)]
        own = merged[targets.items[row] - 1]
        others = [score for item, score in enumerate(merged, 1) if item not in history]
        assert found[row] == 1 + sum(score > own for score in others)
