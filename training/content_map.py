"""The content map: fitted on the items that a model has learned, measured on such as it has not seen.

Each item's vector is to follow from its content and its categories: ridge regression, in closed form. One
fifth of the items chooses the ridge; of the others each is measured in the fold in which it was left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.content_map import ContentMap
from bundle.facts import ContentFacts
from index.catalogue import Catalogue
from index.vector_index import Rows
from training.content_ranks import K, Watches, gains
from training.data.content_file import ItemContent
from training.errors import DataError

Matrix = NDArray[np.float64]

MIN_EVENTS = 5
"""Events of an item from which its vector is worth fitting. Chosen: fewer leave it near to where it began."""
MIN_ITEMS = 50
"""Items below which nothing is fitted. Chosen: an interval of a few dozen means no more than chance."""
MAX_ITEMS = 20_000
"""Items fitted on at most, a random part of more: with 4,096 inputs a matrix of them has 660 MB."""
MAX_CATEGORIES = 512
"""Categories with a shift of their own, those of most items; chosen."""
MIN_CATEGORY_ITEMS = 5
"""Items from which a category has one; chosen."""
RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""To choose from, in units of the inputs' mean squared length along an axis."""
FOLDS = 5
"""Parts of the items; the first chooses the ridge."""
Z = 1.96
"""Standard errors of a 95 % interval."""


class Fitted(NamedTuple):
    """A content map and how it was measured."""

    content_map: ContentMap
    facts: ContentFacts


def fit_content_map(
    content: ItemContent, catalogue: Catalogue, vectors: NDArray[np.float32], watches: Watches
) -> Fitted:
    """The map from the content of items to their `vectors` (items, dim), the unit vectors of all rows.

    `watches`: held-out events by which it is measured. Raises DataError where too few items with content
    have enough events.
    """
    chosen = _chosen(content.rows, catalogue)
    rows = content.rows[chosen]
    names, indicators = _indicators(rows, catalogue)
    inputs = np.hstack([content.vectors[chosen].astype(np.float64), indicators])
    learned = vectors[rows - 1].astype(np.float64)
    folds = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    ridge = _best_ridge(inputs, learned, folds == 0)
    held = folds > 0
    moved = _moved(rows, inputs, learned, folds, ridge, catalogue, vectors)
    cosines = {name: (there * learned[held]).sum(axis=1) for name, there in moved.items()}
    ranked = gains(watches, rows[held], moved, vectors)
    ((bias, weights, penalty),) = _solutions(inputs, learned, [ridge])
    width = content.vectors.shape[1]
    facts = ContentFacts(
        inputs=width,
        items=len(rows),
        ridge=penalty,
        measured=int(held.sum()),
        cosine=_means(cosines),
        lead=_lead(cosines),
        watches=len(ranked["content"]),
        ndcg=_means(ranked),
        ndcg_lead=_lead(ranked),
    )
    parts = weights.astype(np.float32)
    made = ContentMap(bias.astype(np.float32), parts[:width], parts[width:], tuple(names))
    return Fitted(made, facts)


def described(facts: ContentFacts) -> str:
    """The measurement in one line."""
    cosine, ndcg = facts.cosine, facts.ndcg
    verdict = "is used" if facts.used else "is left out, and content counts for nothing"
    return (
        f"Content map, of {facts.measured:,} items that it had not seen: mean cosine to the learned vectors"
        f" {cosine['content']:.3f}, of the mean of their categories {cosine['categories']:.3f}, at random"
        f" {cosine['random']:.3f}; NDCG@{K} of {facts.watches:,} held-out events {ndcg['content']:.3f},"
        f" {ndcg['categories']:.3f}, {ndcg['random']:.3f}: it {verdict}."
    )


def _chosen(rows: Rows, catalogue: Catalogue) -> NDArray[np.int64]:
    """Positions in `rows` of the items to fit on."""
    enough = np.flatnonzero(catalogue.popularity[rows - 1] >= MIN_EVENTS)
    if len(enough) < MIN_ITEMS:
        raise DataError(
            f"{len(enough)} items with content have at least {MIN_EVENTS} events, a content map needs"
            f" {MIN_ITEMS}: give content of more items, or publish without it"
        )
    return np.random.default_rng(0).permutation(enough)[:MAX_ITEMS]


def _indicators(rows: Rows, catalogue: Catalogue) -> tuple[list[str], Matrix]:
    """The categories that have a shift, and a column of 0 and 1 for each."""
    names = catalogue.category_names
    owners, codes = catalogue.category_codes(rows)
    counts = np.bincount(codes, minlength=len(names))
    kept = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    kept = kept[counts[kept] >= MIN_CATEGORY_ITEMS]
    column = np.full(len(names), -1)
    column[kept] = np.arange(len(kept))
    there = column[codes] >= 0
    indicators = np.zeros((len(rows), len(kept)))
    indicators[owners[there], column[codes[there]]] = 1
    return [names[code] for code in kept], indicators


def _solutions(x: Matrix, y: Matrix, ridges: Sequence[float]) -> Iterator[tuple[Matrix, Matrix, float]]:
    """Bias, weights and penalty of the ridge regression of `y` on `x`, for each of `ridges`."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = x - mean_x
    gram, right = centred.T @ centred, centred.T @ (y - mean_y)
    unit = float(np.trace(gram)) / len(gram) or 1.0  # all items alike: nothing to learn from
    for ridge in ridges:
        weights = np.linalg.solve(gram + ridge * unit * np.eye(len(gram)), right)
        yield mean_y - mean_x @ weights, weights, ridge * unit


def _best_ridge(x: Matrix, y: Matrix, held: NDArray[np.bool_]) -> float:
    cosines = [
        (_unit(bias + x[held] @ weights) * y[held]).sum(axis=1).mean()
        for bias, weights, _ in _solutions(x[~held], y[~held], RIDGES)
    ]
    return RIDGES[int(np.argmax(cosines))]


def _moved(
    rows: Rows,
    x: Matrix,
    y: Matrix,
    folds: NDArray[np.int64],
    ridge: float,
    catalogue: Catalogue,
    vectors: NDArray[np.float32],
) -> dict[str, Matrix]:
    """Unit vectors that each way makes of the items of all folds but the first, from those of the others."""
    measured = {name: np.empty_like(y) for name in ("content", "categories", "random")}
    random = np.random.default_rng(0)
    for fold in range(1, FOLDS):
        held = folds == fold
        ((bias, weights, _),) = _solutions(x[~held], y[~held], [ridge])
        known = catalogue.popularity > 0
        known[rows[held] - 1] = False
        others = random.choice(np.flatnonzero(known), int(held.sum()))
        measured["content"][held] = _unit(bias + x[held] @ weights)
        measured["categories"][held] = _unit(_category_means(rows[held], known, catalogue, vectors))
        measured["random"][held] = vectors[others]
    return {name: some[folds > 0] for name, some in measured.items()}


def _category_means(
    rows: Rows, known: NDArray[np.bool_], catalogue: Catalogue, vectors: NDArray[np.float32]
) -> Matrix:
    """For each of `rows` the mean of its categories' means over `known` items; without any, of all."""
    lines = np.flatnonzero(known)
    count, dim = len(catalogue.category_names), vectors.shape[1]
    owners, codes = catalogue.category_codes(lines + 1)
    items = np.bincount(codes, minlength=count)
    sums = np.zeros((count, dim))
    np.add.at(sums, codes, vectors[lines[owners]])
    means = sums / np.maximum(items, 1)[:, None]
    owners, codes = catalogue.category_codes(rows)
    owners, codes = owners[items[codes] > 0], codes[items[codes] > 0]
    totals = np.zeros((len(rows), dim))
    np.add.at(totals, owners, means[codes])
    bare = np.bincount(owners, minlength=len(rows)) == 0
    totals[bare] = vectors[lines].mean(axis=0, dtype=np.float64)
    return totals


def _unit(vectors: Matrix) -> Matrix:
    """Of length 1 each; 0 where there is no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Matrix = vectors / np.where(lengths > 0, lengths, 1)
    return unit


def _means(measured: Mapping[str, Matrix]) -> dict[str, float]:
    return {name: round(float(some.mean()) if len(some) else 0.0, 4) for name, some in measured.items()}


def _lead(measured: Mapping[str, Matrix]) -> tuple[float, float]:
    """95 % interval of how far content is ahead of categories; where nothing was measured, it is not."""
    ahead = measured["content"] - measured["categories"]
    if not len(ahead):
        return 0.0, 0.0
    error = Z * ahead.std() / np.sqrt(len(ahead))
    return round(float(ahead.mean() - error), 4), round(float(ahead.mean() + error), 4)
