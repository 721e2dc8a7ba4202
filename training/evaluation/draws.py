"""The differences between a model's draws: a model that ignores its noise draws M times the same interest."""

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from bundle.manifest import ServingDefaults
from model.dimerec import DimeRec
from training.data.splits import Targets
from training.evaluation import metrics
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import without_seen

BEST_OF_K = 20
"""Of HR@k of the best draw."""
_MAX_COSINES_IN_MEMORY = 2**24
"""A bound on memory: 64 MiB of float32."""


class Draws(BaseModel):
    """Differences between the draws of one history, and what they are worth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairwise_cosine: float
    """Mean cosine of two draws of one history; 1: all the same. Of a single draw: 1."""
    best_of: dict[int, float]
    """M → HR@20 of the best of the first M draws, each ranking on its own, seen items removed."""


def measure_draws(
    model: DimeRec, serving: ServingDefaults, targets: Targets, *, seed: int = 0, k: int = BEST_OF_K
) -> Draws:
    """Measure the draws that `serving` asks for, for M = 1, 2, 4, … up to all of them."""
    drawn = serving.model_copy(update={"interest_mode": "draws"})
    scorer, draws = DimeRecScorer(model, drawn, seed), serving.draws
    size = max(1, _MAX_COSINES_IN_MEMORY // (draws * scorer.items))
    cosines, of_blocks = [], []
    with torch.inference_mode():
        vectors = model.item_vectors()
        for first in range(0, len(targets), size):
            histories, items = targets.histories.batch(first, size), targets.items[first : first + size]
            interests = scorer.interests(histories)
            cosines.append(_pairwise_cosine(interests))
            by_draw = (interests @ vectors.T).float().cpu().numpy()
            ranks = [metrics.ranks(without_seen(by_draw[:, draw], histories), items) for draw in range(draws)]
            of_blocks.append(np.stack(ranks, axis=1))
    best = best_of(np.concatenate(of_blocks), k)
    return Draws(
        pairwise_cosine=float(torch.cat(cosines).mean()),
        best_of={count: float(hits.mean()) for count, hits in best.items()},
    )


def best_of(ranks: npt.NDArray[np.float64], k: int = BEST_OF_K) -> dict[int, npt.NDArray[np.float64]]:
    """M → HR@k of each row by the best of its first M draws, for M = 1, 2, 4, … up to all of them.

    `ranks`: of a row's target by each draw `(rows, draws)`.
    """
    best, draws = np.minimum.accumulate(ranks, axis=1), ranks.shape[1]
    counts = sorted({draws, *(2**power for power in range(draws.bit_length()))})
    return {count: metrics.hit_rate(best[:, count - 1], k) for count in counts}


def _pairwise_cosine(interests: torch.Tensor) -> torch.Tensor:
    """Mean cosine of two different ones of each row's unit vectors `(rows, draws, dim)` → `(rows,)`."""
    draws = interests.shape[1]
    if draws == 1:
        return torch.ones(len(interests))
    of_sum = interests.sum(dim=1).square().sum(dim=1)
    return ((of_sum - draws) / (draws * (draws - 1))).cpu()
