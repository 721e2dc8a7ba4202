"""The calibration of the shares of categories that interests state, against what follows."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.evaluation.bootstrap import Difference, interval, resample_counts

BINS = 10
"""As is common (Guo et al., ICML 2017)."""

Shares = npt.NDArray[np.float64]
"""`(users, categories)`"""


def category_shares(probabilities: npt.NDArray[np.floating], catalogue: Catalogue) -> Shares:
    """P(c), the probability that the next item has category c, from those of all items `(rows, items)`."""
    owners, codes = catalogue.category_codes(np.arange(1, len(catalogue) + 1))
    shares = np.zeros((len(probabilities), len(catalogue.category_names)))
    np.add.at(shares.T, codes, probabilities.T[owners].astype(np.float64))
    return shares


def happened(items: npt.NDArray[np.integer], catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    """The categories that each item has `(items, categories)`."""
    owners, codes = catalogue.category_codes(items.astype(np.int64))
    found = np.zeros((len(items), len(catalogue.category_names)), np.bool_)
    found[owners, codes] = True
    return found


def brier_scores(shares: Shares, happened: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Σ_c (P(c) − 1 where it happened, else 0)² of each user `(users,)`."""
    found: npt.NDArray[np.float64] = ((shares - happened) ** 2).sum(axis=1)
    return found


def surpluses(shares: Shares, happened: npt.NDArray[np.bool_]) -> Shares:
    """Of each user and bin, Σ (P(c) − 1 where it happened, else 0) over the user's pairs `(users, bins)`.

    The bins are of equal mass: all pairs of a user and a category, in the order of P, in `BINS` equal parts.
    """
    users, categories = shares.shape
    order = np.argsort(shares, axis=None, kind="stable")
    bins = np.empty(order.size, np.int64)
    for index, part in enumerate(np.array_split(order, BINS)):
        bins[part] = index
    bin_of = np.repeat(np.arange(users), categories) * BINS + bins
    of_pairs = (shares - happened).ravel()
    totals = np.bincount(bin_of, weights=of_pairs, minlength=users * BINS).astype(np.float64)
    return totals.reshape(users, BINS)


def calibration_error(surpluses: Shares, categories: int) -> float:
    """ECE: Σ over bins of their part of the pairs · |mean P − part of them that happened|."""
    return float(np.abs(surpluses.sum(axis=0)).sum() / (len(surpluses) * categories))


def ece_differences(
    surpluses: Mapping[str, list[Shares]], categories: int, *, generator: np.random.Generator
) -> dict[str, Difference]:
    """The first side's ECE less that of each other, with 95 % bootstrap intervals over users.

    `surpluses`: those of each noise seed, over which ECE is averaged.
    """
    first, *others = surpluses
    users = len(surpluses[first][0])
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in surpluses}
    for counts in resample_counts(users, generator):
        for name, of_seeds in surpluses.items():
            errors = [np.abs(counts @ one).sum(axis=1) / (users * categories) for one in of_seeds]
            found[name].append(np.mean(errors, axis=0))
    means = {
        name: float(np.mean([calibration_error(one, categories) for one in of_seeds]))
        for name, of_seeds in surpluses.items()
    }
    drawn = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: interval(means[first] - means[name], drawn[first] - drawn[name]) for name in others}
