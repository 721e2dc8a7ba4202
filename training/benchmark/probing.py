"""Linear probing: the categories that item vectors tell, though no recommender here learns from them.

A logistic regression for each category, one against the rest, is fitted to the vectors of some items and
asked about the others: the better straight cuts tell categories apart, the more of them was learned from
behaviour alone. DimeRec (Li et al., WSDM 2025) asks the same of itself, SASRec and ComiRec; the measures and
the protocol here are ours, so the numbers compare with each other and not with the paper's.
"""

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from index.catalogue import Catalogue
from training.benchmark.rows import METRIC_DIGITS, Fit
from training.data.splits import Sequences
from training.errors import DataError

Matrix = npt.NDArray[np.float64]

REGULARISATION = 1.0
"""λ of λ/2 · ‖weights‖² next to the summed log losses, on standardised features; the bias is free.

The usual default, set before anything was measured. AUC of the demo's vectors with .1, 1, 10 and 100: .823,
.827, .839, .842 (`python -m benchmarks.quality.constants probe`).
"""
_MIN_OF_A_CATEGORY = 20
"""Items that a category must have for its AUC to count: four in each of five folds."""
_MAX_ITERATIONS = 500
"""A guard: on the demo's vectors each of the five fits ends by itself, after 140 to 180."""


class Probe(BaseModel):
    """Results of a linear probe, on items that it was not fitted to; each item is asked about once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: int
    """Items that took part: those with a category and enough training events."""
    categories: int
    """Categories that those items have."""
    accuracy: float
    """Share of the items whose top-scored category is one of theirs."""
    majority: float
    """The same for whoever always names the commonest category."""
    auc: float | None
    """ROC AUC, the mean over folds and over categories with at least 20 items, where .5 is chance; None
    without such a category."""


class ProbeRow(Probe, Fit):
    """The probe of one fit."""

    @property
    def sort_key(self) -> tuple[str, str, str, int, str]:
        """The key of its order among other probes."""
        return (self.data, self.split, self.model, self.seed, self.run)


def probe(
    vectors: npt.NDArray[np.floating],
    catalogue: Catalogue,
    train: Sequences,
    *,
    min_events: int = 5,
    folds: int = 5,
    seed: int = 0,
    regularisation: float = REGULARISATION,
) -> Probe:
    """Probe item vectors `(items, dim)`, line i of item row i + 1, for the categories of the catalogue.

    `min_events`: events in `train` that an item needs to take part, for the vector of an item that was never
    trained says nothing of the recommender. `seed` decides which items share a fold. Raises DataError where
    fewer items take part than there are folds.
    """
    events = train.events_per_item(len(catalogue))
    known = np.flatnonzero([bool(names) for names in catalogue.categories]) + 1
    rows = known[events[known - 1] >= min_events]
    if len(rows) < folds:
        raise DataError(
            f"{len(rows)} items have a category and {min_events} training events: too few for {folds} folds"
        )
    features = vectors[rows - 1].astype(np.float64)
    labels = catalogue.category_matrix(rows).astype(np.float64)
    fold = np.random.default_rng(seed).permutation(len(rows)) % folds

    hits, aucs = np.zeros(len(rows)), []
    counted = labels.sum(axis=0) >= _MIN_OF_A_CATEGORY
    for held_out in (fold == number for number in range(folds)):
        mean, spread = features[~held_out].mean(axis=0), features[~held_out].std(axis=0)
        standardised = (features - mean) / np.where(spread > 0, spread, 1)
        weights, bias = _fit(standardised[~held_out], labels[~held_out], regularisation)
        scores, truth = standardised[held_out] @ weights + bias, labels[held_out]
        hits[held_out] = truth[np.arange(len(truth)), scores.argmax(axis=1)]
        aucs.append(area_under_curve(scores, truth)[counted])
    defined = np.concatenate(aucs)
    defined = defined[~np.isnan(defined)]
    return Probe(
        items=len(rows),
        categories=labels.shape[1],
        accuracy=round(float(hits.mean()), METRIC_DIGITS),
        majority=round(float(labels.mean(axis=0).max()), METRIC_DIGITS),
        auc=round(float(defined.mean()), METRIC_DIGITS) if len(defined) else None,
    )


def area_under_curve(scores: Matrix, truth: Matrix) -> Matrix:
    """ROC AUC of each column `(columns,)`: how often a positive is above a negative, level ones by half.

    `scores` and `truth` (0 or 1): `(rows, columns)`. NaN for a column that has only one of the two.
    """
    ranks = rankdata(scores, axis=0)
    positives = truth.sum(axis=0)
    pairs = positives * (len(truth) - positives)
    above = (ranks * truth).sum(axis=0) - positives * (positives + 1) / 2
    areas: Matrix = np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)
    return areas


def _fit(features: Matrix, labels: Matrix, regularisation: float) -> tuple[Matrix, Matrix]:
    """Weights `(dim, categories)` and biases `(categories,)` of one logistic regression for each category.

    The sum of their losses is minimised at once: they share nothing, so each has its own minimum there.
    """
    count, dim = features.shape
    shape = (dim + 1, labels.shape[1])

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        parameters = flat.reshape(shape)
        weights = parameters[:-1]
        logits = features @ weights + parameters[-1]
        errors = expit(logits) - labels
        value = (
            np.logaddexp(0, logits).sum() - (labels * logits).sum() + regularisation / 2 * (weights**2).sum()
        )
        slope = np.vstack([features.T @ errors + regularisation * weights, errors.sum(axis=0)])
        return value / count, slope.ravel() / count

    found = minimize(
        loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _MAX_ITERATIONS}
    )
    parameters = found.x.reshape(shape)
    return parameters[:-1], parameters[-1]
