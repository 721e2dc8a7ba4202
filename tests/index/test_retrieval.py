"""Retrieval against plain loops, and the promises that hold over every index."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import tuning
from index.building import build_index
from index.catalogue import Catalogue
from index.counts import Counted
from index.errors import QueryError, VectorError
from index.exact import ExactIndex
from index.merging import Merge
from index.query import Query, Retrieval
from index.retrieval import Retriever
from index.tuning import IndexKind
from index.vector_index import Eligible, Hits, Rows, VectorIndex, Vectors
from index.vector_table import VectorTable
from index.whole import nearest_hits
from tests.effort import examples
from tests.factories import CATEGORIES, make_catalogue, make_unit_vectors
from tests.filters import filters
from tests.index.reference import assert_answers, eligible_rows

DIM = 8
KINDS: list[IndexKind] = ["flat", "hnsw", "ivf"]

# How long a busy machine takes says nothing about the code.
PATIENT: dict[str, Any] = {"suppress_health_check": [HealthCheck.too_slow]}


@cache
def world(items: int, kind: IndexKind | str) -> tuple[VectorIndex, Catalogue, Vectors]:
    vectors = make_unit_vectors(items, DIM, seed=items)
    exact = kind == "exact"
    index: VectorIndex = ExactIndex(VectorTable(vectors)) if exact else build_index(vectors, kind)  # type: ignore[arg-type]
    return index, make_catalogue(items, seed=items, attributes=True), vectors


def retriever(items: int, kind: IndexKind | str = "flat") -> Retriever:
    index, catalogue, vectors = world(items, kind)
    return Retriever(index, VectorTable(vectors), catalogue)


@contextmanager
def searched() -> Iterator[None]:
    """Only tiny sets of items are scored whole, so that an index of some thousands is searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "MAX_WHOLE_ITEMS", 100)
        yield


class CountingIndex:
    """A real index that remembers what it was asked."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self.kind, self.dim = index.kind, index.dim
        self.searches: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        self.searches.append((len(queries), k))
        return self._index.search(queries, k, eligible)


def rows(*parts: Any) -> Rows:
    return np.array(sorted(set().union(*parts)), dtype=np.int64)


def nearest(vectors: Vectors, interest: Vectors, count: int) -> frozenset[int]:
    return frozenset((np.argsort(-(vectors @ interest))[:count] + 1).tolist())


@st.composite
def queries(draw: st.DrawFn, items: int) -> Query:
    """Any query; the exclusions are often just what it would have found."""
    interests = make_unit_vectors(draw(st.integers(1, 5)), DIM, seed=draw(st.integers(0, 10**6)))
    vectors = world(items, "flat")[2]
    excluded = draw(st.frozensets(st.integers(0, items), max_size=items))
    if draw(st.booleans()):
        excluded |= nearest(vectors, interests[0], draw(st.integers(0, items)))
    names = st.frozensets(st.sampled_from([*CATEGORIES, "unknown"]), max_size=3)
    parts = draw(st.lists(st.integers(1, 5), min_size=len(interests), max_size=len(interests)))
    merge: Merge = draw(st.sampled_from(["mean", "max"]))
    seen = draw(st.lists(st.integers(0, items), max_size=min(items, 60)))
    if draw(st.booleans()):
        seen += sorted(nearest(vectors, interests[0], draw(st.integers(0, min(items, 60)))))
    return Query(
        interests,
        k=draw(st.integers(1, 60)),
        excluded=rows(excluded),
        categories=draw(st.none() | names),
        where=draw(st.none() | filters()),
        diversity=draw(st.sampled_from([0.0, 0.3, 1.0])),
        merge=merge,
        temperature=draw(st.sampled_from([0.01, 0.07, 1.0])),
        weights=draw(st.none() | st.just((np.array(parts) / sum(parts)).astype(np.float32))),
        seen=np.array(seen, dtype=np.int64),
        repeat_weight=draw(st.sampled_from([1.0, 0.001, 5.0])) if merge == "mean" else 1.0,
        novelty=draw(st.sampled_from([0.0, 0.0, 0.3, 1.0])) if merge == "mean" else 0.0,
        counted=draw(st.none() | counted(items)) if merge == "mean" else None,
        counted_weight=draw(st.sampled_from([0.0, 0.1, 0.6])),
    )


@st.composite
def counted(draw: st.DrawFn, items: int) -> Counted:
    """Some items at random, with scores of any size."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    known = generator.permutation(items)[: draw(st.integers(0, min(items, 200)))] + 1
    scores = generator.uniform(0.01, 20, len(known)).astype(np.float32)
    return Counted(np.sort(known), scores)


def assert_same(found: Retrieval, other: Retrieval) -> None:
    assert [c.row for c in found.candidates] == [c.row for c in other.candidates]
    assert [c.interest for c in found.candidates] == [c.interest for c in other.candidates]
    np.testing.assert_allclose(
        [c.score for c in found.candidates], [c.score for c in other.candidates], atol=1e-6
    )
    np.testing.assert_allclose(found.interest_weights, other.interest_weights, atol=1e-5)


# Derandomised: a tie between float32 and float64 is one in thousands, and must not come and go.
@pytest.mark.parametrize("items", [1, 7, 120, 2500])
@settings(max_examples=examples(25), derandomize=True, **PATIENT)
@given(data=st.data())
def test_a_small_catalogue_is_answered_from_as_the_plain_loops_do(items: int, data: st.DataObject) -> None:
    _, catalogue, vectors = world(items, "flat")
    asked = data.draw(st.lists(queries(items), min_size=1, max_size=3))
    for query, found in zip(asked, retriever(items).retrieve(asked), strict=True):
        assert_answers(found, query, vectors, catalogue)


@pytest.mark.parametrize("kind", ["exact", "flat"])
@settings(max_examples=examples(40), derandomize=True, **PATIENT)
@given(asked=st.lists(queries(2500), min_size=1, max_size=3))
def test_a_searched_catalogue_is_answered_from_as_the_plain_loops_do(kind: str, asked: list[Query]) -> None:
    _, catalogue, vectors = world(2500, kind)
    with searched():
        answers = retriever(2500, kind).retrieve(asked)
    for query, found in zip(asked, answers, strict=True):
        few = len(eligible_rows(catalogue, query)) <= 100
        assert_answers(found, query, vectors, catalogue, searched=not few)


@pytest.mark.parametrize("searching", [False, True])
def test_scores_depend_neither_on_k_nor_on_what_is_excluded(searching: bool) -> None:
    interests = make_unit_vectors(4, DIM, seed=5)
    wide = Query(interests, 200)
    narrow = Query(interests, 3)
    without = Query(interests, 20, excluded=np.arange(1, 2000, 3))
    with searched() if searching else pytest.MonkeyPatch.context():
        many, few, some = retriever(2500).retrieve([wide, narrow, without])
    scores = {candidate.row: candidate.score for candidate in many.candidates}
    assert [candidate.row for candidate in few.candidates] == list(scores)[:3]
    expected = [row for row in scores if row not in set(without.excluded.tolist())][:20]
    assert [candidate.row for candidate in some.candidates][: len(expected)] == expected
    for candidate in (*few.candidates, *some.candidates):
        if candidate.row in scores:
            assert candidate.score == pytest.approx(scores[candidate.row], abs=1e-7)


def test_the_order_holds_far_from_every_interest() -> None:
    """What is left when all that is near was excluded has scores that float32 cannot hold."""
    _, _, vectors = world(2500, "flat")
    interest = make_unit_vectors(1, DIM, seed=6)
    far = np.argsort(-(vectors @ interest[0]), kind="stable")[1500:] + 1
    query = Query(interest, 50, temperature=0.005, excluded=rows(set(range(1, 2501)) - set(far.tolist())))
    (found,) = retriever(2500).retrieve([query])
    assert [candidate.row for candidate in found.candidates] == far[:50].tolist()


def test_seen_items_that_count_more_are_found_however_far_they_are() -> None:
    _, _, vectors = world(2500, "flat")
    interest = make_unit_vectors(1, DIM, seed=3)
    far = np.argsort(vectors @ interest[0])[1000:1005] + 1
    query = Query(interest, 5, temperature=1.0, seen=far, repeat_weight=1000.0)
    with searched():
        (found,) = retriever(2500).retrieve([query])
    assert {candidate.row for candidate in found.candidates} == set(far.tolist())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(40), **PATIENT)
@given(asked=st.lists(queries(3000), max_size=4))
def test_the_promises_hold_over_every_index(kind: IndexKind, asked: list[Query]) -> None:
    _, catalogue, _ = world(3000, kind)
    with searched():
        answers = retriever(3000, kind).retrieve(asked)
    for query, found in zip(asked, answers, strict=True):
        answered = [candidate.row for candidate in found.candidates]
        eligible = set(eligible_rows(catalogue, query)) - set(query.excluded.tolist())
        assert len(answered) == len(set(answered)) == min(query.k, len(eligible))
        assert set(answered) <= eligible
        assert all(0 <= candidate.interest < query.lines for candidate in found.candidates)
        assert found.interest_weights.min() >= 0
        assert abs(found.interest_weights.sum() - 1) < 1e-5
        if query.diversity == 0:
            order = [(-candidate.score, candidate.row) for candidate in found.candidates]
            assert order == sorted(order)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(15), derandomize=True, **PATIENT)
@given(asked=st.lists(queries(3000), min_size=2, max_size=4))
def test_an_answer_does_not_depend_on_its_company(kind: IndexKind, asked: list[Query]) -> None:
    with searched():
        for query, found in zip(asked, retriever(3000, kind).retrieve(asked), strict=True):
            assert_same(found, retriever(3000, kind).retrieve([query])[0])


def test_a_batch_of_mixed_queries_is_one_search() -> None:
    index, catalogue, vectors = world(2500, "flat")
    counting = CountingIndex(index)
    asked = [
        Query(make_unit_vectors(1 + place, DIM, seed=place), k, excluded=np.arange(k), diversity=0.2)
        for place, k in enumerate([1, 5, 10, 25])
    ]
    with searched():
        answers = Retriever(counting, VectorTable(vectors), catalogue).retrieve(asked)
    for query, found in zip(asked, answers, strict=True):
        assert_answers(found, query, vectors, catalogue, searched=True)
    assert counting.searches == [(1 + 2 + 3 + 4, 128)]


def test_a_query_that_must_ask_for_more_does_not_deepen_the_search_for_others() -> None:
    index, catalogue, vectors = world(20_000, "flat")
    counting = CountingIndex(index)
    interest = make_unit_vectors(1, DIM)
    nearest = index.search(interest, 499).rows[0]
    asked = [Query(interest, 10), Query(interest, 10, excluded=nearest), Query(interest, 10)]
    with searched():
        Retriever(counting, VectorTable(vectors), catalogue).retrieve(asked)
    assert counting.searches == [(3, 128), (1, 512), (1, 640)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_that_hides_all_that_is_near_is_answered_in_full(kind: IndexKind) -> None:
    """The half of the items that is nearest to the first axis lacks the category `far`."""
    items = 20_000
    vectors = make_unit_vectors(items, DIM, seed=9)
    ranks = np.argsort(np.argsort(-vectors[:, 0]))
    categories = [["far"] if rank >= items // 2 else ["near"] for rank in ranks]
    catalogue = Catalogue([str(line) for line in range(items)], [None] * items, categories, [0] * items)
    query = Query(
        np.eye(DIM, dtype=np.float32)[:1], 10, categories=frozenset(["far"]), merge="max", excluded=rows([1])
    )
    with searched():
        found = Retriever(build_index(vectors, kind), VectorTable(vectors), catalogue).retrieve([query])[0]
    answered = [candidate.row for candidate in found.candidates]
    assert len(answered) == 10
    assert all(catalogue.category(row) == ("far",) for row in answered)
    if kind != "ivf":  # which looks into some cells only
        assert_answers(found, query, vectors, catalogue, searched=True)


def test_the_work_of_a_filter_is_bounded_by_the_rows_of_its_categories() -> None:
    """However large the catalogue, a set of categories is laid out once, from its own rows alone."""
    touched: list[int] = []

    class CountingCatalogue(Catalogue):
        def rows_of(self, category: str) -> Rows:
            found = super().rows_of(category)
            touched.append(len(found))
            return found

    index, plain, vectors = world(20_000, "flat")
    catalogue = CountingCatalogue(plain.item_ids, plain.titles, plain.categories, plain.popularity)
    counting = CountingIndex(index)
    filtered = Retriever(counting, VectorTable(vectors), catalogue, max_whole_items=100)
    interests = make_unit_vectors(2, DIM)
    for _ in range(3):
        filtered.retrieve([Query(interests, 10, categories=frozenset(["News", "Sport"]))] * 5)
    assert touched == [len(plain.rows_of(name)) for name in frozenset(["News", "Sport"])]
    assert counting.searches == [(10, 128)] * 3
    for count in range(40):  # callers choose the sets, so that they must not pile up
        filtered.retrieve([Query(interests, 1, categories=frozenset([f"unknown {count}"]))])
    filtered.retrieve([Query(interests, 1, categories=frozenset(["News", "Sport"]))])
    assert len(touched) == 2 + 40 + 2


def test_everything_but_a_few_excluded_is_found_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.exact.CHUNK", 7)
    index, catalogue, vectors = world(2500, "flat")
    counting = CountingIndex(index)
    left = {5, 17, 18, 400, 401, 402, 403, 404, 405, 406, 1999, 2500}
    query = Query(make_unit_vectors(3, DIM), 50, excluded=rows(set(range(2501)) - left))
    with searched():
        found = Retriever(counting, VectorTable(vectors), catalogue).retrieve([query])[0]
    assert {candidate.row for candidate in found.candidates} == left
    assert counting.searches == []
    assert_answers(found, query, vectors, catalogue, searched=True)


@pytest.mark.parametrize("count", [0, 600, 1100, 5000])
def test_cells_that_hold_too_few_do_not_make_the_answer_short(count: int) -> None:
    """An ivf index gives up after the cells it looks into: with these excluded, fewer than k are left."""
    _, _, vectors = world(20_000, "ivf")
    interest = make_unit_vectors(1, DIM, seed=4)
    excluded = nearest(vectors, interest[0], count)
    with searched():
        found = retriever(20_000, "ivf").retrieve([Query(interest, 500, excluded=rows(excluded))])[0]
    answered = {candidate.row for candidate in found.candidates}
    assert len(answered) == 500
    assert not answered & excluded


def test_equal_scores_come_in_row_order() -> None:
    vectors = np.eye(DIM, dtype=np.float32)[[1, 0, 1, 0, 0, 1]]
    retriever = Retriever(build_index(vectors), VectorTable(vectors), make_catalogue(6))
    merges: tuple[Merge, ...] = ("mean", "max")
    for merge in merges:
        # So low a temperature that both softmaxes are sums of ones and zeros: equal to the last bit.
        found = retriever.retrieve([Query(vectors[:2], 6, merge=merge, temperature=0.01)])[0]
        assert [candidate.row for candidate in found.candidates] == [1, 2, 3, 4, 5, 6]
        assert [candidate.interest for candidate in found.candidates] == [0, 1, 0, 1, 1, 0]


def test_interests_that_are_the_same_have_the_same_weight() -> None:
    interest = make_unit_vectors(1, DIM)
    found = retriever(2500).retrieve([Query(np.repeat(interest, 4, axis=0), 10)])[0]
    np.testing.assert_allclose(found.interest_weights, 0.25, rtol=1e-6)


def test_nothing_eligible_is_an_empty_answer() -> None:
    for impossible in (
        Query(make_unit_vectors(2, DIM), 5, excluded=np.arange(1, 121)),
        Query(make_unit_vectors(2, DIM), 5, categories=frozenset(["unknown"])),
        Query(make_unit_vectors(2, DIM), 5, categories=frozenset()),
    ):
        found = retriever(120).retrieve([impossible])[0]
        assert found.candidates == []
        assert found.interest_weights.tolist() == [0.5, 0.5]
    assert retriever(120).retrieve([]) == []


@pytest.mark.parametrize("items", [120, 2500])
def test_similar_items_are_the_nearest_others(items: int) -> None:
    _, _, vectors = world(items, "flat")
    found = retriever(items).similar(42, 10)
    cosines = vectors.astype(float) @ vectors[41].astype(float)
    expected = [row for row in (np.argsort(-cosines) + 1).tolist() if row != 42][:10]
    assert [candidate.row for candidate in found] == expected
    np.testing.assert_allclose(
        [candidate.score for candidate in found], cosines[np.array(expected) - 1], atol=1e-6
    )
    assert len(retriever(items).similar(1, 1000)) == min(items - 1, 1000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 0}, "k must be 1 … 1000, not 0"),
        ({"k": 1001}, "k must be 1 … 1000"),
        ({"diversity": -0.1}, "diversity must be 0 … 1"),
        ({"diversity": float("nan")}, "diversity must be 0 … 1, not nan"),
        ({"temperature": 0.0}, "temperature must be 0.001"),
        ({"temperature": float("inf")}, "temperature must be 0.001"),
        ({"weights": np.array([0.9], dtype=np.float32)}, "weights must be 1 numbers of sum 1, none below 0"),
        ({"weights": np.array([0.5, 0.5], dtype=np.float32)}, "weights must be 1 numbers of sum 1"),
        ({"weights": np.array([np.nan], dtype=np.float32)}, "weights must be 1 numbers of sum 1"),
        ({"repeat_weight": 0.0}, "repeat_weight must be 1e-06"),
        ({"repeat_weight": 0.5, "merge": "max"}, "repeat_weight must be 1 where merge is max"),
        ({"novelty": 1.5}, "novelty must be 0 … 1"),
        ({"novelty": 0.5, "merge": "max"}, "novelty must be 0 where merge is max"),
        ({"merge": "median"}, "merge must be mean or max, not 'median'"),
        ({"interests": np.empty((0, DIM), dtype=np.float32)}, "interests must be 1 … 1024, not 0"),
    ],
)
def test_queries_out_of_bounds_are_refused(fields: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"interests": make_unit_vectors(1, DIM), "k": 10} | fields
    with pytest.raises(QueryError, match=message):
        Query(**asked)


def test_what_does_not_fit_the_catalogue_is_refused() -> None:
    index, catalogue, vectors = world(120, "flat")
    retriever = Retriever(index, VectorTable(vectors), catalogue)
    with pytest.raises(VectorError, match="length 1"):
        retriever.retrieve([Query(vectors[:1], 10), Query(2 * vectors[:1], 10)])
    with pytest.raises(QueryError, match="excluded rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, excluded=np.array([121]))])
    with pytest.raises(QueryError, match="excluded rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, excluded=np.array([-1]))])
    with pytest.raises(QueryError, match="seen rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, seen=np.array([121]), repeat_weight=0.5)])
    with pytest.raises(VectorError, match="9 dimensions, the index has 8"):
        retriever.retrieve([Query(make_unit_vectors(1, 9), 10)])
    with pytest.raises(VectorError, match="rows must lie in 1 … 120"):
        retriever.similar(0, 10)
    with pytest.raises(QueryError, match="the index has 120 items, the catalogue 7"):
        Retriever(index, VectorTable(vectors), world(7, "flat")[1])


def test_the_nearest_are_looked_for_where_they_are_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sought: list[int] = []

    def counted(cosines: Vectors, count: int, keys: Rows | None) -> Hits:
        sought.append(len(cosines))
        return nearest_hits(cosines, count, keys)

    monkeypatch.setattr("index.retrieval.nearest_hits", counted)
    interests = make_unit_vectors(9, DIM, seed=5).reshape(3, 3, DIM)
    asked = [Query(own, 5, nearest=count) for own, count in zip(interests, (0, 50, 0), strict=True)]
    found = retriever(200).retrieve(asked)
    assert sought == [3]
    assert found[0].nearest is found[2].nearest is None
    (alone,) = retriever(200).retrieve([asked[1]])
    assert found[1].nearest is not None
    assert alone.nearest is not None
    np.testing.assert_array_equal(found[1].nearest.rows, alone.nearest.rows)
