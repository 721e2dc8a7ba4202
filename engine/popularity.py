"""Recommendations for somebody of whom nothing is known: the most watched items that fit the request."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.eligibility import EligibleRows
from index.merging import diversify
from index.pooling import candidates_per_interest
from index.vector_index import Rows


class PopularItem(NamedTuple):
    """An item's row and its share of all events in the training log, 0 … 1."""

    row: int
    score: float


class Popularity:
    """Items by how often they were watched; equally popular ones by row. Ranked at the first need.

    `base`: the ranking of the catalogue that a layered one is made of, which is kept.
    """

    def __init__(self, catalogue: Catalogue, base: "Popularity | None" = None) -> None:
        self._catalogue = catalogue
        self._base = base

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        return self._catalogue.popularity.astype(np.float64) / max(1, self._catalogue.events)

    @cached_property
    def _ranked(self) -> Rows:
        counts = self._catalogue.popularity
        if self._base is None:
            return np.argsort(-counts, kind="stable").astype(np.int64) + 1
        known = self._base._ranked
        added = np.argsort(-counts[len(known) :], kind="stable").astype(np.int64) + len(known) + 1
        return np.insert(known, np.searchsorted(-counts[known - 1], -counts[added - 1], side="right"), added)

    def best(self, k: int, excluded: Rows, eligible: EligibleRows, diversity: float) -> list[PopularItem]:
        """The `k` most popular of the `eligible` items, without `excluded` rows.

        `diversity` in 0 … 1 trades popularity for distinct categories among the best
        `candidates_per_interest(k)`, as retrieval does. Shorter than `k` only when fewer items fit.
        """
        rows = self._first(candidates_per_interest(k) if diversity else k, excluded, eligible)
        shares = self._shares[rows - 1]
        if diversity and len(rows):
            chosen = diversify(shares.astype(np.float32), self._catalogue.category_matrix(rows), k, diversity)
            rows, shares = rows[chosen], shares[chosen]
        return [PopularItem(int(row), float(share)) for row, share in zip(rows, shares, strict=True)]

    def _first(self, most: int, excluded: Rows, eligible: EligibleRows) -> Rows:
        """The most popular rows that fit, found from the top without looking at the rest of the catalogue."""
        looked_at = most + len(excluded)
        while True:
            rows = self._ranked[:looked_at]
            rows = rows[eligible.mask[rows]]
            rows = rows[~np.isin(rows, excluded)]
            if len(rows) >= most or looked_at >= len(self._ranked):
                return rows[:most]
            looked_at *= 4
