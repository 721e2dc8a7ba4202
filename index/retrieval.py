"""From interests to candidates: filters that never come back short, merging, diversity.

A query's *eligible* items are those of the categories that it asks for. Every interest is a distribution over
them, softmax(cosine / temperature), and an item's score is the interests' weighted mean
(`index.merging`); then the excluded items are struck from the list. So a score depends neither on `k`
nor on what is excluded. The best `k` are the answer or, with diversity, `k` chosen greedily from the best
`candidates_per_interest(k)`: always `k`, or all that there are.

Where few items are eligible all of them are scored, those of a small catalogue in one product of a whole
batch's interests with the table. Where many are, the index brings each interest's nearest
(`index.pooling`); their union is scored, and an interest's `index.pooling.SOFTMAX_HITS` nearest
stand for all others in its softmax.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from index import tuning
from index.catalogue import Catalogue
from index.eligibility import Eligibility, EligibleRows
from index.errors import QueryError
from index.exact import best_positions
from index.merging import Merged, diversify, merge_interests
from index.pooling import Pooling, candidates_per_interest
from index.query import Candidate, Query, Retrieval
from index.vector_index import Rows, VectorIndex, Vectors
from index.vector_table import VectorTable

MAX_SCORES_IN_MEMORY = 2**21
"""Cosines of a block of interests with a small catalogue: 8 MiB of float32.

64 requests of 12 interests over 50,000 items, processor ms on one thread: 2¹⁹ 145, 2²⁰ 142, 2²¹ 119, 2²² 109,
2²⁴ 155; over 20,000 items 49 to 43, over 2,000 all alike.
"""

MIN_SCORE = 1e-30
"""Scores below this are made in float64: far from all interests float32 loses digits, and soon the order.

Arithmetic: float32 is exact to 7 digits down to 1.2e-38, and a sum that is 1e-30 has terms of 1e-37 in it.
"""


class _Scored(NamedTuple):
    """The items that a query may be answered with, and how near they are."""

    rows: Rows | None
    """Ascending; None for the whole catalogue."""
    cosines: Vectors
    """(interests, rows)."""
    nearest: Vectors | None = None
    """(interests, hits): what a softmax is over, where that is not all of `rows`."""


class Retriever:
    """Retrieval over a catalogue: an index that searches it, and the table of vectors that scores its items.

    `max_whole_items`: up to so many eligible items are all scored, without the index; None: as measured
    (`index.tuning`).
    """

    def __init__(
        self,
        index: VectorIndex,
        table: VectorTable,
        catalogue: Catalogue,
        max_whole_items: int | None = None,
    ) -> None:
        if not len(index) == len(table) == len(catalogue):
            raise QueryError(
                f"the index has {len(index)} items, the catalogue {len(catalogue)}: build both anew"
            )
        self._max_whole_items = tuning.MAX_WHOLE_ITEMS if max_whole_items is None else max_whole_items
        self._table = table
        self._catalogue = catalogue
        self.eligibility = Eligibility(catalogue)
        self._pooling = Pooling(index, table)

    @property
    def scores_whole(self) -> bool:
        """True where the catalogue is so small that all of it is scored."""
        return len(self._table) <= self._max_whole_items

    def retrieve(self, queries: Sequence[Query]) -> list[Retrieval]:
        """Answer every query, in order; an answer does not depend on the other queries."""
        for query in queries:
            query.check_fits(len(self._table), self._table.dim)
        eligible = [self.eligibility.of(query.categories) for query in queries]
        score = self._whole if self.scores_whole else self._searched
        scored = score(queries, eligible)
        return [self._answer(query, found) for query, found in zip(queries, scored, strict=True)]

    def similar(self, row: int, k: int) -> list[Candidate]:
        """The `k` items nearest to the item `row`, itself left out, by cosine."""
        vector = self._table.vectors(np.array([row]))
        query = Query(vector, k, excluded=np.array([row]), merge="max")
        return self.retrieve([query])[0].candidates

    def _whole(self, queries: Sequence[Query], eligible: Sequence[EligibleRows]) -> Iterator[_Scored]:
        """Score all eligible items of a small catalogue."""
        most = max(1, MAX_SCORES_IN_MEMORY // len(self._table))
        for block in _blocks([len(query.interests) for query in queries], most):
            interests = [query.interests for query in queries[block]]
            ends = list(accumulate(map(len, interests)))
            cosines = np.split(np.concatenate(interests) @ self._table.all.T, ends[:-1])
            for rows, own in zip(eligible[block], cosines, strict=True):
                if rows.everything:
                    yield _Scored(None, own)
                else:
                    yield _Scored(rows.rows, own[:, rows.rows - 1])

    def _searched(self, queries: Sequence[Query], eligible: Sequence[EligibleRows]) -> list[_Scored]:
        """Score what the index finds, or all eligible items where they are few."""
        many = [index for index, rows in enumerate(eligible) if rows.count > self._max_whole_items]
        pools = self._pooling.pools([queries[index] for index in many], [eligible[index] for index in many])
        found = dict(zip(many, pools, strict=True))
        scored = []
        for index, (query, rows) in enumerate(zip(queries, eligible, strict=True)):
            pool, nearest = found.get(index, (rows.rows, None))
            scored.append(_Scored(pool, query.interests @ self._table.vectors(pool).T, nearest))
        return scored

    def _answer(self, query: Query, scored: _Scored) -> Retrieval:
        interests = len(query.interests)
        if scored.cosines.size:
            merged, chosen = _best(query, scored)
            if query.merge == "mean" and len(chosen) and merged.scores[chosen].min() < MIN_SCORE:
                merged, chosen = _best(query, scored._replace(cosines=scored.cosines.astype(np.float64)))
        if not scored.cosines.size or not len(chosen):
            none = np.empty((interests, 0), dtype=np.float32)
            return Retrieval([], none, np.full(interests, 1 / interests, dtype=np.float32))
        rows = chosen + 1 if scored.rows is None else scored.rows[chosen]
        if query.diversity:
            categories = self._catalogue.category_matrix(rows)
            kept = diversify(merged.scores[chosen], categories, query.k, query.diversity)
            chosen, rows = chosen[kept], rows[kept]
        shares = merged.shares[:, chosen]
        columns = (rows.tolist(), merged.scores[chosen].tolist(), shares.argmax(axis=0).tolist())
        candidates = [Candidate(*found) for found in zip(*columns, strict=True)]
        total = shares.sum()
        weights = shares.sum(axis=1) / total if total > 0 else np.full(interests, 1 / interests)
        return Retrieval(candidates, shares.astype(np.float32, copy=False), weights.astype(np.float32))


def _best(query: Query, scored: _Scored) -> tuple[Merged, Rows]:
    """All scores, and the positions of those to answer with or to diversify, best first."""
    merged = merge_interests(scored.cosines, query.merge, query.temperature, query.weights, scored.nearest)
    if query.repeat_weight != 1:
        seen = _positions(query.seen, scored.rows)
        merged.scores[seen] *= np.float32(query.repeat_weight)
        merged.shares[:, seen] *= np.float32(query.repeat_weight)
    merged.scores[_positions(query.excluded, scored.rows)] = -np.inf
    chosen = best_positions(merged.scores, candidates_per_interest(query.k) if query.diversity else query.k)
    return merged, chosen[merged.scores[chosen] > -np.inf]


def _blocks(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Cut a sequence into runs whose sizes sum to at most `most`, or that have one element."""
    first = total = 0
    for index, size in enumerate(sizes):
        if index > first and total + size > most:
            yield slice(first, index)
            first, total = index, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))


def _positions(wanted: Rows, rows: Rows | None) -> Rows:
    """The positions of those of `wanted` that are among `rows` (ascending; None: 1, 2, …)."""
    if rows is None:
        return wanted[wanted > 0] - 1
    positions = np.searchsorted(rows, wanted)
    there = positions < len(rows)
    positions = positions[there]
    found: Rows = positions[rows[positions] == wanted[there]]
    return found
