"""The one way a model is asked: histories, settings and seeds in, weighted interests out.

Serving and evaluation both ask like this, so that what is measured is what is served.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.batch import HistoryBatch
from model.dimerec import DimeRec
from model.network import Network, network_of
from model.sampler import starting_noises

Vectors = NDArray[np.float32]

InterestMode = Literal["draws", "guidance", "both"]
InterestKind = Literal["draw", "guidance", "counts"]


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

    vectors: Vectors
    """Unit vectors `(interests, dim)`."""
    weights: Vectors
    """Weight of each in a mean over them `(interests,)`, of sum 1; shared, and so not to be written to."""
    kinds: tuple[InterestKind, ...]


class InterestFinder:
    """A model, in evaluation mode and with the weights that it has now, ready to be asked.

    `network`: what computes; None: what is quickest here.
    """

    def __init__(self, model: DimeRec, network: Network | None = None) -> None:
        self._dim = model.config.dim
        self._network = network_of(model) if network is None else network
        self._gate = model.guidance.gate

    @torch.inference_mode()
    def find(
        self,
        history: HistoryBatch,
        settings: Sequence[InterestSettings],
        seeds: Sequence[int],
        added: Vectors | None = None,
    ) -> list[Interests]:
        """The interests of each history, which follow from its own settings and seed and from nothing else.

        `added`: vectors of items that histories may hold beside the model's, as `DimeRec.guide` takes them.
        Histories that ask for as many steps are denoised together.
        """
        guidance = self._network.guide(history, added)
        by_steps: defaultdict[int, list[int]] = defaultdict(list)
        for index, setting in enumerate(settings):
            if setting.mode != "guidance":
                by_steps[setting.steps].append(index)
        drawn: dict[int, Vectors] = {}
        for steps, indices in by_steps.items():
            draws = [settings[index].draws for index in indices]
            start = _noise(draws, [seeds[index] for index in indices], self._dim)
            vectors = self._network.draw(guidance, np.repeat(indices, draws), start, steps)
            ends = accumulate(draws)
            own = (vectors[end - count : end] for end, count in zip(ends, draws, strict=True))
            drawn.update(zip(indices, own, strict=True))
        shares = self._shares(guidance)
        return [
            _weighted(own, drawn.get(index), setting, None if shares is None else shares[index])
            for index, (own, setting) in enumerate(zip(guidance, settings, strict=True))
        ]

    def _shares(self, guidance: Vectors) -> Vectors | None:
        """Of the guidance vectors in the guidance's part `(histories, guidance)`; None: all are equal."""
        if self._gate is None:
            return None
        of_gate = self._gate.logits.weight
        shares: Vectors = self._gate.weights(torch.from_numpy(guidance).to(of_gate)).float().cpu().numpy()
        return shares


@lru_cache(256)
def interest_weights(draws: int, guidance: int, guidance_weight: float) -> Vectors:
    """Weights of `draws` draws and then of `guidance` vectors in their mean, of sum 1.

    Where there are both the guidance has `guidance_weight` of it, however many there are of either. The
    array is shared and cannot be written to.
    """
    if not draws or not guidance:
        weights = np.full(draws + guidance, 1 / (draws + guidance), dtype=np.float32)
    else:
        each = np.array([(1 - guidance_weight) / draws, guidance_weight / guidance], dtype=np.float32)
        weights = each.repeat([draws, guidance])
    weights.flags.writeable = False
    return weights


def history_seeds(history: HistoryBatch, seed: int) -> list[int]:
    """A seed for each history `(batch,)`, from `seed` and the items that the model reads of it alone."""
    rows = zip(history.items.cpu().numpy(), history.mask.cpu().numpy(), strict=True)
    return [zlib.crc32(items[mask].tobytes(), seed & 0xFFFFFFFF) for items, mask in rows]


def _noise(draws: Sequence[int], seeds: Sequence[int], dim: int) -> Vectors:
    """The starting noise of all draws, `(rows, dim)`; that of as many draws is made together."""
    if len(set(draws)) == 1:
        return starting_noises(seeds, draws[0], dim).flatten(0, 1).numpy()
    made: dict[int, Vectors] = {}
    for count in set(draws):
        positions = [index for index, own in enumerate(draws) if own == count]
        together = starting_noises([seeds[index] for index in positions], count, dim).numpy()
        made.update(zip(positions, together, strict=True))
    return np.concatenate([made[index] for index in range(len(draws))])


def _weighted(
    guidance: Vectors, drawn: Vectors | None, setting: InterestSettings, shares: Vectors | None
) -> Interests:
    if drawn is None:
        vectors = guidance
    elif setting.mode == "draws":
        vectors = drawn
    else:
        vectors = np.concatenate([drawn, guidance])
    draws = 0 if drawn is None else len(drawn)
    extracted = len(vectors) - draws
    weights = interest_weights(draws, extracted, setting.guidance_weight)
    if shares is not None and extracted:
        weights = np.concatenate([weights[:draws], weights[draws:].sum() * shares])
    return Interests(vectors, weights, _kinds(draws, extracted))


@lru_cache(256)
def _kinds(draws: int, guidance: int) -> tuple[InterestKind, ...]:
    kinds: list[InterestKind] = ["draw"] * draws
    kinds += ["guidance"] * guidance
    return tuple(kinds)
