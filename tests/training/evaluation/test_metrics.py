import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from training.evaluation.metrics import Scores, hit_rate, ndcg, ranks, top_items

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
FEW_VALUES = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
WITH_TIES = hnp.arrays(np.float32, SHAPES, elements=FEW_VALUES)
WITH_REMOVED = hnp.arrays(np.float32, SHAPES, elements=FEW_VALUES | st.just(-np.inf))


def targets_for(scores: Scores, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, scores.shape[1] + 1, size=len(scores)).astype(np.int32)


@given(WITH_REMOVED, st.integers(0, 99))
def test_a_rank_counts_those_above_and_half_of_those_level(scores: Scores, seed: int) -> None:
    targets = targets_for(scores, seed)
    expected = []
    for row, target in zip(scores.tolist(), targets, strict=True):
        own = row.pop(target - 1)
        above = sum(other > own for other in row)
        level = sum(other == own for other in row)
        expected.append(np.inf if own == -np.inf else 1 + above + level / 2)
    assert ranks(scores, targets).tolist() == expected


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 12))
def test_hit_rate_and_ndcg_are_those_of_torchmetrics(seed: int, k: int, items: int) -> None:
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(items) for _ in range(5)]).astype(np.float32)
    targets = targets_for(scores, seed)
    found = ranks(scores, targets)
    for row, target, hit, gain in zip(scores, targets, hit_rate(found, k), ndcg(found, k), strict=True):
        relevant = torch.arange(1, items + 1) == int(target)
        cut = min(k, items)
        assert hit == float(retrieval_hit_rate(torch.from_numpy(row), relevant, top_k=cut))
        assert gain == pytest.approx(
            float(retrieval_normalized_dcg(torch.from_numpy(row), relevant, top_k=cut)), abs=1e-6
        )


def test_ndcg_by_hand() -> None:
    found = np.array([1, 2, 3, 7, 2.5, np.inf])
    assert ndcg(found, 3) == pytest.approx([1, 1 / np.log2(3), 0.5, 0, 1 / np.log2(3.5), 0])
    assert hit_rate(found, 3).tolist() == [1, 1, 1, 0, 1, 0]


def test_a_recommender_that_cannot_tell_items_apart_gains_nothing_from_it() -> None:
    scores = np.zeros((1, 101), np.float32)
    assert ranks(scores, np.array([1], np.int32)).tolist() == [51.0]


def test_nan_scores_are_refused() -> None:
    scores = np.array([[0.0, np.nan]], np.float32)
    with pytest.raises(ValueError, match="NaN"):
        ranks(scores, np.array([1], np.int32))


@given(WITH_REMOVED, st.integers(1, 15))
def test_the_top_is_sorted_by_score_then_row(scores: Scores, k: int) -> None:
    expected = []
    for row in scores.tolist():
        left = [(-score, place + 1) for place, score in enumerate(row) if score != -np.inf]
        chosen = [item for _, item in sorted(left)[:k]]
        expected.append(chosen + [0] * (k - len(chosen)))
    assert top_items(scores, k).tolist() == expected
