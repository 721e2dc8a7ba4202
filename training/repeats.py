"""How much a recommender must discount what a user has seen already, learned from how often users come back.

A model that scores by nearness gives much to the items of the history itself, whether or not anybody in the
log ever returns to one. One factor on their probabilities sets that right.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, softmax

from index.retrieval import LARGEST_SEEN_WEIGHT
from training.scoring import Scorer
from training.splits import Targets

_TARGETS = 2_000
"""So many held-out events tell one number well enough."""
_BATCH = 256


def fit_repeat_weight(scorer: Scorer, targets: Targets) -> float:
    """The factor on the probability of each item of the history that makes the targets likeliest.

    The scores must be logarithms of probabilities, up to a constant for each history. Once the factor is
    right, the expected share of returns is that among the targets, where half a return is added, so that a
    log without any gives a small factor and not none. In 10⁻⁶ … 10⁶; 1 where there is no target.
    """
    chosen = targets.sample(_TARGETS, np.random.default_rng(0))
    if not len(chosen):
        return 1.0
    log_odds, returned = [], 0
    for first in range(0, len(chosen), _BATCH):
        histories = chosen.histories.batch(first, _BATCH)
        scores = scorer.score(histories).astype(np.float64)
        rows, positions = histories.flattened()
        seen = np.zeros(scores.shape, np.bool_)
        seen[rows, histories.items[positions] - 1] = True
        probabilities = softmax(scores, axis=1)
        of_seen = np.where(seen, probabilities, 0).sum(axis=1)
        of_new = np.where(seen, 0, probabilities).sum(axis=1)
        with np.errstate(divide="ignore"):  # all seen, or none likely: the odds are infinite or 0
            log_odds.append(np.log(of_seen) - np.log(of_new))
        items = chosen.items[first : first + _BATCH]
        returned += int(np.count_nonzero(seen[np.arange(len(items)), items - 1]))
    odds = np.concatenate(log_odds)
    expected = (returned + 0.5) * len(odds) / (len(odds) + 1)

    def surplus(log_weight: float) -> float:
        return float(expit(odds + log_weight).sum() - expected)

    most = math.log(LARGEST_SEEN_WEIGHT)
    if surplus(-most) >= 0:
        return 1 / LARGEST_SEEN_WEIGHT
    if surplus(most) <= 0:
        return LARGEST_SEEN_WEIGHT
    return math.exp(brentq(surplus, -most, most, xtol=1e-4))
