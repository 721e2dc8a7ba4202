"""The one way a model is asked: histories, settings and seeds in, weighted interests out.

Serving and evaluation both ask like this, so that what is measured is what is served.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from model.batch import HistoryBatch
from model.dimerec import DimeRec
from model.sampler import starting_noise

InterestMode = Literal["draws", "guidance", "both"]
InterestKind = Literal["draw", "guidance"]


class InterestSettings(NamedTuple):
    """Settings of the interests of one history."""

    draws: int
    """Interests that the diffusion generates."""
    steps: int
    """Denoising steps."""
    mode: InterestMode
    guidance_weight: float
    """Part of the guidance where the interests are of both kinds, 0 … 1; the draws have the rest."""


class Interests(NamedTuple):
    """The interests of one history: the draws first, then the guidance vectors."""

    vectors: Tensor
    """Unit vectors `(interests, dim)`."""
    weights: Tensor
    """Weight of each in a mean over them `(interests,)`, of sum 1."""
    kinds: tuple[InterestKind, ...]


@torch.inference_mode()
def find_interests(
    model: DimeRec, history: HistoryBatch, settings: Sequence[InterestSettings], seeds: Sequence[int]
) -> list[Interests]:
    """The interests of each history, which follow from its own settings and seed and from nothing else.

    The model is in evaluation mode. Histories that ask for as many steps are denoised together.
    """
    guidance = model.guide(history)
    drawn = _drawn(model, guidance, settings, seeds)
    return [
        _weighted(own, drawn.get(index), setting)
        for index, (own, setting) in enumerate(zip(guidance, settings, strict=True))
    ]


def interest_weights(draws: int, guidance: int, guidance_weight: float) -> Tensor:
    """Weights of `draws` draws and then of `guidance` vectors in their mean, of sum 1.

    Where there are both the guidance has `guidance_weight` of it, however many there are of either.
    """
    if not draws or not guidance:
        return torch.full((draws + guidance,), 1 / (draws + guidance))
    each = torch.tensor([(1 - guidance_weight) / draws, guidance_weight / guidance])
    return each.repeat_interleave(torch.tensor([draws, guidance]))


def history_seeds(history: HistoryBatch, seed: int) -> list[int]:
    """A seed for each history `(batch,)`, from `seed` and the items that the model reads of it alone."""
    rows = zip(history.items.cpu().numpy(), history.mask.cpu().numpy(), strict=True)
    return [zlib.crc32(items[mask].tobytes(), seed & 0xFFFFFFFF) for items, mask in rows]


def _drawn(
    model: DimeRec, guidance: Tensor, settings: Sequence[InterestSettings], seeds: Sequence[int]
) -> dict[int, Tensor]:
    """The draws `(draws, dim)` of each history that has any, by its index in the batch."""
    by_steps: defaultdict[int, list[int]] = defaultdict(list)
    for index, setting in enumerate(settings):
        if setting.mode != "guidance":
            by_steps[setting.steps].append(index)
    drawn: dict[int, Tensor] = {}
    for steps, indices in by_steps.items():
        draws = [settings[index].draws for index in indices]
        noise = [starting_noise(seeds[index], settings[index].draws, model.config.dim) for index in indices]
        repeats = torch.tensor(indices).repeat_interleave(torch.tensor(draws)).to(guidance.device)
        vectors = model.generate(guidance[repeats], torch.cat(noise).to(guidance.device), steps)
        drawn.update(zip(indices, vectors.split_with_sizes(draws), strict=True))
    return drawn


def _weighted(guidance: Tensor, drawn: Tensor | None, setting: InterestSettings) -> Interests:
    parts = [] if drawn is None else [drawn]
    if setting.mode != "draws":
        parts.append(guidance)
    vectors = torch.cat(parts).float()
    draws = 0 if drawn is None else len(drawn)
    extracted = len(vectors) - draws
    weights = interest_weights(draws, extracted, setting.guidance_weight)
    kinds: list[InterestKind] = ["draw"] * draws
    kinds += ["guidance"] * extracted
    return Interests(vectors, weights, tuple(kinds))
