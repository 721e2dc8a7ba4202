"""The discount on what a user has seen already, learned from how often users come back.

A model that scores by nearness gives much to the items of the history itself, whether or not anybody in the
log ever returns to one. One factor on their probabilities sets that right.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from bundle.manifest import ServingDefaults
from index.counts import Counts
from index.query import MAX_REPEAT_WEIGHT
from model.dimerec import DimeRec
from training.data.splits import Targets
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.metrics import Scores
from training.evaluation.scorer import Scorer

_TARGETS = 2_000
"""So many held-out events tell one number well enough: a share of returns of .1 within .007."""
_MAX_SCORES_IN_MEMORY = 2**22
"""A bound on memory: 16 MiB of float32."""
_MAX_BATCH = 256
"""Histories of a block, where the catalogue is small."""


def fit_repeat_weight(scorer: Scorer, targets: Targets) -> float:
    """The factor on the probability of each item of the history that makes the targets likeliest.

    The scores must be logarithms of probabilities, up to a constant for each history. Once the factor is
    right, the expected share of returns is that among the targets, where half a return is added, so that a
    log without any gives a small factor and not none. In 10⁻⁶ … 10⁶; 1 where there is no target.
    """
    chosen = targets.sample(_TARGETS, np.random.default_rng(0))
    if not len(chosen):
        return 1.0
    size = min(_MAX_BATCH, max(1, _MAX_SCORES_IN_MEMORY // scorer.items))
    log_odds: list[float] = []
    returned = 0
    for first in range(0, len(chosen), size):
        histories = chosen.histories.batch(first, size)
        scores = scorer.score(histories)
        for row, target in enumerate(chosen.items[first : first + size]):
            seen = np.unique(histories[row])
            log_odds.append(_log_odds(scores[row], seen - 1))
            returned += target in seen
    expected = (returned + 0.5) * len(log_odds) / (len(log_odds) + 1)

    def surplus(log_weight: float) -> float:
        return float(expit(np.array(log_odds) + log_weight).sum() - expected)

    most = math.log(MAX_REPEAT_WEIGHT)
    if surplus(-most) >= 0:
        return 1 / MAX_REPEAT_WEIGHT
    if surplus(most) <= 0:
        return MAX_REPEAT_WEIGHT
    return math.exp(brentq(surplus, -most, most, xtol=1e-4))


def learned_repeat_weight(
    model: DimeRec, serving: ServingDefaults, seed: int, targets: Targets, counts: Counts | None = None
) -> float:
    """The factor for a model asked as `serving` says; 1 with merge `max`, which has no probabilities."""
    if serving.merge == "max":
        return 1.0
    return fit_repeat_weight(DimeRecScorer(model, serving, seed, counts=counts), targets)


def _log_odds(scores: Scores, chosen: npt.NDArray[np.integer]) -> float:
    """The odds of the `chosen` columns against all others, as a logarithm."""
    others = np.ones(len(scores), np.bool_)
    others[chosen] = False
    if not others.any():
        return math.inf
    return float(logsumexp(scores[chosen].astype(np.float64)) - logsumexp(scores[others].astype(np.float64)))
