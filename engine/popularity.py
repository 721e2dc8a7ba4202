"""Recommendations for somebody of whom nothing is known: the most watched items that fit the request.

An item's popularity is its share of the training log's events and of recent ones together,

    (PRIOR_EVENTS · share of the log + recent events) / (PRIOR_EVENTS + recent events of all items)

where older events count for less. Without recent ones it is the share of the log.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.eligibility import EligibleRows
from index.exact import best_first
from index.merging import diversify
from index.pooling import choice_size
from index.query import union
from index.vector_index import Rows

PRIOR_EVENTS = 3_000
"""Recent events that the training log counts as. Chosen on MovieLens-100K and -1M, whose HR@20 is highest
about here (docs/experiments.md)."""


class Trend(NamedTuple):
    """Items and the number of their recent events, above 0, where older ones count for less."""

    item_ids: Sequence[str] = ()
    counts: Sequence[float] = ()


NO_TREND = Trend()


class PopularItem(NamedTuple):
    """An item's row and its popularity, 0 … 1; `trending`: it has more of it from recent events."""

    row: int
    score: float
    trending: bool = False


class Popularity:
    """Items by how often they were watched; equally popular ones by row, added ones as `index.ties` has it.

    All rows of a bundle are ranked once, at the first need; with each change of the catalogue or of the
    `trend` only those that were added, and those with recent events.
    """

    def __init__(self, catalogue: Catalogue, trend: Trend = NO_TREND) -> None:
        self._catalogue = catalogue
        self._trend = trend

    def best(
        self, k: int, excluded: Rows, eligible: EligibleRows, diversity: float, fresh: int = 0
    ) -> list[PopularItem]:
        """The `k` most popular of the `eligible` items, without `excluded` rows.

        `diversity` in 0 … 1 trades popularity for distinct categories among the best
        `candidates_per_interest(k)`, as retrieval does. `fresh` of them are of added rows, where so many fit.
        Shorter than `k` only when fewer items fit.
        """
        first = partial(_first_fitting, excluded=excluded, eligible=eligible)
        most, apart = choice_size(k, diversity), self._apart
        # Any row has at least the events that the bundle ranks it by: none of the best comes after these.
        rows = self._ordered(first(self._catalogue.most_watched, most), first(apart, most))[:most]
        if fresh:
            added = apart[apart > self._catalogue.base_rows]
            rows = self._ordered(rows, first(added, choice_size(fresh, diversity)))
        if (diversity or fresh) and len(rows):
            matrix, are_added = self._catalogue.category_matrix(rows), rows > self._catalogue.base_rows
            relevance = self._shares(rows).astype(np.float32)
            rows = rows[diversify(relevance, matrix, k, diversity, fresh, are_added)]
        shares = self._shares(rows)
        trending = 2 * self._shares_of_log(rows) < shares
        columns = rows.tolist(), shares.tolist(), trending.tolist()
        return [PopularItem(*item) for item in zip(*columns, strict=True)]

    @cached_property
    def _recent(self) -> tuple[Rows, NDArray[np.float64]]:
        """The rows that have recent events, and the recent events of every row (rows + 1,)."""
        found = zip(map(self._catalogue.row, self._trend.item_ids), self._trend.counts, strict=True)
        known = {row: count for row, count in found if row is not None}
        rows, recent = np.array(list(known), dtype=np.int64), np.zeros(len(self._catalogue) + 1)
        recent[rows] = list(known.values())
        return rows, recent

    @cached_property
    def _events(self) -> tuple[int, float]:
        """The number of events in the training log, 1 for none; and of all, where those count as so many."""
        rows, recent = self._recent
        return max(1, self._catalogue.events), PRIOR_EVENTS + recent[rows].sum()

    @cached_property
    def _apart(self) -> Rows:
        """The rows whose place does not follow from the bundle's ranking, the most popular first."""
        added = np.arange(self._catalogue.base_rows + 1, len(self._catalogue) + 1)
        return self._ordered(added, self._recent[0])

    def _shares_of_log(self, rows: Rows) -> NDArray[np.float64]:
        """The part of each share that is from the training log."""
        in_log, in_all = self._events
        shares: NDArray[np.float64] = self._catalogue.events_of(rows) / in_log * (PRIOR_EVENTS / in_all)
        return shares

    def _shares(self, rows: Rows) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = self._shares_of_log(rows) + self._recent[1][rows] / self._events[1]
        return shares

    def _ordered(self, some: Rows, others: Rows) -> Rows:
        """Both, each row once, the most popular first."""
        rows = union(some, others)
        ties = self._catalogue.ties
        ordered: Rows = rows[best_first(self._shares(rows), None if ties is None else ties.keys(rows))]
        return ordered


def _first_fitting(ranked: Rows, most: int, excluded: Rows, eligible: EligibleRows) -> Rows:
    """The first `most` rows that fit, found from the top without looking at the rest."""
    looked_at = most + len(excluded)
    while True:
        rows = ranked[:looked_at]
        rows = rows[eligible.mask[rows]]
        rows = rows[~np.isin(rows, excluded)]
        if len(rows) >= most or looked_at >= len(ranked):
            return rows[:most]
        looked_at *= 4
