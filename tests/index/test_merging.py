"""Scoring, choosing and diversifying against hand arithmetic and plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.exact import best_positions
from index.merging import diversify, merge_interests
from index.whole import best_columns
from tests.index.reference import jaccard

# Few distinct values: ties everywhere.
tied_scores = st.lists(st.integers(0, 5), min_size=1, max_size=60)
category_sets = st.sets(st.integers(0, 5), max_size=4)


def as_scores(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.float32) / 4


def as_matrix(sets: list[set[int]]) -> np.ndarray:
    return np.array([[float(column in having) for column in range(6)] for having in sets], dtype=np.float32)


@given(tied_scores, st.integers(1, 70))
def test_best_positions_are_those_of_a_stable_sort(values: list[int], k: int) -> None:
    expected = sorted(range(len(values)), key=lambda position: (-values[position], position))[:k]
    assert best_positions(as_scores(values), k).tolist() == expected


@given(
    st.lists(st.lists(st.integers(-3, 5), min_size=9, max_size=9), min_size=1, max_size=5), st.integers(1, 9)
)
def test_best_columns_are_the_best_positions_of_each_line(lines: list[list[int]], k: int) -> None:
    values = np.stack([as_scores(line) for line in lines])
    values[values == 0.25] = -np.inf
    values[values == 0.5] = -0.0
    assert best_columns(values, k).tolist() == [best_positions(line, k).tolist() for line in values]


def test_the_mean_of_softmaxes_by_hand() -> None:
    cosines = np.log(np.array([[1.0, 1.0, 2.0], [3.0, 0.5, 0.5]], dtype=np.float32))
    merged = merge_interests(cosines, "mean", temperature=1.0)
    np.testing.assert_allclose(merged.shares, [[0.125, 0.125, 0.25], [0.375, 0.0625, 0.0625]], rtol=1e-6)
    np.testing.assert_allclose(merged.scores, [0.5, 0.1875, 0.3125], rtol=1e-6)


def test_the_weighted_mean_of_softmaxes_by_hand() -> None:
    cosines = np.log(np.array([[1.0, 1.0, 2.0], [3.0, 0.5, 0.5]], dtype=np.float32))
    merged = merge_interests(cosines, "mean", 1.0, np.array([0.2, 0.8], dtype=np.float32))
    np.testing.assert_allclose(merged.shares, [[0.05, 0.05, 0.1], [0.6, 0.1, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(merged.scores, [0.65, 0.15, 0.2], rtol=1e-6)


def test_the_greatest_cosine_by_hand() -> None:
    cosines = np.array([[0.5, -0.25, 0.0], [0.25, -0.125, 0.0]], dtype=np.float32)
    merged = merge_interests(cosines, "max", temperature=1.0)
    assert merged.scores.tolist() == [0.5, -0.125, 0.0]
    assert merged.shares.tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("temperature", [0.001, 0.07, 1000.0])
def test_every_interest_gives_away_as_much(temperature: float) -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, size=(5, 200)).astype(np.float32)
    merged = merge_interests(cosines, "mean", temperature)
    np.testing.assert_allclose(merged.shares.sum(axis=1), 0.2, rtol=1e-5)
    np.testing.assert_allclose(merged.scores.sum(), 1.0, rtol=1e-5)


@given(tied_scores, st.data(), st.integers(1, 70))
def test_no_diversity_leaves_the_order(values: list[int], data: st.DataObject, k: int) -> None:
    scores = as_scores(sorted(values, reverse=True))
    sets = data.draw(st.lists(category_sets, min_size=len(values), max_size=len(values)))
    assert diversify(scores, as_matrix(sets), k, 0.0).tolist() == list(range(min(k, len(values))))


@given(tied_scores, st.data(), st.integers(1, 70), st.floats(0, 1))
def test_every_choice_is_the_best_that_plain_loops_know(
    values: list[int], data: st.DataObject, k: int, diversity: float
) -> None:
    scores = as_scores(sorted(values, reverse=True))
    sets = data.draw(st.lists(category_sets, min_size=len(values), max_size=len(values)))
    chosen = diversify(scores, as_matrix(sets), k, diversity).tolist()
    assert len(chosen) == len(set(chosen)) == min(k, len(values))

    def objective(position: int, before: list[int]) -> float:
        relevance = scores[position] / scores[0] if scores[0] > 0 else 0.0
        overlaps = [jaccard(sets[position], sets[other]) for other in before]
        return (1 - diversity) * relevance - diversity * (sum(overlaps) / len(overlaps) if overlaps else 0.0)

    for count, position in enumerate(chosen):
        left = [other for other in range(len(values)) if other not in chosen[:count]]
        best = max(objective(other, chosen[:count]) for other in left)
        assert objective(position, chosen[:count]) >= best - 1e-6


def test_diversity_by_hand() -> None:
    scores = np.array([1.0, 0.9, 0.8, 0.5], dtype=np.float32)
    categories = as_matrix([{0}, {0}, {0, 1}, {2}])
    # Second: 0.45 − 0.5, 0.4 − 0.25, 0.25 − 0. Third: 0.45 − 0.25, 0.4 − 0.125.
    assert diversify(scores, categories, 4, 0.5).tolist() == [0, 3, 2, 1]
    # Only overlaps count: the first of those with none, then the least overlap with the two.
    assert diversify(scores, categories, 3, 1.0).tolist() == [0, 3, 2]


def test_scores_below_zero_count_as_zero() -> None:
    scores = np.array([-0.1, -0.2, -0.3], dtype=np.float32)
    assert diversify(scores, as_matrix([{0}, {0}, {1}]), 3, 0.5).tolist() == [0, 2, 1]


def test_nothing_to_choose_from() -> None:
    assert diversify(np.empty(0, dtype=np.float32), as_matrix([]).reshape(0, 6), 5, 0.5).tolist() == []
