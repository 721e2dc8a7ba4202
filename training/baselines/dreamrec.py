"""DreamRec (Yang et al., NeurIPS 2023): diffuse the next item's embedding, generate an oracle item.

A causal transformer reads the history into a guidance vector; a denoiser predicts the target's embedding x_0
from its noised one, the noise level and the guidance, which a learned dummy replaces in a tenth of the
examples (classifier-free guidance). The squared error is the whole objective: no negatives. The embedding
generated with f̃ = (1 + w) f(guidance) − w f(dummy) ranks the items by inner product. Item vectors start from
N(0, I) and enter the network divided by √d.

Departures: x_0 takes no gradient, for without negatives item vectors that follow their predictions lose what
tells them apart (Amazon Beauty: worse than chance); the denoiser is DimeRec's residual MLP, which corrects
its guidance; the signal falls linearly from `first_cosine` to 0; sampling is DDIM in 50 strided steps instead
of up to 2,000 ancestral ones, two calls each, from noise of the length that N(0, I/d) has on average. It
learns slowly: on Amazon Beauty validation HR@10 is .001 after 8 epochs and .013 after 16; hence a dropout of
its own (docs/experiments.md).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from model.batch import HistoryBatch, PrefixBatch
from model.denoiser import PerceptronDenoiser
from model.guidance import CausalTransformer
from model.losses import reconstruction_loss
from model.sampler import Denoise
from training.baselines.diffusion import DiffusionBaseline, DiffusionConfig
from training.baselines.network import Total


class DreamRecConfig(DiffusionConfig):
    """DreamRec's network and how it is trained."""

    follows_log: ClassVar[frozenset[str]] = frozenset()

    kind: Literal["dreamrec"] = "dreamrec"
    batch_size: int = Field(512, ge=1, le=1_000_000, description="examples (prefixes) per step, about")
    epochs: int = Field(60, ge=1, le=100_000, description="at most this many passes over the data")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="AdamW's, after the warm-up")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout of the network and of what it reads")
    first_cosine: float = Field(
        0.5, gt=0, lt=1, description="√ᾱ_1; with more signal the guidance would have nothing to add"
    )
    hidden: int = Field(256, ge=8, le=8192, description="denoiser: hidden width")
    layers: int = Field(2, ge=1, le=16, description="denoiser: residual layers")
    unconditional: float = Field(0.1, ge=0, lt=1, description="part of the examples without guidance")
    strength: float = Field(2.0, ge=0, description="w of classifier-free guidance")

    def learner(self, items: int) -> "DreamRec":
        """A fresh network for a catalogue of `items`."""
        return DreamRec(self, items)


class DreamRec(DiffusionBaseline):
    """One interest vector: the oracle item's."""

    def __init__(self, config: DreamRecConfig, items: int) -> None:
        parts = config.parts(items, "sasrec")
        super().__init__(config, parts, items, item_std=1.0)
        self.unconditional = config.unconditional
        self.strength = config.strength
        self.timesteps = config.timesteps
        self.scale = config.dim**-0.5
        self.encoder = CausalTransformer(parts)
        self.dummy = nn.Parameter(torch.randn(config.dim))
        self.predict = PerceptronDenoiser(parts)

    def denoiser(self, history: HistoryBatch) -> Denoise:
        """Classifier-free guidance by these histories."""
        guidance = self.encoder(self.table(history.items) * self.scale, history.mask) * self.scale
        dummy = (self.dummy * self.scale).expand_as(guidance)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            guided, free = self.predict(x_t, t, guidance), self.predict(x_t, t, dummy)
            extrapolated: Tensor = (1 + self.strength) * guided - self.strength * free
            return extrapolated

        return denoise

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Total:
        """‖x_0 − f(x_t, t, g)‖² at every prefix, in one pass of the encoder."""
        history, positions, targets, _ = batch
        states = self.encoder.prefixes(self.table(history.items) * self.scale, history.mask)
        guidance = states.flatten(0, 2)[positions]
        free = torch.rand(targets.shape, generator=generator, device=targets.device) < self.unconditional
        guidance = torch.where(free[:, None], self.dummy, guidance) * self.scale
        x0 = self.table(targets).detach() * self.scale
        t = torch.randint(1, self.timesteps + 1, targets.shape, generator=generator, device=targets.device)
        m = self.predict(self.process(x0, t, generator), t, guidance[:, None])
        return Total(reconstruction_loss(x0, m))
