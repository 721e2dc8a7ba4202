"""Probabilities that weighted interests state: p(e) = Σ_j w_j softmax_j(affinity / τ) over unseen items."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from torch import Tensor

from model.interests import Vectors
from training.data.splits import Histories, Targets
from training.errors import DataError
from training.evaluation.metrics import Scores
from training.evaluation.stage.sides import Contender, Side

MAX_AFFINITIES_IN_MEMORY = 2**22
"""A bound on memory: of a block of histories, 16 MiB of float32, and some copies of it."""
_MAX_AFFINITIES_KEPT = 2**26
"""A bound on memory: 256 MiB of float32; beyond it each try of a τ asks the side anew."""
_RANGE = (1e-3, 1e2)
"""τ between these multiples of the affinities' deviation: from their best alone to all items alike."""


def block_of(side: Side) -> int:
    """Histories that are answered at once."""
    return max(1, MAX_AFFINITIES_IN_MEMORY // (side.items * side.interests))


@torch.inference_mode()
def unseen(affinities: Tensor, histories: Histories) -> Tensor:
    """A copy of `(rows, interests, items)` in which the items of each history are −inf."""
    rows, positions = histories.flattened()
    seen = torch.zeros(len(affinities), affinities.shape[2], dtype=torch.bool)
    seen[torch.from_numpy(rows), torch.from_numpy(histories.items[positions].astype(np.int64) - 1)] = True
    return affinities.masked_fill(seen.to(affinities.device)[:, None], -torch.inf)


@torch.inference_mode()
def log_probabilities(affinities: Tensor, weights: Vectors, temperature: float) -> Tensor:
    """Logarithms of p, of every item `(rows, items)`; −inf where all affinities are.

    `affinities` `(rows, interests, items)`, `weights` `(rows, interests)`.
    """
    logits = affinities / temperature
    total = logits.logsumexp(dim=2, keepdim=True)
    with np.errstate(divide="ignore"):  # a weight of 0 takes its interest out
        total -= torch.from_numpy(np.log(weights)).to(total.device)[:, :, None]
    logits -= total
    return logits.logsumexp(dim=1)


def merged(affinities: Tensor, contender: Contender, log_p: Tensor) -> Scores:
    """Scores that lists are made by `(rows, items)`: log p, or the greatest affinity."""
    scores = affinities.amax(dim=1) if contender.merge == "max" else log_p
    found: Scores = scores.cpu().numpy()
    return found


class RankedSide:
    """A side as a recommender that scores unseen items; the seen have −inf."""

    def __init__(self, contender: Contender, seed: int = 0) -> None:
        self._contender = contender
        self._seed = seed

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return self._contender.side.items

    def score(self, histories: Histories) -> Scores:
        """Scores `(rows, items)`."""
        side = self._contender.side
        answer = side.answer(histories, self._seed)
        affinities = unseen(answer.affinities, histories)
        log_p = log_probabilities(affinities, answer.weights, self._contender.temperature)
        return merged(affinities, self._contender, log_p)


def fitted_temperature(side: Side, targets: Targets, seed: int = 0) -> float:
    """The τ that makes the targets likeliest; one that the history has says nothing.

    Raises DataError where there is none that it has not.
    """
    answers: Iterable[_Answered] = _Answers(side, targets, seed)
    if len(targets) * side.interests * side.items <= _MAX_AFFINITIES_KEPT:
        answers = list(answers)
    known = np.concatenate([np.isfinite(block.of_targets).all(axis=1) for block in answers])
    if not known.any():
        raise DataError("no event of validation is new to its user, so τ cannot be fitted; try another split")
    deviation = float(np.concatenate([block.of_targets for block in answers])[known].std()) or 1.0

    def cost(log_temperature: float) -> float:
        temperature = math.exp(log_temperature) * deviation
        parts = [_log_p(block, temperature) for block in answers]
        return -float(np.concatenate(parts)[known].mean())

    bounds = (math.log(_RANGE[0]), math.log(_RANGE[1]))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 0.01})
    return math.exp(found.x) * deviation


class _Answered(NamedTuple):
    """A block of targets."""

    affinities: Tensor
    """Of unseen items; of the others −inf."""
    of_targets: Vectors
    """`(rows, interests)`"""
    weights: Vectors
    """`(rows, interests)`"""


class _Answers:
    """The blocks of targets, asked anew each time they are gone through."""

    def __init__(self, side: Side, targets: Targets, seed: int) -> None:
        self._side = side
        self._targets = targets
        self._seed = seed

    def __iter__(self) -> Iterator[_Answered]:
        size = block_of(self._side)
        for first in range(0, len(self._targets), size):
            histories = self._targets.histories.batch(first, size)
            answer = self._side.answer(histories, self._seed)
            affinities = unseen(answer.affinities, histories)
            items = self._targets.items[first : first + size].astype(np.int64)
            of_targets = affinities[range(len(items)), :, items - 1].cpu().numpy()
            yield _Answered(affinities, of_targets, answer.weights)


@torch.inference_mode()
def _log_p(block: _Answered, temperature: float) -> npt.NDArray[np.float64]:
    """Logarithms of p, of the targets alone: what `log_probabilities` has for them."""
    total = (block.affinities / temperature).logsumexp(dim=2).double().cpu().numpy()
    found: npt.NDArray[np.float64] = logsumexp(
        block.of_targets / temperature - total, axis=1, b=block.weights
    )
    return found
