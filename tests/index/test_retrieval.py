"""Retrieval against plain loops, and the promises that hold over every index."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.catalogue import Catalogue
from index.errors import QueryError, VectorError
from index.exact import ExactIndex
from index.faiss_index import build_index
from index.merging import Merge
from index.retrieval import LARGEST_ASK, Query, Retrieval, Retriever
from index.vector_index import Rows, VectorIndex, Vectors
from tests.factories import CATEGORIES, make_catalogue, make_unit_vectors
from tests.index.reference import assert_answers, eligible_rows

DIM = 8

# How long a busy machine takes says nothing about the code.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@cache
def world(items: int, kind: str) -> tuple[VectorIndex, Catalogue, Vectors]:
    vectors = make_unit_vectors(items, DIM, seed=items)
    index: VectorIndex = ExactIndex(vectors) if kind == "exact" else build_index(vectors, kind)
    return index, make_catalogue(items, seed=items), vectors


class CountingIndex:
    """A real index that remembers what it was asked."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self.kind, self.dim = index.kind, index.dim
        self.searches: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        self.searches.append((len(queries), k))
        return self._index.search(queries, k)

    def vectors(self, rows: Rows) -> Vectors:
        return self._index.vectors(rows)


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
        excluded=excluded if draw(st.booleans()) else np.array(sorted(excluded), dtype=np.int64),
        categories=draw(st.none() | names),
        diversity=draw(st.sampled_from([0.0, 0.3, 1.0])),
        merge=merge,
        temperature=draw(st.sampled_from([0.01, 0.07, 1.0])),
        weights=draw(st.none() | st.just(np.array(parts, dtype=np.float32) / sum(parts))),
        seen=draw(st.none() | st.just(np.array(seen, dtype=np.int64))),
        seen_weight=draw(st.sampled_from([1.0, 0.001, 5.0])) if merge == "mean" else 1.0,
    )


def assert_same(found: Retrieval, other: Retrieval) -> None:
    assert [c.row for c in found.candidates] == [c.row for c in other.candidates]
    assert [c.interest for c in found.candidates] == [c.interest for c in other.candidates]
    np.testing.assert_allclose(
        [c.score for c in found.candidates], [c.score for c in other.candidates], atol=1e-6
    )
    np.testing.assert_allclose(found.interest_weights, other.interest_weights, atol=1e-5)


# Small catalogues are scored whole, large ones searched. Derandomised: a tie between float32 and float64 is
# one in thousands, and must not come and go.
@pytest.mark.parametrize("kind", ["exact", "flat"])
@pytest.mark.parametrize("items", [1, 7, 120, 2500])
@settings(max_examples=25, derandomize=True, **PATIENT)
@given(data=st.data())
def test_exact_indexes_answer_as_the_plain_loops_do(kind: str, items: int, data: st.DataObject) -> None:
    index, catalogue, vectors = world(items, kind)
    asked = data.draw(st.lists(queries(items), min_size=1, max_size=3))
    for query, found in zip(asked, Retriever(index, catalogue).retrieve(asked), strict=True):
        assert_answers(found, query, vectors, catalogue)


def test_seen_items_that_count_more_are_found_however_far_they_are() -> None:
    index, catalogue, vectors = world(2500, "flat")
    interest = make_unit_vectors(1, DIM, seed=3)
    far = np.argsort(vectors @ interest[0])[1000:1005] + 1
    query = Query(interest, 5, temperature=1.0, seen=far, seen_weight=1000.0)
    (found,) = Retriever(index, catalogue).retrieve([query])
    assert {candidate.row for candidate in found.candidates} == set(far.tolist())


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@settings(max_examples=40, **PATIENT)
@given(asked=st.lists(queries(3000), max_size=4))
def test_the_promises_hold_over_every_index(kind: str, asked: list[Query]) -> None:
    index, catalogue, _ = world(3000, kind)
    for query, found in zip(asked, Retriever(index, catalogue).retrieve(asked), strict=True):
        rows = [candidate.row for candidate in found.candidates]
        eligible = eligible_rows(catalogue, query)
        assert len(rows) == len(set(rows)) == min(query.k, len(eligible))
        assert set(rows) <= set(eligible)
        assert all(0 <= candidate.interest < len(query.interests) for candidate in found.candidates)
        assert found.interest_weights.min() >= 0
        assert abs(found.interest_weights.sum() - 1) < 1e-5
        if query.diversity == 0:
            order = [(-candidate.score, candidate.row) for candidate in found.candidates]
            assert order == sorted(order)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@settings(max_examples=15, derandomize=True, **PATIENT)
@given(asked=st.lists(queries(3000), min_size=2, max_size=4))
def test_an_answer_does_not_depend_on_its_company(kind: str, asked: list[Query]) -> None:
    retriever = Retriever(*world(3000, kind)[:2])
    for query, found in zip(asked, retriever.retrieve(asked), strict=True):
        assert_same(found, retriever.retrieve([query])[0])


def test_a_batch_of_mixed_queries_is_one_search() -> None:
    index, catalogue, vectors = world(2500, "flat")
    counting = CountingIndex(index)
    asked = [
        Query(make_unit_vectors(1 + place, DIM, seed=place), k, excluded=frozenset(range(k)), diversity=0.2)
        for place, k in enumerate([1, 5, 10, 25])
    ]
    for query, found in zip(asked, Retriever(counting, catalogue).retrieve(asked), strict=True):
        assert_answers(found, query, vectors, catalogue)
    assert counting.searches == [(1 + 2 + 3 + 4, 128)]


def test_a_query_that_must_ask_for_more_does_not_deepen_the_search_for_others() -> None:
    index, catalogue, _ = world(20_000, "flat")
    counting = CountingIndex(index)
    interest = make_unit_vectors(1, DIM)
    asked = [Query(interest, 10), Query(interest, 10, excluded=frozenset(range(1, 500))), Query(interest, 10)]
    Retriever(counting, catalogue).retrieve(asked)
    assert counting.searches == [(2, 128), (1, 1024)]


@pytest.fixture(scope="module")
def far_category() -> tuple[CountingIndex, Catalogue, Vectors]:
    """20,000 items of which the half that is nearest to the first axis lacks the category `far`."""
    vectors = make_unit_vectors(20_000, DIM, seed=9)
    ranks = np.argsort(np.argsort(-vectors[:, 0]))
    categories = [["far"] if rank >= 10_000 else ["near"] for rank in ranks]
    ids = [str(line) for line in range(20_000)]
    catalogue = Catalogue(ids, [None] * 20_000, categories, [0] * 20_000)
    return CountingIndex(build_index(vectors, "flat")), catalogue, vectors


def test_a_filter_that_hides_all_that_is_near_is_searched_deeper_then_scored(
    far_category: tuple[CountingIndex, Catalogue, Vectors],
) -> None:
    index, catalogue, vectors = far_category
    index.searches.clear()
    query = Query(np.eye(DIM, dtype=np.float32)[:1], 10, categories=frozenset(["far"]), merge="max")
    found = Retriever(index, catalogue).retrieve([query])[0]
    assert [k for _, k in index.searches] == [256, 1024, LARGEST_ASK]
    assert_answers(found, query, vectors, catalogue)


def test_only_queries_that_came_back_short_are_searched_again(
    far_category: tuple[CountingIndex, Catalogue, Vectors],
) -> None:
    index, catalogue, vectors = far_category
    index.searches.clear()
    axis = np.eye(DIM, dtype=np.float32)[:1]
    far = frozenset(["far"])
    asked = [Query(sign * axis, 10, categories=far, merge="max") for sign in (-1, 1, -1)]
    for query, found in zip(asked, Retriever(index, catalogue).retrieve(asked), strict=True):
        assert_answers(found, query, vectors, catalogue)
    assert index.searches == [(3, 256), (1, 1024), (1, LARGEST_ASK)]


def test_everything_but_a_few_excluded_is_scored_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.retrieval.EXACT_CHUNK", 7)
    index, catalogue, vectors = world(2500, "flat")
    counting = CountingIndex(index)
    left = {5, 17, 18, 400, 401, 402, 403, 404, 405, 406, 1999, 2500}
    query = Query(make_unit_vectors(3, DIM), 50, excluded=frozenset(range(2501)) - left)
    found = Retriever(counting, catalogue).retrieve([query])[0]
    assert {candidate.row for candidate in found.candidates} == left
    assert counting.searches == []
    assert_answers(found, query, vectors, catalogue)


@pytest.mark.parametrize("count", [0, 600, 1100, 5000])
def test_cells_that_hold_too_few_do_not_make_the_answer_short(count: int) -> None:
    """An ivf index gives up after the cells it looks into: with these excluded, fewer than k are left."""
    index, catalogue, vectors = world(20_000, "ivf")
    interest = make_unit_vectors(1, DIM, seed=4)
    excluded = nearest(vectors, interest[0], count)
    query = Query(interest, 500, excluded=excluded)
    found = Retriever(index, catalogue).retrieve([query])[0]
    rows = {candidate.row for candidate in found.candidates}
    assert len(rows) == 500
    assert not rows & excluded


def test_equal_scores_come_in_row_order() -> None:
    vectors = np.eye(DIM, dtype=np.float32)[[1, 0, 1, 0, 0, 1]]
    retriever = Retriever(build_index(vectors), make_catalogue(6))
    for merge in ("mean", "max"):
        # So low a temperature that both softmaxes are sums of ones and zeros: equal to the last bit.
        found = retriever.retrieve([Query(vectors[:2], 6, merge=merge, temperature=0.01)])[0]
        assert [candidate.row for candidate in found.candidates] == [1, 2, 3, 4, 5, 6]
        assert [candidate.interest for candidate in found.candidates] == [0, 1, 0, 1, 1, 0]


def test_interests_that_are_the_same_have_the_same_weight() -> None:
    index, catalogue, _ = world(2500, "flat")
    interest = make_unit_vectors(1, DIM)
    found = Retriever(index, catalogue).retrieve([Query(np.repeat(interest, 4, axis=0), 10)])[0]
    np.testing.assert_allclose(found.interest_weights, 0.25, rtol=1e-6)


def test_nothing_eligible_is_an_empty_answer() -> None:
    index, catalogue, _ = world(120, "flat")
    for impossible in (
        Query(make_unit_vectors(2, DIM), 5, excluded=frozenset(range(1, 121))),
        Query(make_unit_vectors(2, DIM), 5, categories=frozenset(["unknown"])),
        Query(make_unit_vectors(2, DIM), 5, categories=frozenset()),
    ):
        found = Retriever(index, catalogue).retrieve([impossible])[0]
        assert found.candidates == []
        assert found.interest_weights.tolist() == [0.5, 0.5]
    assert Retriever(index, catalogue).retrieve([]) == []


@pytest.mark.parametrize("items", [120, 2500])
def test_similar_items_are_the_nearest_others(items: int) -> None:
    index, catalogue, vectors = world(items, "flat")
    found = Retriever(index, catalogue).similar(42, 10)
    cosines = vectors.astype(float) @ vectors[41].astype(float)
    expected = [row for row in (np.argsort(-cosines) + 1).tolist() if row != 42][:10]
    assert [candidate.row for candidate in found] == expected
    np.testing.assert_allclose(
        [candidate.score for candidate in found], cosines[np.array(expected) - 1], atol=1e-6
    )
    assert len(Retriever(index, catalogue).similar(1, 1000)) == min(items - 1, 1000)


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
        ({"seen_weight": 0.0}, "seen_weight must be 1e-06"),
        ({"seen_weight": 0.5, "merge": "max"}, "seen_weight must be 1 where merge is max"),
        ({"merge": "median"}, "merge must be mean or max, not 'median'"),
        ({"interests": np.empty((0, DIM), dtype=np.float32)}, "interests must be 1 … 1024, not 0"),
    ],
)
def test_queries_out_of_bounds_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Query(**({"interests": make_unit_vectors(1, DIM), "k": 10} | fields))


def test_what_does_not_fit_the_catalogue_is_refused() -> None:
    index, catalogue, vectors = world(120, "flat")
    retriever = Retriever(index, catalogue)
    with pytest.raises(VectorError, match="length 1"):
        Query(2 * vectors[:1], 10)
    with pytest.raises(QueryError, match="excluded rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, excluded=frozenset([121]))])
    with pytest.raises(QueryError, match="excluded rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, excluded=np.array([-1]))])
    with pytest.raises(QueryError, match="seen rows must lie in 1 … 120"):
        retriever.retrieve([Query(vectors[:1], 10, seen=np.array([121]), seen_weight=0.5)])
    with pytest.raises(VectorError, match="9 dimensions, the index has 8"):
        retriever.retrieve([Query(make_unit_vectors(1, 9), 10)])
    with pytest.raises(VectorError, match="rows must lie in 1 … 120"):
        retriever.similar(0, 10)
    with pytest.raises(QueryError, match="the index has 120 items, the catalogue 7"):
        Retriever(index, world(7, "flat")[1])
