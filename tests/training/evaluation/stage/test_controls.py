"""The controls against their formulas, and against the laws that they are drawn from."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import make_unit_vectors
from training.evaluation.stage.controls import (
    MAX_PULL,
    chance,
    cosines,
    fitted_pull,
    leaders,
    pulled,
    sampled_items,
)


def interests(rows: int, count: int, dim: int, seed: int) -> np.ndarray:
    return make_unit_vectors(rows * count, dim, seed).reshape(rows, count, dim)


def test_a_draw_belongs_to_the_guidance_that_it_is_nearest_to() -> None:
    draws, guidance = interests(5, 4, 8, 0), interests(5, 3, 8, 1)
    found = leaders(draws, guidance)
    for row in range(5):
        for draw in range(4):
            of_each = [
                sum(a * b for a, b in zip(draws[row, draw], one, strict=True)) for one in guidance[row]
            ]
            assert found[row, draw] == pytest.approx(guidance[row, int(np.argmax(of_each))])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_chance_keeps_each_draw_s_cosine_and_comes_in_opposite_pairs(seed: int, count: int) -> None:
    draws = interests(3, count, 8, seed % 1000)
    led_by = np.repeat(interests(3, 1, 8, 1000), count, axis=1)  # of no seed that draws have
    found = chance(draws, led_by, [seed, seed // 2, 3])
    assert np.linalg.norm(found, axis=-1) == pytest.approx(1, abs=1e-5)
    assert cosines(found, led_by) == pytest.approx(cosines(draws, led_by), abs=1e-5)
    turns = found - cosines(draws, led_by)[..., None] * led_by
    for first in range(0, count - 1, 2):
        turned = turns[:, first] / np.linalg.norm(turns[:, first], axis=-1, keepdims=True)
        back = turns[:, first + 1] / np.linalg.norm(turns[:, first + 1], axis=-1, keepdims=True)
        assert turned == pytest.approx(-back, abs=1e-4)
    assert np.array_equal(found[1:], chance(draws[1:], led_by[1:], [seed // 2, 3]))


def test_chance_is_uniform_in_the_tangent() -> None:
    draws, led_by = np.repeat(interests(1, 1, 6, 0), 4000, 0), np.repeat(interests(1, 1, 6, 1), 4000, 0)
    found = chance(draws, led_by, range(4000))[:, 0]
    turns = found - cosines(found, led_by[:, 0])[:, None] * led_by[:, 0]
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    assert np.abs(turns.mean(axis=0)).max() < 0.03
    guidance = led_by[0, 0]
    expected = (np.eye(6) - np.outer(guidance, guidance)) / 5
    assert np.abs(turns.T @ turns / 4000 - expected).max() < 0.015


def test_items_are_drawn_by_the_softmax_of_the_guidance() -> None:
    vectors, guidance = make_unit_vectors(7, 4), interests(1, 1, 4, 3)
    found = sampled_items(np.repeat(guidance, 6000, 0), vectors, 0.5, range(6000))[:, 0]
    weights = [math.exp(float(guidance[0, 0] @ vector) / 0.5) for vector in vectors]
    expected = np.array(weights) / sum(weights)
    deviations = np.sqrt(expected * (1 - expected) / 6000)
    assert (np.abs(np.bincount(found, minlength=7) / 6000 - expected) < 5 * deviations).all()


def test_a_lower_temperature_leaves_the_nearest_item_alone() -> None:
    vectors, guidance = make_unit_vectors(50, 8), interests(4, 2, 8, 2)
    found = sampled_items(guidance, vectors, 1e-3, range(4))
    assert np.array_equal(found, (guidance @ vectors.T).argmax(axis=2))


@given(st.integers(0, 1000), st.floats(0.05, 0.99))
def test_the_pull_gives_the_wanted_mean_cosine(seed: int, wanted: float) -> None:
    led_by, items = interests(20, 4, 8, seed), interests(20, 4, 8, seed + 1)
    pull = fitted_pull(cosines(led_by, items), wanted)
    found = float(cosines(pulled(led_by, items, pull), led_by).mean())
    if 0 < pull < MAX_PULL:
        assert found == pytest.approx(wanted, abs=1e-4)
    else:
        assert float(cosines(led_by, items).mean()) >= wanted - 1e-3


def test_draws_that_are_the_guidance_are_not_pulled_at_all() -> None:
    assert fitted_pull(np.array([0.1, 0.4]), 1.0) == 0
