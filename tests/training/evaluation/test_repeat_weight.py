"""The discount of seen items against the likelihood itself, and against removing them."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from tests.effort import examples
from tests.factories import make_catalogue, make_model, make_serving
from training.data.dataset import Dataset
from training.data.splits import Histories, Targets, leave_one_out
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.metrics import Scores
from training.evaluation.ranking import evaluate_both
from training.evaluation.repeat_weight import fit_repeat_weight

ITEMS = 30


@dataclass
class NearScorer:
    """Logarithms of probabilities, up to a constant: noise, and more for what was seen."""

    items: int
    seen: float

    def score(self, histories: Histories) -> Scores:
        rows = []
        for place in range(len(histories)):
            history = histories[place].tolist()
            scores = np.random.default_rng(history).normal(size=self.items)
            scores[np.array(history) - 1] += self.seen
            rows.append(scores + 7)
        return np.array(rows, np.float32).reshape(len(histories), self.items)


def log_of(users: int, returning: float, seed: int = 0) -> Dataset:
    """Six events a user on distinct items, and a last that is one of them with a chance of `returning`."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(users):
        items = generator.permutation(ITEMS)[:7] + 1
        if generator.random() < returning:
            items[-2:] = generator.choice(items[:5], 2)  # validation and test
        rows.append(items)
    return Dataset(
        user_ids=[f"{user:04}" for user in range(users)],
        items=np.concatenate(rows).astype(np.int32),
        timestamps=np.tile(np.arange(7), users),
        offsets=np.arange(0, 7 * users + 1, 7),
        catalogue=make_catalogue(ITEMS),
        timestamp_unit="order",
    )


def log_likelihood(scorer: NearScorer, targets: Targets, weight: float) -> float:
    scores = scorer.score(targets.histories).astype(np.float64)
    for row in range(len(targets)):
        scores[row, np.unique(targets.histories[row]) - 1] += np.log(weight)
    return float(log_softmax(scores, axis=1)[np.arange(len(targets)), targets.items - 1].sum())


@settings(max_examples=examples(20))
@given(st.sampled_from([0.1, 0.5, 0.9]), st.floats(-3, 3), st.integers(0, 100))
def test_no_other_factor_makes_the_targets_likelier(returning: float, seen: float, seed: int) -> None:
    targets, scorer = leave_one_out(log_of(400, returning, seed)).validation, NearScorer(ITEMS, seen)
    found = fit_repeat_weight(scorer, targets)
    best = log_likelihood(scorer, targets, found)
    for times in (0.8, 0.95, 1.05, 1.25):
        assert log_likelihood(scorer, targets, times * found) < best


def test_where_nobody_comes_back_seen_items_are_as_good_as_removed() -> None:
    split = leave_one_out(log_of(500, returning=0.0))
    model, serving = make_model(ITEMS), make_serving(interest_mode="both")
    weight = fit_repeat_weight(DimeRecScorer(model, serving), split.validation)
    assert 0 < weight < 0.01
    removed, kept = evaluate_both(DimeRecScorer(model, serving, repeat_weight=weight), split.test)
    _, counted = evaluate_both(DimeRecScorer(model, serving), split.test)
    assert kept.metrics["ndcg@20"] == pytest.approx(removed.metrics["ndcg@20"], abs=0.02)
    assert counted.metrics["ndcg@20"] < 0.9 * kept.metrics["ndcg@20"]


def test_where_everybody_comes_back_seen_items_are_preferred() -> None:
    targets = leave_one_out(log_of(300, returning=1.0)).validation
    assert fit_repeat_weight(NearScorer(ITEMS, 0.0), targets) > 100


@pytest.mark.parametrize(("seen", "expected"), [(60.0, 1e-6), (-60.0, 1e6)])
def test_the_factor_stays_within_its_bounds(seen: float, expected: float) -> None:
    targets = leave_one_out(log_of(50, returning=0.5)).validation
    assert fit_repeat_weight(NearScorer(ITEMS, seen), targets) == expected


def test_without_a_target_nothing_is_known() -> None:
    targets = leave_one_out(log_of(1, returning=0.0)).validation
    nobody = targets.sample(0, np.random.default_rng(0))
    assert fit_repeat_weight(NearScorer(ITEMS, 0.0), nobody) == 1
