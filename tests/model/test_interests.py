"""The one way a model is asked: each history for itself, weights that sum to 1."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.batch import collate
from model.interests import InterestMode, InterestSettings, find_interests, history_seeds, interest_weights
from tests.factories import make_model


@given(st.integers(1, 32), st.integers(1, 8), st.floats(0, 1))
def test_the_guidance_has_its_weight_however_many_draws_there_are(
    draws: int, guidance: int, weight: float
) -> None:
    given = interest_weights(draws, guidance, weight)
    assert given.shape == (draws + guidance,)
    assert given[:draws].sum().item() == pytest.approx(1 - weight, abs=1e-5)
    assert given[draws:].sum().item() == pytest.approx(weight, abs=1e-5)
    assert len(set(given[:draws].tolist())) == len(set(given[draws:].tolist())) == 1


@given(st.integers(1, 32))
def test_interests_of_one_kind_weigh_the_same(count: int) -> None:
    for weights in (interest_weights(count, 0, 0.9), interest_weights(0, count, 0.1)):
        torch.testing.assert_close(weights, torch.full((count,), 1 / count))


def test_each_history_is_asked_as_its_own_settings_say() -> None:
    model = make_model(60, guidance_vectors=2)
    histories, seeds = [[1, 2, 3], [9], [4, 4, 5, 60], [7, 8]], [3, 1, 4, 1]
    modes: list[InterestMode] = ["draws", "guidance", "both", "draws"]
    asked = [InterestSettings(2 + place, 1 + place % 2, mode, 0.25) for place, mode in enumerate(modes)]
    together = find_interests(model, collate(histories, 20), asked, seeds)
    kinds = [("draw",) * 2, ("guidance",) * 2, ("draw",) * 4 + ("guidance",) * 2, ("draw",) * 5]
    assert [found.kinds for found in together] == kinds
    for found, history, setting, seed in zip(together, histories, asked, seeds, strict=True):
        (alone,) = find_interests(model, collate([history], 20), [setting], [seed])
        torch.testing.assert_close(found.vectors, alone.vectors)
        torch.testing.assert_close(found.weights.sum(), torch.tensor(1.0))
        torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(len(found.kinds)))


def test_seeds_of_histories_follow_from_what_is_read_alone() -> None:
    one, padded, other = (collate(rows, 20) for rows in ([[1, 2]], [[1, 2], [3] * 20], [[2, 1]]))
    assert history_seeds(one, 7) == history_seeds(padded, 7)[:1]
    assert history_seeds(one, 7) != history_seeds(other, 7)
    assert history_seeds(one, 7) != history_seeds(one, 8)
