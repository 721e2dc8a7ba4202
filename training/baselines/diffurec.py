"""DiffuRec (Li et al., TOIS 2023): the history, made uncertain by the noised target, restores the target.

To each event's embedding comes λ (x_t + embed(t)), where x_t is the noised embedding of the target and
λ ~ N(δ, δ) element by element, δ = 0.001. A transformer's state at the newest event is the estimate of x_0,
trained by a softmax over every item and refined from pure noise in T = 32 reverse steps.

Departures: the transformer is causal, where the paper's looks both ways, so that one pass learns from all
prefixes. For that each event carries the noised embedding of *its own* successor, and not all of them that of
the last; when asked, the successors within the history are known, and stand there without noise. When asked,
λ is its mean and the reverse steps are deterministic (DDIM). The signal falls linearly, noise has the length
of a unit vector, and width and depth are those of the other baselines (the paper: d = 128, four blocks).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from model.batch import HistoryBatch, PrefixBatch
from model.embeddings import timestep_features
from model.guidance import CausalTransformer
from model.sampler import Denoise
from training.baselines.diffusion import DiffusionBaseline, DiffusionConfig
from training.baselines.network import SoftmaxConfig, Total, softmax_loss


class DiffuRecConfig(DiffusionConfig, SoftmaxConfig):
    """DiffuRec's network and how it is trained."""

    kind: Literal["diffurec"] = "diffurec"
    negatives: int | None = Field(None, ge=1, description="as in SASRec; unset: the paper's full softmax")
    timesteps: int = Field(32, ge=2, le=2000, description="T, noise levels known to the network")
    steps: int = Field(32, ge=1, le=2000, description="reverse steps when it is measured; at most T")
    validation_steps: int = Field(1, ge=1, le=2000, description="reverse steps in the epochs' validation")
    uncertainty: float = Field(0.001, ge=0, description="δ, mean and deviation of the weight λ of the target")

    def learner(self, items: int) -> "DiffuRec":
        """A fresh network for a catalogue of `items`."""
        return DiffuRec(self, items)


class DiffuRec(DiffusionBaseline):
    """One interest vector: the restored target."""

    def __init__(self, config: DiffuRecConfig, items: int) -> None:
        parts = config.parts(items, "sasrec")
        super().__init__(config, parts, items)
        self.negatives = config.negatives
        self.timesteps = config.timesteps
        self.uncertainty = config.uncertainty
        self.encoder = CausalTransformer(parts)
        self.level = nn.Sequential(
            nn.Linear(config.dim, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim)
        )

    def denoiser(self, history: HistoryBatch) -> Denoise:
        """The state at the newest event, whose successor is what is sought."""
        vectors = self.table(history.items)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            known = self.process.cosines[t, None, None] * vectors[:, 1:]
            noised = torch.cat([known, x_t[:, None]], dim=1)
            levels = t[:, None].expand_as(history.items)
            weights = torch.full_like(vectors, self.uncertainty)
            restored: Tensor = self._restore(history, noised, levels, weights)[:, -1]
            return restored

        return denoise

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Total:
        """The softmax loss of every prefix's restored target, in one pass."""
        history, positions, targets, _ = batch
        successors = history.items.roll(-1, dims=1).flatten().index_copy(0, positions, targets)
        t = torch.randint(1, self.timesteps + 1, successors.shape, generator=generator, device=targets.device)
        noised = self.process(self.table(successors), t, generator)
        weights = self.uncertainty * (
            1 + torch.randn(noised.shape, generator=generator, device=targets.device)
        )
        shape = (*history.items.shape, -1)
        restored = self._restore(history, noised.view(shape), t.view_as(history.items), weights.view(shape))
        return Total(
            softmax_loss(self.table, restored.flatten(0, 1)[positions], targets, self.negatives, generator)
        )

    def _restore(self, history: HistoryBatch, noised: Tensor, t: Tensor, weights: Tensor) -> Tensor:
        """Estimates of x_0 `(rows, length, dim)`, each event's successor's.

        `noised` and `weights` (λ) `(rows, length, dim)`, `t` `(rows, length)` levels.
        """
        level = self.level(timestep_features(t.flatten(), noised.shape[-1])).view_as(noised)
        uncertain = self.table(history.items) + weights * (noised + level)
        states: Tensor = self.encoder.prefixes(uncertain, history.mask)
        return states[:, :, 0]
