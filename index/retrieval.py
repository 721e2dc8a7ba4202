"""From interests to candidates: batched search, filters that never come back short, merging, diversity.

What a query means (and what the plain-loop reference in the tests computes): every interest brings its
``depth(k)`` nearest *eligible* items, those neither excluded nor outside the asked categories. Their union is
scored over all interests (:mod:`index.merging`). The best ``k`` are the answer or, with diversity, ``k``
chosen greedily from the best ``depth(k)``: always ``k`` candidates, or every eligible item. Where seen items
count less than the rest, an interest brings as many more as there are eligible ones of them; where they count
more, all of these join the union.

How it is found: the index is asked for more hits than needed, for the ineligible ones to be dropped. Where an
interest then has too few, it is asked again, deeper; where that would cost more than scoring every eligible
item, or has reached its limit, every eligible item is scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.errors import QueryError
from index.exact import ExactIndex, best_positions
from index.merging import DEFAULT_TEMPERATURE, Merge, diversify, merge_interests, reweigh
from index.vector_index import Rows, VectorIndex, Vectors, checked_unit_vectors

MAX_K = 1_000
MAX_INTERESTS = 1_024
LARGEST_SEEN_WEIGHT = 1e6

# The index is asked for a power of two of hits between these; FAISS on a GPU gives 2,048 at most.
SMALLEST_ASK = 128
LARGEST_ASK = 2_048

# A category filter is assumed to be met this much less often near an interest than in the whole catalogue.
FILTER_MARGIN = 1.5

# Scoring about this many items costs as much as one more hit from the index.
ITEMS_PER_HIT = 8

# Eligible items are scored this many at a time where all are scored.
EXACT_CHUNK = 65_536


_NONE: Rows = np.empty(0, dtype=np.int64)


def depth(k: int) -> int:
    """Return how many eligible items each interest brings for ``k`` answers."""
    return max(50, 2 * k)


@dataclass(frozen=True, eq=False)
class Query:
    """One user's interests and wishes.

    ``interests`` (interests, dim): unit rows; ``k``: 1 … 1,000; ``excluded``: rows never to answer with
    (0, padding, may be among them); ``categories``: answer only with items that have any of them, None for
    all; ``diversity``: δ in 0 … 1; ``merge`` and ``temperature`` (0.001 … 1000): how interests are merged
    (:func:`index.merging.merge_interests`); ``weights`` (interests,): what each counts in the mean, of sum
    1, None for as much each; ``seen``: rows whose merged score counts ``seen_weight`` (10⁻⁶ … 10⁶) times, and
    other than once only in the mean. Raises :class:`QueryError`, or VectorError for the interests.
    """

    interests: Vectors
    k: int
    excluded: frozenset[int] | Rows = frozenset()
    categories: frozenset[str] | None = None
    diversity: float = 0.0
    merge: Merge = "mean"
    temperature: float = DEFAULT_TEMPERATURE
    weights: Vectors | None = None
    seen: Rows | None = None
    seen_weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "interests", checked_unit_vectors(self.interests, "interests"))
        _check_range("interests", len(self.interests), 1, MAX_INTERESTS)
        _check_range("k", self.k, 1, MAX_K)
        _check_range("diversity", self.diversity, 0, 1)
        _check_range("temperature", self.temperature, 0.001, 1000)
        _check_range("seen_weight", self.seen_weight, 1 / LARGEST_SEEN_WEIGHT, LARGEST_SEEN_WEIGHT)
        if self.merge not in ("mean", "max"):
            raise QueryError(f"merge must be mean or max, not {self.merge!r}")
        if self.merge == "max" and self.seen_weight != 1:
            raise QueryError("seen_weight must be 1 where merge is max: a cosine is no probability")
        if self.weights is not None:
            object.__setattr__(self, "weights", _checked_weights(self.weights, len(self.interests)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item found: its row, its merged score, and the interest (0 …) that contributed most to it."""

    row: int
    score: float
    interest: int


@dataclass(frozen=True, eq=False)
class Retrieval:
    """The answer to one query.

    ``candidates``: in the order of choice, by descending score (then ascending row) where diversity is 0;
    ``interest_weights`` (interests,): each interest's part in the candidates' scores; sums to 1.
    """

    candidates: list[Candidate]
    interest_weights: NDArray[np.float32]


class Retriever:
    """Retrieval over one index and the catalogue that describes its rows."""

    def __init__(self, index: VectorIndex, catalogue: Catalogue) -> None:
        if len(index) != len(catalogue):
            raise QueryError(
                f"the index has {len(index)} items, the catalogue {len(catalogue)}: build both anew"
            )
        self._index = index
        self._catalogue = catalogue
        self._limit = min(LARGEST_ASK, len(index))

    def retrieve(self, queries: Sequence[Query]) -> list[Retrieval]:
        """Answer every query, in order; an answer does not depend on the other queries."""
        plans = [self._plan(query) for query in queries]
        waiting = [plan for plan in plans if plan.ask]
        while waiting:
            # A query's hits are searched with those that ask for as many (nearly always: all of them, once).
            # Together with the rest it would be cheaper at times, but a graph search for more hits walks
            # further, and so an answer would depend on its company.
            waiting.sort(key=attrgetter("ask"))
            for ask, group in groupby(waiting, key=attrgetter("ask")):
                self._search(list(group), ask)
            waiting = [plan for plan in waiting if plan.pool is None and plan.ask]
        return [self._answer(plan) for plan in plans]

    def similar(self, row: int, k: int) -> list[Candidate]:
        """Return the ``k`` items nearest to the item ``row``, itself left out, by cosine."""
        vector = self._index.vectors(np.array([row]))
        query = Query(vector, k, excluded=frozenset([row]), merge="max")
        return self.retrieve([query])[0].candidates

    def _plan(self, query: Query) -> "_Plan":
        """Find what is eligible and how many hits to ask the index for."""
        items = len(self._index)
        if query.categories is None:
            eligible = np.ones(items + 2, dtype=np.bool_)
            rarity = 1.0
        else:
            filtered = self._catalogue.rows_in(query.categories)
            eligible = np.zeros(items + 2, dtype=np.bool_)
            eligible[filtered] = True
            rarity = FILTER_MARGIN * items / max(len(filtered), 1)
        excluded = query.excluded
        if isinstance(excluded, frozenset):
            excluded = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
        seen = _NONE if query.seen is None or query.seen_weight == 1 else query.seen
        for name, rows in (("excluded", excluded), ("seen", seen)):
            if len(rows) and not 0 <= rows.min() <= rows.max() <= items:
                raise QueryError(f"{name} rows must lie in 1 … {items}")
        eligible[excluded] = False
        eligible[[0, -1]] = False
        count = int(np.count_nonzero(eligible))
        seen = np.unique(seen[eligible[seen]])
        wanted = min(depth(query.k) + (len(seen) if query.seen_weight < 1 else 0), count)
        ask = self._first_ask(count, len(excluded) + rarity * wanted, filtered=query.categories is not None)
        return _Plan(query, eligible, count, seen, wanted, ask)

    def _first_ask(self, eligible: int, expected: float, *, filtered: bool) -> int:
        """Return the hits to ask for where ``expected`` should do, 0 where scoring all is cheaper."""
        if ITEMS_PER_HIT * expected >= eligible or (filtered and expected > self._limit):
            return 0
        return min(max(SMALLEST_ASK, 1 << (int(expected) - 1).bit_length()), self._limit)

    def _search(self, plans: list["_Plan"], ask: int) -> None:
        """Search for all ``plans`` at once and give each its hits."""
        interests = [plan.query.interests for plan in plans]
        _, rows = self._index.search(np.concatenate(interests), ask)
        ends = np.cumsum([len(block) for block in interests])
        for plan, hits in zip(plans, np.split(rows, ends[:-1]), strict=True):
            plan.take(hits, self._limit)

    def _score_all(self, plan: "_Plan") -> Rows:
        """Return the union of each interest's nearest eligible items, found by scoring all of them."""
        rows = np.flatnonzero(plan.eligible)
        interests = plan.query.interests
        best = np.empty((len(interests), 0), dtype=np.float32)
        found = np.empty((len(interests), 0), dtype=np.int64)
        for start in range(0, len(rows), EXACT_CHUNK):
            chunk = rows[start : start + EXACT_CHUNK]
            cosines, hits = ExactIndex(self._index.vectors(chunk), chunk).search(interests, plan.wanted)
            best, found = np.hstack([best, cosines]), np.hstack([found, hits])
            order = np.argsort(-best, axis=1, kind="stable")[:, : plan.wanted]
            best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
        return np.unique(found[found > 0])

    def _answer(self, plan: "_Plan") -> Retrieval:
        query = plan.query
        pool = self._score_all(plan) if plan.pool is None else plan.pool
        if query.seen_weight > 1:
            pool = np.union1d(pool, plan.seen)
        if not len(pool):
            interests = len(query.interests)
            return Retrieval([], np.full(interests, 1 / interests, dtype=np.float32))
        merged = merge_interests(
            query.interests @ self._index.vectors(pool).T, query.merge, query.temperature, query.weights
        )
        if len(plan.seen):
            merged = reweigh(merged, np.isin(pool, plan.seen), query.seen_weight)
        if query.diversity > 0:
            chosen = best_positions(merged.scores, depth(query.k))
            categories = self._catalogue.category_matrix(pool[chosen])
            chosen = chosen[diversify(merged.scores[chosen], categories, query.k, query.diversity)]
        else:
            chosen = best_positions(merged.scores, query.k)
        shares = merged.shares[:, chosen]
        columns = (pool[chosen], merged.scores[chosen], shares.argmax(axis=0))
        candidates = [
            Candidate(*found) for found in zip(*(column.tolist() for column in columns), strict=True)
        ]
        return Retrieval(candidates, shares.sum(axis=1) / shares.sum())


@dataclass(slots=True)
class _Plan:
    """How far the search for one query is.

    ``eligible`` (items + 2,): whether a row may be answered; the first entry stands for padding and the last
    for −1, an index's "no hit", and both are False. ``seen``: eligible rows that count otherwise than the
    rest; ``wanted``: eligible hits each interest should have; ``ask``: hits to ask the index for next, 0 for
    none; ``pool``: the union of the hits, once they do.
    """

    query: Query
    eligible: NDArray[np.bool_]
    eligible_count: int
    seen: Rows
    wanted: int
    ask: int
    pool: Rows | None = None

    def take(self, hits: Rows, limit: int) -> None:
        """Keep the ``hits`` (interests, ask) if they do, or ask for more, or (ask = 0) give up asking."""
        usable = self.eligible[hits]
        ranks = usable.cumsum(axis=1)
        pool = np.unique(hits[usable & (ranks <= self.wanted)])
        has_no_more = hits.min() < 0
        enough_for_k = len(pool) >= min(self.query.k, self.eligible_count)
        if ranks[:, -1].min() >= self.wanted or (has_no_more and enough_for_k):
            self.pool = pool
        elif has_no_more or self.ask == limit:
            self.ask = 0
        else:
            self.ask = min(4 * self.ask, limit)


def _checked_weights(weights: Vectors, interests: int) -> Vectors:
    checked = np.asarray(weights, dtype=np.float32)
    if checked.shape != (interests,) or not (checked >= 0).all() or abs(checked.sum() - 1) > 1e-4:
        raise QueryError(f"weights must be {interests} numbers of sum 1, none below 0")
    return checked


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise QueryError(f"{name} must be {low} … {high}, not {value}")
