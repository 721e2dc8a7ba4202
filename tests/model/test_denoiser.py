"""What the denoisers make of a noisy point and the guidance."""

import math

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.denoiser import PosteriorDenoiser
from model.dropout import Dropout
from model.schedule import mean_cosines
from model.sphere import uniform


def fresh(guidance_vectors: int = 1, dim: int = 16) -> PosteriorDenoiser:
    config = ModelConfig(items=50, dim=dim, guidance_vectors=guidance_vectors, temperature=0.2, timesteps=8)
    return PosteriorDenoiser(config).double()


def points(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return uniform(math.prod(shape[:-1]), shape[-1], generator).double().view(shape)


@pytest.mark.parametrize("t", [1, 4, 8])
def test_before_training_it_is_the_posterior_by_bayes_rule(t: int) -> None:
    denoiser = fresh()
    items, guidance, x_t = points(0, 50, 16), points(1, 3, 1, 16), points(2, 3, 16)
    cosine = float(mean_cosines(8, denoiser_signal())[t])
    prior = (guidance[:, 0] @ items.T / 0.2).softmax(-1)
    noise = torch.distributions.Normal(0.0, math.sqrt((1 - cosine**2) / 16))
    likelihood = noise.log_prob(x_t[:, None] - cosine * items).sum(-1).exp()
    posterior = prior * likelihood / (prior * likelihood).sum(-1, keepdim=True)
    m = denoiser(x_t, torch.full((3,), t), guidance)
    assert torch.allclose((m @ items.T / 0.2).softmax(-1), posterior, atol=1e-5)
    assert (posterior - prior).abs().max() > 1e-3 or t == 8


def denoiser_signal() -> float:
    return ModelConfig(items=50, dim=16).first_cosine


def test_pure_noise_changes_nothing_before_training() -> None:
    guidance = points(1, 4, 2, 16)
    denoiser, level = fresh(guidance_vectors=2), torch.full((4,), 8)
    one, other = (denoiser(points(seed, 4, 16), level, guidance) for seed in (2, 3))
    assert torch.allclose(one, other, atol=1e-12)
    assert torch.allclose(one, guidance.mean(1), atol=1e-12)


def test_with_affinity_the_interest_that_the_point_is_near_counts_most() -> None:
    guidance = points(1, 4, 2, 16)
    denoiser, level = fresh(guidance_vectors=2), torch.full((4,), 8)
    with torch.no_grad():
        denoiser.affinity.weight[:] = 50.0
    for place in (0, 1):
        m = denoiser(guidance[:, place], level, guidance)
        assert torch.allclose(m, guidance[:, place], atol=1e-3)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    dropout = Dropout(0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = dropout.train()(torch.ones(200_000))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=5e-3)
    assert torch.equal(dropout.eval()(torch.ones(5)), torch.ones(5))
