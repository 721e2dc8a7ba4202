"""Where item vectors start, against dense matrices filled by plain loops."""

import math
from itertools import chain

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from training.cooccurrence import item_directions
from training.data.splits import Sequences

Matrix = npt.NDArray[np.float64]


def sequences(histories: list[list[int]]) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)], dtype=np.int64)
    return Sequences(np.fromiter(chain.from_iterable(histories), np.int32), offsets)


def random_histories(seed: int, users: int, items: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [
        generator.integers(1, items + 1, size=length).tolist()
        for length in generator.integers(0, 16, size=users)
    ]


def mutual_information(histories: list[list[int]], items: int) -> Matrix:
    counts = np.zeros((items, items))
    for history in histories:
        for place, item in enumerate(history):
            for apart, other in enumerate(history[place + 1 : place + 9]):
                counts[item - 1, other - 1] += 0.8**apart
                counts[other - 1, item - 1] += 0.8**apart
    total = sum(counts[item].sum() ** 0.75 for item in range(items))
    information = np.zeros((items, items))
    for a in range(items):
        for b in range(items):
            if counts[a, b]:
                by_chance = counts[a].sum() * counts[b].sum() ** 0.75 / total
                information[a, b] = max(math.log(counts[a, b] / by_chance), 0)
    return information


def cosines_by_hand(histories: list[list[int]], items: int, dim: int) -> Matrix:
    left, strengths, _ = np.linalg.svd(mutual_information(histories, items))
    vectors = left[:, :dim] * np.sqrt(strengths[:dim])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines: Matrix = vectors @ vectors.T
    return cosines


def cosines(histories: list[list[int]], items: int, dim: int) -> npt.NDArray[np.float32]:
    """They are what is left of the directions when these may be turned together."""
    directions = item_directions(sequences(histories), items, dim)
    assert directions.shape == (items, dim)
    return directions @ directions.T


@pytest.mark.parametrize(("items", "dim"), [(30, 4), (30, 12), (12, 11)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_directions_are_the_singular_vectors_of_the_mutual_information(
    seed: int, items: int, dim: int
) -> None:
    histories = random_histories(seed, users=40, items=items)
    expected = cosines_by_hand(histories, items, dim)
    np.testing.assert_allclose(cosines(histories, items, dim), expected, atol=1e-5)


def test_items_of_a_group_start_together_and_far_from_the_other_groups() -> None:
    histories = random_histories(0, users=200, items=10)
    histories += [[item + 10 for item in history] for history in random_histories(1, users=200, items=10)]
    found = cosines(histories, items=20, dim=2)
    assert found[:10, :10].min() > 0.99
    assert found[10:, 10:].min() > 0.99
    assert np.abs(found[:10, 10:]).max() < 0.01


def test_items_that_were_met_with_none_have_no_direction() -> None:
    histories = [*random_histories(3, users=30, items=8), [9], [10], [9], []]
    norms = np.linalg.norm(item_directions(sequences(histories), items=12, dim=11), axis=1)
    np.testing.assert_allclose(norms[:8], 1, atol=1e-6)
    assert norms[8:].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "histories",
    [
        [],
        [[1], [2]],
        [[1, 1, 1]],
        [[a, b] for a in (1, 2, 3) for b in (1, 2, 3)],
    ],
    ids=["no events", "single events", "one item", "every pair as often as by chance"],
)
def test_a_log_without_structure_gives_no_directions(histories: list[list[int]]) -> None:
    assert not item_directions(sequences(histories), items=3, dim=4).any()


@pytest.mark.parametrize("items", [1, 2])
def test_a_catalogue_may_be_tiny(items: int) -> None:
    norms = np.linalg.norm(item_directions(sequences([[1, items, 1, items]]), items, dim=4), axis=1)
    assert set(norms.round(5).tolist()) <= {0.0, 1.0}


@settings(max_examples=examples(30))
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_the_stretches_in_which_a_log_is_read_change_nothing(seed: int, events_at_once: int) -> None:
    histories = random_histories(seed, users=12, items=9)  # fewer than directions: none is left out
    whole = cosines(histories, items=12, dim=11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.cooccurrence._EVENTS_AT_ONCE", events_at_once)
        np.testing.assert_allclose(cosines(histories, items=12, dim=11), whole, atol=1e-5)


@pytest.mark.parametrize(
    "histories",
    [[[1, 2], [3, 4], [5, 6]], [[1, 2, 3, 4, 5, 6], [4, 5, 6, 1, 2]], [[1, 2]]],
    ids=["three strongest directions alike", "cycle", "one pair"],
)
def test_the_same_log_gives_the_same_directions(histories: list[list[int]]) -> None:
    # Of equal singular values, and of none, the vectors are not unique.
    first, *others = [item_directions(sequences(histories), items=9, dim=8) for _ in range(4)]
    for other in others:
        np.testing.assert_array_equal(other, first)
