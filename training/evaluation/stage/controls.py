"""Controls of the draws: interests as far from the guidance, that no denoiser has made.

Both keep everything else of a draw: the guidance vector that it belongs to, its weight in the vote, and that
it follows from a seed and its history alone.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import bisect

from model.interests import Vectors
from model.sampler import starting_noises

MAX_PULL = 1e4
"""Chosen: at this weight of the item the guidance turns a sum by less than .0001."""
_OF_NOISE, _OF_ITEMS = 0x5EED1, 0x5EED2
"""Chosen at random: they keep the controls' chance apart from that of the draws."""


def leaders(draws: Vectors, guidance: Vectors) -> Vectors:
    """The guidance vector that each draw is nearest to `(rows, draws, dim)`; `guidance` `(rows, K, dim)`."""
    nearest = (draws @ guidance.swapaxes(1, 2)).argmax(axis=2)
    found: Vectors = np.take_along_axis(guidance, nearest[:, :, None], axis=1)
    return found


def cosines(first: Vectors, second: Vectors) -> Vectors:
    """Of unit vectors, pair by pair; the last axis is gone."""
    found: Vectors = (first * second).sum(axis=-1)
    return found


def chance(draws: Vectors, led_by: Vectors, seeds: Sequence[int]) -> Vectors:
    """Each draw v as c·g + √(1 − c²)·n: c its own cosine with its guidance g, n uniform in g's tangent.

    The n come in opposite pairs, as the noise that draws start from does (`starting_noises`).
    """
    _, count, dim = draws.shape
    noise: Vectors = starting_noises([seed ^ _OF_NOISE for seed in seeds], count, dim).numpy()
    tangent = _unit(noise - cosines(noise, led_by)[..., None] * led_by)
    cosine = cosines(draws, led_by)[..., None]
    found: Vectors = cosine * led_by + np.sqrt(np.maximum(1 - cosine**2, 0)).astype(np.float32) * tangent
    return found


def sampled_items(
    led_by: Vectors, vectors: Vectors, temperature: float, seeds: Sequence[int]
) -> npt.NDArray[np.int64]:
    """An item for each draw, with the probability softmax(g·e / τ) that its guidance states.

    Lines of `vectors` `(items, dim)`, `(rows, draws)`.
    """
    rows, count, _ = led_by.shape
    found = np.empty((rows, count), np.int64)
    for row, seed in enumerate(seeds):
        points: npt.NDArray[np.float64] = np.random.default_rng([seed, _OF_ITEMS]).random((count, 1))
        affinities = (led_by[row] @ vectors.T).astype(np.float64)
        grown = np.exp((affinities - affinities.max(axis=1, keepdims=True)) / temperature)
        reached: npt.NDArray[np.float64] = grown.cumsum(axis=1)
        found[row] = (reached[:, :-1] <= points * reached[:, -1:]).sum(axis=1)
    return found


def pulled(led_by: Vectors, items: Vectors, pull: float) -> Vectors:
    """unit(g + a·e) for the guidance g and the item vector e of each draw, a = `pull`."""
    return _unit(led_by + np.float32(pull) * items)


def fitted_pull(item_cosines: npt.NDArray[np.floating], mean_cosine: float) -> float:
    """The a at which unit(g + a·e) has `mean_cosine` with g in the mean; `item_cosines`: the g·e.

    The mean falls with a, from 1 to that of the items: 0 or `MAX_PULL` where it is never so high, or so low.
    """
    cosine = item_cosines.astype(np.float64)

    def surplus(pull: float) -> float:
        return float(((1 + pull * cosine) / np.sqrt(1 + 2 * pull * cosine + pull**2)).mean() - mean_cosine)

    if surplus(0) <= 0:
        return 0.0
    if surplus(MAX_PULL) >= 0:
        return MAX_PULL
    return float(bisect(surplus, 0, MAX_PULL, xtol=1e-6, rtol=1e-6))


def _unit(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return found
