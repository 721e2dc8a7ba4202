"""From interests to candidates: filters that never come back short, merging, diversity.

A query's *eligible* items are those of the categories and of the filter that it asks for. Every interest is a
distribution over them, softmax(cosine / temperature), and an item's score is the interests' weighted mean
(`index.merging`); then the excluded items are struck from the list. So a score depends neither on `k`
nor on what is excluded. The best `k` are the answer or, with diversity, `k` chosen greedily from the best
`candidates_per_interest(k)`: always `k`, or all that there are. Where some must be of added rows, the best of
these stand beside the others to be chosen from.

Where few items are eligible all of them are scored, those of a small catalogue in one product of a whole
batch's interests with the table. Where many are, the index brings each interest's nearest
(`index.pooling`); their union is scored, and an interest's `index.pooling.SOFTMAX_HITS` nearest
stand for all others in its softmax.

What was counted for a query is one more interest, over the eligible items that it knows.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from index import tuning
from index.catalogue import Catalogue
from index.eligibility import Eligibility, EligibleRows
from index.errors import QueryError
from index.filters import Filter
from index.pooling import Pooling, candidates_per_interest
from index.query import Candidate, Query, Retrieval, checked_interests, union
from index.vector_index import Hits, Rows, VectorIndex, Vectors
from index.vector_table import ItemVectors
from index.whole import (
    Scored,
    answer,
    answer_together,
    best_columns,
    nearest_hits,
    together_with_counted,
    with_counted,
)

MAX_SCORES_IN_MEMORY = 2**21
"""Cosines of a block of interests with a small catalogue: 8 MiB of float32.

64 requests of 12 interests over 50,000 items, processor ms on one thread: 2¹⁹ 145, 2²⁰ 142, 2²¹ 119, 2²² 109,
2²⁴ 155; over 20,000 items 49 to 43, over 2,000 all alike.
"""


class Retriever:
    """Retrieval over a catalogue: an index that searches it, and the table of vectors that scores its items.

    `max_whole_items`: up to so many eligible items are all scored, without the index; None: as measured
    (`index.tuning`). `eligibility`: the catalogue's, where there is one already.
    """

    def __init__(
        self,
        index: VectorIndex,
        table: ItemVectors,
        catalogue: Catalogue,
        max_whole_items: int | None = None,
        eligibility: Eligibility | None = None,
    ) -> None:
        if not len(index) == len(table) == len(catalogue):
            raise QueryError(
                f"the index has {len(index)} items, the catalogue {len(catalogue)}: build both anew"
            )
        self.max_whole_items = tuning.MAX_WHOLE_ITEMS if max_whole_items is None else max_whole_items
        """Eligible items up to which all are scored."""
        self._table = table
        self._catalogue = catalogue
        self.eligibility = Eligibility(catalogue) if eligibility is None else eligibility
        self._twins = None if catalogue.ties is None else catalogue.ties.twins
        self._pooling = Pooling(index, table, catalogue.ties)

    @property
    def added_rows(self) -> int:
        """Rows of the catalogue that are not its base's."""
        return len(self._catalogue) - self._catalogue.base_rows

    @property
    def scores_whole(self) -> bool:
        """True where so few items may be answered that all are scored."""
        return self.eligibility.of(None).count <= self.max_whole_items

    def retrieve(self, queries: Sequence[Query]) -> list[Retrieval]:
        """Answer every query, in order; an answer does not depend on the other queries."""
        if not queries:
            return []
        interests = checked_interests(queries, len(self._table), self._table.dim)
        eligible = [self.eligibility.of(query.categories, query.where) for query in queries]
        queries = list(map(_counting_eligible, queries, eligible))
        if self.scores_whole:
            return self._whole(queries, eligible, interests)
        return self._searched(queries, eligible)

    def similar(self, row: int, k: int, where: Filter | None = None) -> list[Candidate]:
        """The `k` items that `where` lets through nearest to the item `row`, itself left out, by cosine."""
        vector = self._table.vectors(np.array([row]))
        query = Query(vector, k, excluded=np.array([row]), where=where, merge="max")
        return self.retrieve([query])[0].candidates

    def _whole(
        self, queries: Sequence[Query], eligible: Sequence[EligibleRows], interests: Vectors
    ) -> list[Retrieval]:
        """Score all items of a small catalogue; `interests` are those of all queries."""
        done = 0
        most = max(1, MAX_SCORES_IN_MEMORY // len(self._table))
        answers: list[Retrieval] = []
        for block in _blocks([len(query.interests) for query in queries], most):
            starts = list(accumulate((len(query.interests) for query in queries[block]), initial=0))
            cosines = self._table.cosines(interests[done : done + starts[-1]])
            if len(self._catalogue.dead_rows):
                cosines[:, self._catalogue.dead_rows - 1] = -np.inf
            done += starts[-1]
            answers += self._of_block(queries[block], eligible[block], cosines, starts)
        return answers

    def _of_block(
        self,
        queries: Sequence[Query],
        eligible: Sequence[EligibleRows],
        cosines: Vectors,
        starts: Sequence[int],
    ) -> list[Retrieval]:
        """Answers from the cosines of all interests with all items; `starts`: each query's first interest."""
        groups: defaultdict[object, list[int]] = defaultdict(list)
        for index, (query, rows) in enumerate(zip(queries, eligible, strict=True)):
            alike = query.k, query.merge, query.temperature, query.diversity > 0, query.fresh > 0
            groups[len(query.interests), query.lines, id(rows), alike].append(index)
        answers: dict[int, Retrieval] = {}
        for indices in groups.values():
            first, rows = queries[indices[0]], eligible[indices[0]]
            lines = np.array([starts[index] for index in indices])[:, None] + np.arange(len(first.interests))
            whole = len(indices) == len(queries)
            own = cosines.reshape(*lines.shape, -1) if whole else cosines[lines]
            among = None if rows.everything and rows.count else rows.rows
            asked = [queries[index] for index in indices]
            own = own if among is None else own[:, :, among - 1]
            if first.counted is not None:
                own = together_with_counted(asked, among, own)
            found = answer_together(asked, among, own, self._catalogue)
            answers.update(zip(indices, found, strict=True))
        return [
            replace(answers[index], nearest=nearest)
            for index, nearest in enumerate(self._nearest(queries, cosines, starts))
        ]

    def _nearest(
        self, queries: Sequence[Query], cosines: Vectors, starts: Sequence[int]
    ) -> Iterator[Hits | None]:
        """Each query's nearest items, as many as it asks for; all that ask ask for as many."""
        count = max(query.nearest for query in queries)
        asking = np.repeat([query.nearest > 0 for query in queries], np.diff(starts))
        lines = cosines if asking.all() else cosines[asking]
        keys = None if self._twins is None else self._twins.all_keys
        hits = nearest_hits(lines, count, keys) if count else None
        first = 0
        for query in queries:
            if hits is None or not query.nearest:
                yield None
                continue
            last = first + len(query.interests)
            yield hits.of(slice(first, last)).first(query.nearest)
            first = last

    def _searched(self, queries: Sequence[Query], eligible: Sequence[EligibleRows]) -> list[Retrieval]:
        """Score what the index finds, or all eligible items where they are few."""
        many = [index for index, rows in enumerate(eligible) if rows.count > self.max_whole_items]
        pools = self._pooling.pools([queries[index] for index in many], [eligible[index] for index in many])
        found = dict(zip(many, pools, strict=True))
        answers = []
        for index, (query, rows) in enumerate(zip(queries, eligible, strict=True)):
            pool = found.get(index)
            among = rows.rows if pool is None else self._with_added(pool.rows, query, rows)
            cosines = self._cosines(query, among)
            scored = Scored(among, cosines, None if pool is None else pool.nearest.cosines)
            retrieval = answer(query, with_counted(query, scored), self._catalogue)
            if pool and query.nearest and rows.everything and query.nearest <= pool.nearest.rows.shape[1]:
                retrieval = replace(retrieval, nearest=pool.nearest.first(query.nearest))
            answers.append(retrieval)
        return answers

    def _with_added(self, pool: Rows, query: Query, eligible: EligibleRows) -> Rows:
        """The rows of a pool and, where some must be of added items, each interest's nearest of these."""
        if not query.fresh:
            return pool
        added = eligible.after(self._catalogue.base_rows)
        added = np.setdiff1d(added, query.distinct_excluded, assume_unique=True)
        count = min(candidates_per_interest(query.fresh), len(added))
        if not count:
            return pool
        keys = None if self._twins is None else self._twins.keys(added)
        nearest = best_columns(self._cosines(query, added), count, keys)
        return union(pool, added[nearest])

    def _cosines(self, query: Query, rows: Rows) -> Vectors:
        """The cosines (interests, rows) of a query with some rows."""
        cosines: Vectors = query.interests @ self._table.vectors(rows).T
        if self._twins is not None:
            self._twins.level(cosines, rows)
        return cosines


def _counting_eligible(query: Query, eligible: EligibleRows) -> Query:
    """The query with those counted items alone that are eligible; without any where none is."""
    if query.counted is None:
        return query
    counted = query.counted.among(eligible.mask)
    if not len(counted.rows) or not query.counted_weight:
        return replace(query, counted=None)
    return query if len(counted.rows) == len(query.counted.rows) else replace(query, counted=counted)


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
