"""The candidates of a large catalogue:
what the index finds for each interest, asked for again until it is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import tuning
from index.eligibility import EligibleRows
from index.exact import ExactIndex, best_positions
from index.query import Query, distinct, union
from index.ties import Ties
from index.vector_index import Hits, Rows, VectorIndex
from index.vector_table import ItemVectors

SOFTMAX_HITS = 128
"""Nearest eligible items that an interest's softmax is over; the index is never asked for fewer.

Of 100,000 items they hold .44 of a softmax with τ = .05 and .10 of one with .1, about the same for every
interest of a request: of the top 20, .98 and .99 are those of the softmax over all, .97 and .98 with 32 hits,
.99 and more with 2,048.
"""


HITS_STEP = 128
"""Hits are asked for in such steps: searches for as many hits are made together."""


def candidates_per_interest(k: int) -> int:
    """Number of items, not excluded, that each interest brings for `k` answers.

    Eight interests over 100,000 items: where their pairwise cosines are .5 or more, 2k bring every item that
    scoring all would answer with, and k bring .98 of them; at .3, 2k bring .99 for k = 10, and 50 all.
    Interests all around the sphere (.15, τ = .1) would need more: .91 for k = 10, .87 for 20, .99 for 200.
    """
    return max(50, 2 * k)


def choice_size(k: int, diversity: float) -> int:
    """Number of the best items that `k` answers are chosen from."""
    return candidates_per_interest(k) if diversity else k


class Pool(NamedTuple):
    """The items to choose from for one query."""

    rows: Rows
    """Ascending: the union over the interests and the counts, without what is excluded."""
    nearest: Hits
    """(interests, SOFTMAX_HITS): each interest's nearest eligible items, excluded ones among them."""


class Pooling:
    """Searches an index for candidates."""

    def __init__(self, index: VectorIndex, table: ItemVectors, ties: Ties | None = None) -> None:
        self._index = index
        self._exact = ExactIndex(table, None if ties is None else ties.twins)
        self._ties = ties

    def pools(self, queries: Sequence[Query], eligible: Sequence[EligibleRows]) -> list[Pool]:
        """A pool for each query; none depends on the other queries.

        Each interest brings its nearest `candidates_per_interest(k)` that are eligible and not excluded, and
        so do the counts. Where items that were seen count less than others, each brings as many more as there
        are of them; where they count more, all of these join the union.
        """
        searches = [_Search(query, rows, self._ties) for query, rows in zip(queries, eligible, strict=True)]
        waiting = searches
        while waiting:
            # Only queries that ask for as many hits are searched together: a graph search for more hits walks
            # further, and so an answer would depend on its company.
            waiting = sorted(waiting, key=attrgetter("key"))
            for _, group in groupby(waiting, key=attrgetter("key")):
                self._search(list(group))
            waiting = [search for search in waiting if search.pool is None]
        return [search.pool for search in searches if search.pool is not None]

    def _search(self, searches: list["_Search"]) -> None:
        """Search for all `searches`, of one number of hits and one set of categories, at once."""
        ask, eligible = searches[0].ask, searches[0].eligible
        exact = ask > tuning.MAX_HITS
        index: VectorIndex = self._exact if exact else self._index
        unbounded = eligible.all_rows if exact else eligible.everything  # an index knows its dead rows
        interests = [search.query.interests for search in searches]
        hits = index.search(np.concatenate(interests), ask, None if unbounded else eligible)
        ends = np.cumsum([len(block) for block in interests])[:-1]
        for search, *own in zip(searches, *(np.split(part, ends) for part in hits), strict=True):
            search.take(Hits(*own), exact=exact)


@dataclass(slots=True, eq=False)
class _Search:
    """The state of the search for one query."""

    query: Query
    eligible: EligibleRows
    ties: Ties | None
    wanted: int = 0
    """Usable hits that each interest should have."""
    ask: int = 0
    """Hits to ask for next; more than an index is asked for: exactly."""
    pool: Pool | None = None

    def __post_init__(self) -> None:
        query = self.query
        self.wanted = candidates_per_interest(query.k) + (
            len(query.distinct_seen) if query.repeat_weight < 1 else 0
        )
        # Of a long history little is among the nearest of one interest, but at least its part of all items.
        left = max(1, self.eligible.count - len(query.distinct_excluded))
        spare = max(SOFTMAX_HITS // 2, self.wanted // 4)
        self._ask_for(max(self.wanted + spare, self.wanted * self.eligible.count // left))

    @property
    def enough(self) -> int:
        """Hits that bring what is wanted even if all that is excluded is nearest."""
        return max(SOFTMAX_HITS, _in_steps(self.wanted + len(self.query.distinct_excluded)))

    def _ask_for(self, hits: int) -> None:
        """Ask for about so many hits next."""
        ask = min(max(SOFTMAX_HITS, _in_steps(hits)), self.enough)
        if ask > tuning.MAX_HITS:
            ask = tuning.MAX_HITS if 0 < self.ask < tuning.MAX_HITS else self.enough
        self.ask = ask

    @property
    def key(self) -> tuple[int, int]:
        """The common part of searches that are made together."""
        return self.ask, id(self.eligible)

    def take(self, hits: Hits, *, exact: bool) -> None:
        """Make the pool of `hits` if they do, or ask for more."""
        usable = self._usable(hits.rows)
        ranks = usable.cumsum(axis=1)
        rows = distinct(hits.rows[usable & (ranks <= self.wanted)])
        has_no_more = hits.rows.min() < 0
        # A graph filtered afterwards comes back short where a category lies apart: that is done exactly.
        short_is_all = has_no_more and self.eligible.everything and len(rows) >= self.query.k
        if exact or ranks[:, -1].min() >= self.wanted or short_is_all:
            self.pool = Pool(self._with_counted(self._with_seen(rows)), hits.first(SOFTMAX_HITS))
        elif has_no_more:
            self.ask = max(self.enough, tuning.MAX_HITS + 1)
        else:
            self._ask_for(4 * self.ask)

    def _usable(self, rows: Rows) -> NDArray[np.bool_]:
        excluded = self.query.distinct_excluded
        if not len(excluded):
            return rows > 0
        positions = np.minimum(np.searchsorted(excluded, rows), len(excluded) - 1)
        usable: NDArray[np.bool_] = (rows > 0) & (excluded[positions] != rows)
        return usable

    def _with_seen(self, rows: Rows) -> Rows:
        """The rows with those that count more than others, where they may be answered."""
        query = self.query
        if query.repeat_weight <= 1:
            return rows
        seen = query.distinct_seen
        return union(rows, np.setdiff1d(seen[self.eligible.mask[seen]], query.distinct_excluded))

    def _with_counted(self, rows: Rows) -> Rows:
        """The rows with the likeliest that counting knows, as many as an interest brings."""
        counted = self.query.counted
        if counted is None:
            return rows
        usable = self._usable(counted.rows)
        own = counted.rows[usable]
        keys = None if self.ties is None else self.ties.keys(own)
        return union(rows, own[best_positions(counted.scores[usable], self.wanted, keys)])


def _in_steps(hits: int) -> int:
    return -(-hits // HITS_STEP) * HITS_STEP
