"""Recommendations for somebody of whom nothing is known: the most watched items that fit the request.

An item's popularity is its share of the training log's events and of recent ones together,

    (PRIOR_EVENTS · share of the log + recent events) / (PRIOR_EVENTS + recent events of all items)

where older events count for less. Without recent ones it is the share of the log.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.eligibility import EligibleRows
from index.merging import diversify
from index.pooling import choice_size
from index.vector_index import Rows

PRIOR_EVENTS = 3_000
"""Recent events that the training log counts as. Chosen on MovieLens-100K and -1M, whose HR@20 is highest
about here (docs/experiments.md)."""


class Trend(NamedTuple):
    """Items and the number of their recent events, above 0, where older ones count for less."""

    item_ids: Sequence[str] = ()
    counts: Sequence[float] = ()


class PopularItem(NamedTuple):
    """An item's row and its popularity, 0 … 1; `trending`: it has more of it from recent events."""

    row: int
    score: float
    trending: bool = False


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

    def blended(self, trend: Trend) -> "Popularity":
        """The popularity of the log and of recent events together; of items that the catalogue has."""
        return TrendingPopularity(self, trend) if trend.item_ids else self

    def best(
        self, k: int, excluded: Rows, eligible: EligibleRows, diversity: float, fresh: int = 0
    ) -> list[PopularItem]:
        """The `k` most popular of the `eligible` items, without `excluded` rows.

        `diversity` in 0 … 1 trades popularity for distinct categories among the best
        `candidates_per_interest(k)`, as retrieval does. `fresh` of them are of added rows, where so many fit.
        Shorter than `k` only when fewer items fit.
        """
        rows = self._first(choice_size(k, diversity), excluded, eligible)
        if fresh:
            rows = self._with_added(rows, choice_size(fresh, diversity), excluded, eligible)
        shares = self._shares[rows - 1]
        if (diversity or fresh) and len(rows):
            matrix, added = self._catalogue.category_matrix(rows), rows > self._catalogue.base_rows
            chosen = diversify(shares.astype(np.float32), matrix, k, diversity, fresh, added)
            rows, shares = rows[chosen], shares[chosen]
        columns = rows.tolist(), shares.tolist(), self._are_trending(rows)
        return [PopularItem(*item) for item in zip(*columns, strict=True)]

    def _are_trending(self, rows: Rows) -> list[bool]:
        return [False] * len(rows)

    def _with_added(self, rows: Rows, most: int, excluded: Rows, eligible: EligibleRows) -> Rows:
        """The rows and the most popular added ones that fit, the most popular first."""
        added = np.setdiff1d(eligible.after(self._catalogue.base_rows), excluded)
        added = added[np.argsort(-self._shares[added - 1], kind="stable")][:most]
        together = np.concatenate([rows, added[~np.isin(added, rows)]])
        first: Rows = together[np.argsort(-self._shares[together - 1], kind="stable")]
        return first

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


class TrendingPopularity(Popularity):
    """A popularity `alone`, blended with a trend."""

    def __init__(self, alone: Popularity, trend: Trend) -> None:
        super().__init__(alone._catalogue)
        self._alone = alone
        self._trend = trend

    def blended(self, trend: Trend) -> Popularity:
        """As of the popularity alone."""
        return self._alone.blended(trend)

    @cached_property
    def _recent(self) -> tuple[Rows, NDArray[np.float64]]:
        """The rows that have recent events, and their numbers."""
        rows = list(map(self._catalogue.row, self._trend.item_ids))
        known = [(row, count) for row, count in zip(rows, self._trend.counts, strict=True) if row is not None]
        found, counts = zip(*known, strict=True) if known else ((), ())
        return np.array(found, dtype=np.int64), np.array(counts, dtype=np.float64)

    @cached_property
    def _of_log(self) -> NDArray[np.float64]:
        """The part of each share that is from the training log."""
        _, counts = self._recent
        share: float = PRIOR_EVENTS / (PRIOR_EVENTS + counts.sum())
        return self._alone._shares * share

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        rows, counts = self._recent
        shares = self._of_log.copy()
        shares[rows - 1] += counts / (PRIOR_EVENTS + counts.sum())
        return shares

    @cached_property
    def _ranked(self) -> Rows:
        rows, _ = self._recent
        moved = np.zeros(len(self._catalogue) + 1, dtype=np.bool_)
        moved[rows] = True
        ranked = self._alone._ranked
        others = ranked[~moved[ranked]]
        recent = rows[np.lexsort((rows, -self._shares[rows - 1]))]
        ends = np.searchsorted(-self._shares[others - 1], -self._shares[recent - 1], side="right")
        return np.insert(others, ends, recent)

    def _are_trending(self, rows: Rows) -> list[bool]:
        mostly_recent: list[bool] = (2 * self._of_log[rows - 1] < self._shares[rows - 1]).tolist()
        return mostly_recent
