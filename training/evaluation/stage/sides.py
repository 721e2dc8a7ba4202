"""Sides of the comparison: each answers a history with weighted interests, seen as scores of all items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from bundle.manifest import ServingDefaults
from index.merging import Merge
from model.batch import windows
from model.dimerec import DimeRec
from model.interests import (
    InterestFinder,
    InterestMode,
    InterestSettings,
    Vectors,
    history_seeds,
)
from training.data.splits import Histories
from training.evaluation.scorer import Scorer
from training.evaluation.stage.controls import chance, cosines, leaders, pulled, sampled_items

Kind = Literal["draws", "chance", "samples"]
"""Origin of the draws: the diffusion, or one of the two controls."""


class Answer(NamedTuple):
    """Interests of some histories."""

    affinities: Tensor
    """Of each interest with every item, `(rows, interests, items)` float32: cosines or scores."""
    weights: Vectors
    """Of the interests in their mean `(rows, interests)`, of sum 1."""
    draws: Vectors | None = None
    """Those of the interests, the first ones, that are drawn: unit vectors `(rows, draws, dim)`."""
    guidance_cosines: Vectors | None = None
    """Of each of them with the guidance that it belongs to `(rows, draws)`."""


class Side(Protocol):
    """A recommender as the comparison sees it."""

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        ...

    @property
    def interests(self) -> int:
        """Interests of each history."""
        ...

    @property
    def seeded(self) -> bool:
        """True where the answer depends on the seed."""
        ...

    def answer(self, histories: Histories, seed: int) -> Answer:
        """Its interests; no row depends on another."""
        ...


@dataclass(frozen=True)
class ScorerSide:
    """A recommender with one score an item."""

    scorer: Scorer
    seeded: bool = False

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return self.scorer.items

    @property
    def interests(self) -> int:
        """One."""
        return 1

    def answer(self, histories: Histories, seed: int) -> Answer:  # noqa: ARG002
        """Its scores as one interest's."""
        scores = torch.from_numpy(np.array(self.scorer.score(histories), np.float32))
        return Answer(scores[:, None], np.ones((len(scores), 1), np.float32))


class _Found(NamedTuple):
    """A model's interests of some histories."""

    vectors: Vectors
    """`(rows, interests, dim)`"""
    weights: Vectors
    """`(rows, interests)`"""
    seeds: list[int]
    """Of each history."""


class ModelSide:
    """A DimeRec model, asked as `serving` says, in a mode, with draws of a kind."""

    def __init__(
        self,
        model: DimeRec,
        serving: ServingDefaults,
        mode: InterestMode,
        kind: Kind = "draws",
        pull: float = 0.0,
    ) -> None:
        """`pull`: the weight of the sampled item, of `samples`."""
        self._model = model.eval()
        self._finder = InterestFinder(model)
        self._serving = serving
        self._mode: InterestMode = mode
        self._kind = kind
        self.pull = pull
        with torch.inference_mode():
            self._vectors = model.item_vectors().float()

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._vectors)

    @property
    def seeded(self) -> bool:
        """True but for guidance alone."""
        return self._mode != "guidance"

    @property
    def interests(self) -> int:
        """As in serving."""
        draws = 0 if self._mode == "guidance" else self._serving.draws
        return draws + (0 if self._mode == "draws" else self._model.config.guidance_count)

    def answer(self, histories: Histories, seed: int) -> Answer:
        """Draws first, then the guidance; those of both that the mode has."""
        if self._mode == "guidance":
            found = self._found(histories, "guidance", seed)
            return Answer(self._affinities(found.vectors), found.weights)
        found = self._found(histories, "both", seed)
        draws, guidance = self._parts(found)
        led_by = leaders(draws, guidance)
        draws = self._replaced(draws, led_by, found.seeds)
        if self._mode == "draws":
            vectors, weights = draws, np.full(draws.shape[:2], 1 / draws.shape[1], np.float32)
        else:
            vectors, weights = np.concatenate([draws, guidance], axis=1), found.weights
        return Answer(self._affinities(vectors), weights, draws, cosines(draws, led_by))

    def guidance_cosines(self, histories: Histories, seed: int) -> tuple[Vectors, Vectors]:
        """Of the model's draws, and of the items that `samples` draws in their place `(rows, draws)`.

        Each with the guidance that the draw is nearest to.
        """
        found = self._found(histories, "both", seed)
        draws, guidance = self._parts(found)
        led_by = leaders(draws, guidance)
        return cosines(draws, led_by), cosines(led_by, self._sampled(led_by, found.seeds))

    def _parts(self, found: _Found) -> tuple[Vectors, Vectors]:
        """The draws and the guidance."""
        draws, guidance = np.split(found.vectors, [self._serving.draws], axis=1)
        return draws, guidance

    def _found(self, histories: Histories, mode: InterestMode, seed: int) -> _Found:
        config = self._model.config
        history = windows(histories.items, histories.starts, histories.ends, config.max_length)
        seeds = history_seeds(history, seed)
        settings = InterestSettings(
            self._serving.draws, self._serving.steps, mode, self._serving.guidance_weight
        )
        found = self._finder.find(history.to(self._vectors.device), [settings] * len(histories), seeds)
        return _Found(np.stack([of.vectors for of in found]), np.stack([of.weights for of in found]), seeds)

    def _replaced(self, draws: Vectors, led_by: Vectors, seeds: Sequence[int]) -> Vectors:
        match self._kind:
            case "draws":
                return draws
            case "chance":
                return chance(draws, led_by, seeds)
            case "samples":
                return pulled(led_by, self._sampled(led_by, seeds), self.pull)

    def _sampled(self, led_by: Vectors, seeds: Sequence[int]) -> Vectors:
        vectors: Vectors = self._vectors.cpu().numpy()
        return vectors[sampled_items(led_by, vectors, self._model.config.temperature, seeds)]

    @torch.inference_mode()
    def _affinities(self, vectors: Vectors) -> Tensor:
        return torch.from_numpy(vectors).to(self._vectors.device) @ self._vectors.T


@dataclass(frozen=True)
class Contender:
    """A side, and how one list is made of its interests."""

    side: Side
    temperature: float
    """τ of the softmaxes."""
    merge: Merge = "mean"
