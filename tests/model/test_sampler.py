"""The reverse process with denoisers whose answer is known."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from model.sampler import generate, starting_noise, trajectory
from model.schedule import mean_cosines, sampling_timesteps
from model.sphere import uniform, unit
from tests.effort import examples

TIMESTEPS = 40
COSINES = mean_cosines(TIMESTEPS, 0.7)


@settings(max_examples=examples(30))
@given(st.integers(1, TIMESTEPS), st.integers(0, 2**31))
def test_an_oracle_is_reached_from_any_start_in_any_number_of_steps(steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, start = uniform(4, 16, generator).double(), uniform(4, 16, generator).double()
    end = generate(lambda x, t: x0, start, COSINES.tolist(), steps)
    assert torch.allclose(end, unit(x0), atol=1e-9)


@pytest.mark.parametrize("steps", [2, 5, TIMESTEPS])
def test_an_oracle_s_intermediate_states_are_the_formula_s(steps: int) -> None:
    # Plain arithmetic, row by row: ε̂ = (x − c_t x0)/√(1−c_t²); x ← (c_s x0 + √(1−c_s²) ε̂) / ‖·‖.
    generator = torch.Generator().manual_seed(7)
    x0, start = unit(uniform(3, 8, generator).double()), unit(uniform(3, 8, generator).double())
    states = dict(trajectory(lambda x, t: x0, start, COSINES.tolist(), steps))
    levels = [*sampling_timesteps(TIMESTEPS, steps), 0]
    assert list(states) == levels
    for row in range(3):
        target, x = x0[row].tolist(), start[row].tolist()
        for t, s in pairwise(levels):
            c, d = COSINES[t].item(), COSINES[s].item()
            noise = [(a - c * b) / math.sqrt(1 - c * c) for a, b in zip(x, target, strict=True)]
            x = [d * b + math.sqrt(1 - d * d) * e for b, e in zip(target, noise, strict=True)]
            norm = math.sqrt(sum(a * a for a in x))
            x = [a / norm for a in x]
            assert states[s][row].tolist() == pytest.approx(x, abs=1e-9)


def test_an_oracle_from_a_right_angle_has_the_schedule_s_cosine_at_every_level() -> None:
    x0 = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)
    start = torch.tensor([[0.0, 1, 0, 0]], dtype=torch.float64)
    for t, x in trajectory(lambda x, t: x0, start, COSINES.tolist(), 10):
        assert (x @ x0.T).item() == pytest.approx(COSINES[t].item(), abs=1e-9)


def exact_posterior(items: Tensor, prior: Tensor, cosines: Tensor) -> object:
    """E[x0 | x_t] when x0 is one of a few items and x_t = c x0 + √(1−c²) z, z ~ N(0, I/d)."""
    dim = items.shape[1]

    def denoise(x: Tensor, t: int) -> Tensor:
        c = cosines[t]
        logits = prior.log() + dim * c * (x @ items.T) / (1 - c.square()).clamp_min(1e-9)
        return logits.softmax(-1) @ items

    return denoise


@pytest.mark.parametrize("steps", [20, 40])
def test_draws_from_an_exact_posterior_follow_it(steps: int) -> None:
    generator = torch.Generator().manual_seed(5)
    items = uniform(5, 64, generator).double()
    prior = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)
    cosines = mean_cosines(TIMESTEPS, 0.95)
    denoise = exact_posterior(items, prior, cosines)
    start = uniform(3000, 64, generator).double()
    draws = generate(denoise, start, cosines.tolist(), steps)  # type: ignore[arg-type]
    counts = (draws @ items.T).argmax(1).bincount(minlength=5)
    assert stats.chisquare(counts.numpy(), (prior * 3000).numpy()).pvalue > 0.01
    assert (draws @ items.T).amax(1).min().item() > 0.9


def test_starting_points_are_opposite_pairs_at_right_angles_and_each_is_uniform() -> None:
    noise = starting_noise(5, 20, 8)
    expected = torch.eye(8).repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected[::2, 1::2] *= -1
    expected[1::2, ::2] *= -1
    assert torch.allclose(noise[:16] @ noise[:16].T, expected, atol=1e-5)
    assert torch.equal(noise[16], -noise[17])  # a second frame, for there are no more right angles
    many = torch.stack([starting_noise(seed, 5, 8) for seed in range(3000)])
    uniform_coordinate = stats.beta(3.5, 3.5, loc=-1, scale=2)  # of a point of S⁷
    for draw in range(5):
        for coordinate in (0, 7):
            assert stats.kstest(many[:, draw, coordinate].numpy(), uniform_coordinate.cdf).pvalue > 1e-3


def test_starting_noise_is_a_function_of_its_seed() -> None:
    assert torch.equal(starting_noise(3, 8, 16), starting_noise(3, 8, 16))
    assert not torch.equal(starting_noise(3, 8, 16), starting_noise(4, 8, 16))
    assert torch.allclose(starting_noise(3, 8, 16).norm(dim=-1), torch.ones(8), atol=1e-6)
