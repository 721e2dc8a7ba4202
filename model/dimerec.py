"""DimeRec (Li et al., WSDM 2025): GEM guides, DAM generates the embeddings of the next interests."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from model import sampler
from model.batch import HistoryBatch, PrefixBatch
from model.config import ModelConfig
from model.denoiser import build_denoiser
from model.embeddings import ItemTable
from model.guidance import build_guidance
from model.losses import Choices, guidance_loss, mixture_loss, reconstruction_loss, sampled_softmax_loss
from model.process import build_process
from model.schedule import mean_cosines
from model.sphere import unit


class Losses(NamedTuple):
    """Scalars of one batch: L_gem, L_gem of later items, L_recon, L_ssm (unweighted), their weighted sum."""

    guidance: Tensor
    later: Tensor
    reconstruction: Tensor
    softmax: Tensor
    total: Tensor


class DimeRec(nn.Module):
    """Item table, guidance extraction module and diffusion aggregation module.

    `table`: the item table's weights, where they are known, as `model.embeddings.ItemTable` takes them.
    """

    def __init__(self, config: ModelConfig, table: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.cosines: list[float] = mean_cosines(config.timesteps, config.first_cosine).float().tolist()
        self.items = ItemTable(config.items, config.dim, table)
        self.guidance = build_guidance(config)
        self.process = build_process(config)
        self.denoiser = build_denoiser(config)

    def guide(self, history: HistoryBatch, added: Tensor | None = None) -> Tensor:
        """GEM: unit guidance vectors `(batch, interests, dim)`.

        `added` `(rows, dim)`: unit vectors of items that the model has not learned, whose rows in `history`
        come after those of the item table.
        """
        vectors = self.items(history.items) if added is None else self._with_added(history.items, added)
        return unit(self.guidance(vectors, history.mask))

    def _with_added(self, rows: Tensor, added: Tensor) -> Tensor:
        """The vectors `(…, dim)` of rows `(…)` of the item table and after it."""
        new = rows > self.config.items
        vectors: Tensor = self.items(rows.masked_fill(new, 0))
        vectors[new] = added[rows[new] - self.config.items - 1].to(vectors.dtype)
        return vectors

    def generate(
        self,
        guidance: Tensor,
        start: Tensor,
        steps: int,
    ) -> Tensor:
        """DAM: one interest embedding per row, `(rows, dim)` of unit norm.

        One row per draw: for M draws repeat each user's `guidance` `(rows, interests, dim)` M times and
        give each row its own `start` `(rows, dim)`, uniform on the sphere. `steps` in 1 … T.
        A row's answer does not depend on the other rows. Without a noise process
        `start` and `steps` decide nothing.
        """
        log_shares = self.guidance.log_shares(guidance)
        denoise = partial(self.denoiser, guidance=guidance, log_shares=log_shares)
        return self.reverse(sampler.by_level(denoise), start, steps)

    def reverse(self, denoise: sampler.Step, start: Tensor, steps: int) -> Tensor:
        """`generate` with a denoiser that knows the guidance of its rows already (`model.frozen`)."""
        if self.config.process == "none":
            return unit(denoise(torch.zeros_like(start), self.config.timesteps))

        def projected(x_t: Tensor, t: int) -> Tensor:
            m = denoise(x_t, t)
            return unit(m) if self.config.project_reconstruction else m

        spherical = self.config.process != "euclidean"
        return sampler.generate(projected, start, self.cosines, steps, spherical=spherical)

    def item_vectors(self) -> Tensor:
        """Unit vectors of the catalogue `(items, dim)`; line i is item row i + 1."""
        return self.items.all()

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Losses:
        """L = L_gem + ω L_later + λ L_recon + μ L_ssm over the prefixes of a batch and what followed them."""
        config = self.config
        history, positions, targets, later = batch
        candidates = self._candidates(targets.device, generator)
        # One look-up for all, for each has a gradient as large as the table.
        rows = [history.items.flatten(), targets, later, candidates]
        events, x0, x_later, vectors = self.items(torch.cat(rows)).split([len(part) for part in rows])
        states = self.guidance.prefixes(events.view(*history.items.shape, -1), history.mask)
        guidance = unit(states.flatten(0, 1)[positions])
        choices, later_choices = (self._choices(vectors, candidates, wanted) for wanted in (targets, later))
        for_next, log_shares = self.guidance.for_next(guidance), self.guidance.log_shares(guidance)
        if log_shares is None:
            of_guidance = guidance_loss(for_next, x0, choices, config.temperature)
        else:
            of_guidance = mixture_loss(for_next, log_shares, x0, choices, config.temperature)
        of_later = guidance_loss(
            self.guidance.for_later(guidance), x_later, later_choices, config.temperature, present=later > 0
        )

        clean = x0.detach() if config.detach_target else x0
        t = self._levels(targets, generator)
        m = self.denoiser(self.process(clean, t, generator), t, guidance, log_shares)
        prediction = unit(m)
        of_reconstruction = reconstruction_loss(clean, prediction if config.project_reconstruction else m)
        of_softmax = sampled_softmax_loss(prediction, x0, choices, config.temperature)
        total = (
            of_guidance
            + config.later_weight * of_later
            + config.reconstruction_weight * of_reconstruction
            + config.softmax_weight * of_softmax
        )
        return Losses(of_guidance, of_later, of_reconstruction, of_softmax, total)

    def _levels(self, targets: Tensor, generator: Generator | None) -> Tensor:
        if self.config.process == "none":
            return self._last_level(targets)
        highest = self.config.timesteps + 1
        return torch.randint(1, highest, targets.shape, generator=generator, device=targets.device)

    def _last_level(self, rows: Tensor) -> Tensor:
        return torch.full(rows.shape[:1], self.config.timesteps, device=rows.device)

    def _candidates(self, device: torch.device, generator: Generator | None) -> Tensor:
        """Uniform negatives shared by the batch; the whole catalogue where it is no larger than that."""
        config = self.config
        if config.negatives >= config.items:
            return torch.arange(1, config.items + 1, device=device)
        return torch.randint(1, config.items + 1, (config.negatives,), generator=generator, device=device)

    def _choices(self, vectors: Tensor, candidates: Tensor, targets: Tensor) -> Choices:
        """Each candidate stands for its share of the catalogue, so that a sample's sum is unbiased."""
        log_weight = math.log(self.config.items / len(candidates))
        return Choices(vectors, targets[:, None] == candidates, log_weight)
