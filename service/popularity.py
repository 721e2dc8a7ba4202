"""What to recommend to somebody of whom nothing is known: the most watched items that fit the request."""

from typing import NamedTuple

import numpy as np

from index.catalogue import Catalogue
from index.merging import diversify
from index.retrieval import depth
from index.vector_index import Rows


class PopularItem(NamedTuple):
    """An item's row and its share of all events in the training log, 0 … 1."""

    row: int
    score: float


class Popularity:
    """Items by how often they were watched; equally popular ones by row."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._shares = catalogue.popularity.astype(np.float64) / max(1, int(catalogue.popularity.sum()))
        self._ranked: Rows = np.argsort(-catalogue.popularity, kind="stable").astype(np.int64) + 1
        self._rank_of_line = np.empty(len(catalogue), dtype=np.int64)
        self._rank_of_line[self._ranked - 1] = np.arange(len(catalogue))

    def best(
        self, k: int, excluded: Rows, categories: frozenset[str] | None, diversity: float
    ) -> list[PopularItem]:
        """The `k` most popular items, without `excluded` rows and only of `categories` (any of them).

        `diversity` in 0 … 1 trades popularity for distinct categories among the best `depth(k)`, as retrieval
        does. Shorter than `k` only when fewer items fit.
        """
        pool = depth(k) if diversity else k
        if categories is None:
            rows = self._ranked[: pool + len(excluded)]
        else:
            rows = self._ranked[np.sort(self._rank_of_line[self._catalogue.rows_in(categories) - 1])]
        rows = rows[~np.isin(rows, excluded)][:pool]
        shares = self._shares[rows - 1]
        if diversity and len(rows):
            chosen = diversify(shares.astype(np.float32), self._catalogue.category_matrix(rows), k, diversity)
            rows, shares = rows[chosen], shares[chosen]
        return [PopularItem(int(row), float(share)) for row, share in zip(rows, shares, strict=True)]
