"""The common part of the diffusion baselines: a Euclidean forward process and a seeded, strided reverse."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor

from model.batch import HistoryBatch
from model.config import ModelConfig
from model.interests import history_seeds
from model.process import Euclidean
from model.sampler import Denoise, by_level, generate, starting_noise
from training.baselines.network import Baseline, InnerProductScorer, TransformerConfig


class DiffusionConfig(TransformerConfig):
    """The noise and how often it is reduced."""

    timesteps: int = Field(1000, ge=2, le=2000, description="T, noise levels known to the network")
    first_cosine: float = Field(
        0.99, gt=0, lt=1, description="√ᾱ_1, what is left of x_0 at the first level; it falls to 0 at T"
    )
    steps: int = Field(50, ge=1, le=2000, description="reverse steps when it is measured; at most T")
    validation_steps: int = Field(10, ge=1, le=2000, description="reverse steps in the epochs' validation")


class DiffusionBaseline(Baseline):
    """Generates one interest vector from seeded noise.

    Deterministic (DDIM) from noise of length 1, where that of an item vector is of order 1: with a seed that
    follows from the history, the answer is a function of the history.
    """

    def __init__(
        self, config: DiffusionConfig, parts: ModelConfig, items: int, item_std: float = 0.02
    ) -> None:
        super().__init__(config, items, item_std)
        self.validation_steps = config.validation_steps
        self.seed = config.seed
        self.process = Euclidean(parts)

    def denoiser(self, history: HistoryBatch) -> Denoise:
        """The network that predicts x_0 from noise, conditioned on these histories."""
        raise NotImplementedError

    def interests(self, history: HistoryBatch, steps: int | None = None) -> Tensor:
        """`(rows, 1, dim)` of unit norm, after `steps` reverse steps; None: as in validation."""
        dim = self.table.embedding_dim
        noise = [starting_noise(seed, 1, dim) for seed in history_seeds(history, self.seed)]
        start = torch.cat(noise).to(history.items.device)
        cosines, steps = self.process.cosines.tolist(), steps or self.validation_steps
        return generate(by_level(self.denoiser(history)), start, cosines, steps, spherical=False)[:, None]

    def scorer(self, steps: int | None = None) -> InnerProductScorer:
        """The network as a recommender, asked with `steps` reverse steps; None: as in validation."""
        return InnerProductScorer(self, partial(self.interests, steps=steps))
