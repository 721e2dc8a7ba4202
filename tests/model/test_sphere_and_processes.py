"""The forward processes against their formulas, by independent arithmetic."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from model.config import ModelConfig, ProcessKind
from model.process import build_process
from model.schedule import mean_cosines, sampling_timesteps, step_cosine, step_deviations
from model.sphere import exponential_map, geodesic_step, tangent, uniform, unit

DIM = 24


def config(process: ProcessKind = "geodesic", **fields: object) -> ModelConfig:
    values = {"items": 5, "dim": DIM, "timesteps": 8, "first_cosine": 0.6, "process": process, **fields}
    return ModelConfig.model_validate(values)


def noised(process: ProcessKind, t: int, count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(t)
    x0 = uniform(1, DIM, generator).expand(count, DIM)
    return x0, build_process(config(process))(x0, torch.full((count,), t), generator)


def test_exponential_map_walks_the_great_circle_by_the_length_of_the_tangent() -> None:
    generator = torch.Generator().manual_seed(0)
    x = uniform(100, DIM, generator)
    v = tangent(x, torch.randn(100, DIM, generator=generator))
    y = exponential_map(x, v)
    assert torch.allclose((x * v).sum(-1), torch.zeros(100), atol=1e-5)
    expected = torch.cos(v.norm(dim=-1))
    assert torch.allclose((x * y).sum(-1), expected, atol=1e-5)
    assert torch.allclose(exponential_map(x, torch.zeros_like(x)), x, atol=1e-6)


@given(st.integers(4, 64), st.floats(0, math.pi), st.integers(0, 2**31))
def test_a_geodesic_step_goes_as_far_as_asked_and_stays_on_the_sphere(
    dim: int, angle: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = uniform(3, dim, generator).double()
    y = geodesic_step(x, torch.full((3, 1), angle, dtype=torch.float64), generator)
    assert torch.allclose(y.norm(dim=-1), torch.ones(3, dtype=torch.float64), atol=1e-9)
    cosines = (unit(x) * y).sum(-1).clamp(-1, 1)
    assert torch.allclose(cosines, torch.full_like(cosines, math.cos(angle)), atol=1e-6)


@pytest.mark.parametrize("process", ["geodesic", "gaussian"])
@pytest.mark.parametrize("t", [1, 4, 8])
def test_noise_stays_on_the_sphere_and_its_mean_cosine_is_the_schedule(process: ProcessKind, t: int) -> None:
    x0, x_t = noised(process, t)
    assert torch.allclose(x_t.norm(dim=-1), torch.ones(len(x_t)), atol=1e-5)
    expected = mean_cosines(8, 0.6)[t].item()
    assert (x0 * x_t).sum(-1).mean().item() == pytest.approx(expected, abs=0.015)


def test_the_first_step_has_the_angle_of_a_normal_tangent_vector() -> None:
    # x_1 = exp_{x0}(v), v ~ N(0, σ² P): the angle ‖v‖ / σ follows the chi law with d − 1 degrees.
    x0, x_1 = noised("geodesic", 1)
    angle = (x0 * x_1).sum(-1).clamp(-1, 1).arccos().numpy()
    sigma = step_deviations(mean_cosines(8, 0.6), DIM)[0].item()
    assert stats.kstest(angle / sigma, stats.chi(DIM - 1).cdf).pvalue > 0.01


@pytest.mark.parametrize("t", [2, 5])
def test_later_steps_have_the_angle_of_the_walk_simulated_step_by_step(t: int) -> None:
    x0, x_t = noised("geodesic", t, count=40_000)
    generator = torch.Generator().manual_seed(99)
    walker = x0.double()
    for sigma in step_deviations(mean_cosines(8, 0.6), DIM)[:t].tolist():
        v = tangent(walker, sigma * torch.randn(walker.shape, generator=generator, dtype=torch.float64))
        walker = exponential_map(walker, v)
    jumped, walked = ((x0 * x).sum(-1).clamp(-1, 1).arccos().numpy() for x in (x_t, walker))
    assert stats.ks_2samp(jumped, walked).pvalue > 0.01


@pytest.mark.parametrize("process", ["geodesic", "gaussian"])
def test_at_the_last_level_the_marginal_is_what_sampling_starts_from(process: ProcessKind) -> None:
    # One coordinate c of a uniform point of S^{d−1}: (c + 1) / 2 follows Beta((d−1)/2, (d−1)/2).
    x0, x_t = noised(process, 8, count=20_000)
    cosine = (x0 * x_t).sum(-1).numpy()
    half = (DIM - 1) / 2
    assert stats.kstest((cosine + 1) / 2, stats.beta(half, half).cdf).pvalue > 0.01
    start = uniform(20_000, DIM, torch.Generator().manual_seed(3))
    assert stats.ks_2samp(cosine, start[:, 0].numpy()).pvalue > 0.01


def test_gaussian_angle_matches_a_direct_simulation() -> None:
    x0, x_t = noised("gaussian", 3)
    c = mean_cosines(8, 0.6)[3].item()
    random = np.random.default_rng(0)
    raw = c * x0.numpy() + math.sqrt(1 - c * c) * random.standard_normal(x0.shape) / math.sqrt(DIM)
    expected = (raw * x0.numpy()).sum(1) / np.linalg.norm(raw, axis=1)
    assert stats.ks_2samp((x0 * x_t).sum(-1).numpy(), expected).pvalue > 0.01


def test_the_euclidean_process_is_ddpm_with_noise_of_the_data_s_norm() -> None:
    x0, x_t = noised("euclidean", 4)
    c = mean_cosines(8, 0.6)[4].item()
    noise = (x_t - c * x0) / math.sqrt(1 - c * c)
    assert noise.mean(0).abs().max().item() < 0.02
    assert noise.var(0).mean().item() == pytest.approx(1 / DIM, rel=0.05)


@pytest.mark.parametrize("dim", [4, 24, 64])
def test_step_cosine_is_the_expected_cosine_of_the_step(dim: int) -> None:
    sigma = 0.7 / math.sqrt(dim)
    draws = sigma * stats.chi(dim - 1).rvs(200_000, random_state=1)
    computed = step_cosine(torch.tensor([sigma], dtype=torch.float64), dim).item()
    assert computed == pytest.approx(np.cos(draws).mean(), abs=2e-3)


@given(st.integers(2, 200), st.data())
def test_sampling_levels_go_down_from_the_last_one(timesteps: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, timesteps))
    levels = sampling_timesteps(timesteps, steps)
    assert len(levels) == steps
    assert levels[0] == timesteps
    assert levels[-1] >= 1
    assert all(a > b for a, b in pairwise(levels))


@pytest.mark.parametrize("steps", [0, 9])
def test_a_number_of_steps_that_the_model_does_not_know_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 8"):
        sampling_timesteps(8, steps)
