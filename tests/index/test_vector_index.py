"""One suite over every index: the NumPy reference and FAISS's three kinds."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest

from index.building import build_index
from index.eligibility import EligibleRows
from index.errors import GpuUnavailableError, VectorError
from index.exact import ExactIndex
from index.faiss_index import gpu_available
from index.tuning import MAX_FLAT_ITEMS, IndexKind, choose_kind, ivf_cells, ivf_probes
from index.vector_index import VectorIndex, Vectors
from index.vector_table import VectorTable
from tests.factories import make_unit_vectors

ITEMS, DIM = 4000, 16

AnyKind = IndexKind | Literal["exact"]


def clustered(count: int, seed: int) -> Vectors:
    """Unit vectors around forty directions, as trained item vectors lie, only less tidy."""
    directions = make_unit_vectors(40, DIM, seed=1)
    generator = np.random.default_rng(seed)
    vectors = directions[generator.integers(40, size=count)] + make_unit_vectors(count, DIM, seed + 100)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = clustered(ITEMS, seed=2)
QUERIES = clustered(50, seed=3)


def nearest(queries: Vectors, k: int) -> np.ndarray:
    return np.argsort(-(queries @ VECTORS.T), axis=1, kind="stable")[:, :k] + 1


def index_of(vectors: Vectors, kind: AnyKind) -> VectorIndex:
    return ExactIndex(VectorTable(vectors)) if kind == "exact" else build_index(vectors, kind)


@pytest.fixture(scope="module", params=["exact", "flat", "hnsw", "ivf"])
def index(request: pytest.FixtureRequest) -> VectorIndex:
    return index_of(VECTORS, request.param)


@pytest.fixture(scope="module", params=["exact", "flat"])
def exact_index(request: pytest.FixtureRequest) -> VectorIndex:
    return index_of(VECTORS, request.param)


def test_says_what_it_is(index: VectorIndex) -> None:
    assert (len(index), index.dim) == (ITEMS, DIM)
    assert index.kind in {"exact", "flat", "hnsw", "ivf"}


@pytest.mark.parametrize("k", [1, 10, 333])
def test_exact_kinds_find_the_nearest_in_order(exact_index: VectorIndex, k: int) -> None:
    cosines, rows = exact_index.search(QUERIES, k)
    assert rows.dtype == np.int64
    assert cosines.dtype == np.float32
    np.testing.assert_array_equal(rows, nearest(QUERIES, k))
    np.testing.assert_allclose(cosines, -np.sort(-(QUERIES @ VECTORS.T))[:, :k], atol=1e-6)


@pytest.mark.parametrize(("kind", "least_recall"), [("hnsw", 0.98), ("ivf", 0.9)])
def test_approximate_kinds_find_nearly_all(kind: IndexKind, least_recall: float) -> None:
    _, rows = build_index(VECTORS, kind).search(QUERIES, 50)
    found = [
        len(set(line) & set(expected)) for line, expected in zip(rows, nearest(QUERIES, 50), strict=True)
    ]
    assert np.mean(found) / 50 >= least_recall


def test_hits_are_sorted_distinct_and_carry_their_cosine(index: VectorIndex) -> None:
    cosines, rows = index.search(QUERIES, 40)
    assert np.all(np.diff(cosines, axis=1) <= 0)
    for query, values, line in zip(QUERIES, cosines, rows, strict=True):
        assert len(set(line)) == 40
        np.testing.assert_allclose(values, VECTORS[line - 1] @ query, atol=1e-5)


def test_a_batch_finds_what_single_queries_find(index: VectorIndex) -> None:
    _, together = index.search(QUERIES, 20)
    alone = np.vstack([index.search(query[None], 20)[1] for query in QUERIES])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw", "ivf"])
@pytest.mark.parametrize("share", [0.02, 0.4, 1.0])
def test_only_eligible_rows_are_found(kind: AnyKind, share: float) -> None:
    index = index_of(VECTORS, kind)
    mask = np.zeros(ITEMS + 2, dtype=np.bool_)
    mask[1:-1] = np.random.default_rng(5).random(ITEMS) < share
    eligible = EligibleRows(mask, int(mask.sum()))
    cosines, rows = index.search(QUERIES, 20, eligible)
    assert mask[rows[rows > 0]].all()
    assert np.isneginf(cosines[rows < 0]).all()
    expected = [[row for row in line if mask[row]][:20] for line in nearest(QUERIES, ITEMS)]
    recall = [len(set(line) & set(best)) / 20 for line, best in zip(rows, expected, strict=True)]
    if kind in ("exact", "flat"):
        np.testing.assert_array_equal(rows, expected)
    else:
        assert np.mean(recall) >= (0.85 if share > 0.1 else 0.2)


def test_cells_further_away_are_looked_into_where_a_category_lies_apart() -> None:
    query = QUERIES[:1]
    mask = np.zeros(ITEMS + 2, dtype=np.bool_)
    mask[nearest(query, ITEMS)[0, ITEMS // 2 :]] = True
    cosines, rows = (
        build_index(VECTORS, "ivf").with_effort(1).search(query, 30, EligibleRows(mask, ITEMS // 2))
    )
    assert (rows > 0).all()
    assert mask[rows].all()
    assert np.all(np.diff(cosines) <= 0)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_table_of_an_index_has_the_vectors_of_its_rows(kind: IndexKind) -> None:
    table = build_index(VECTORS, kind).table  # outlives the index
    rows = np.array([ITEMS, 1, 77, 77])
    np.testing.assert_array_equal(table.vectors(rows), VECTORS[rows - 1])
    assert table.vectors(np.empty(0, dtype=np.int64)).shape == (0, DIM)
    for row in (0, -1, ITEMS + 1):
        with pytest.raises(VectorError, match="rows"):
            table.vectors(np.array([1, row]))


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw", "ivf"])
def test_fewer_items_than_asked_for_end_in_no_hit(kind: AnyKind) -> None:
    vectors = make_unit_vectors(3, DIM)
    index = index_of(vectors, kind)
    cosines, rows = index.search(vectors[:1], 5)
    assert sorted(rows[0, :3]) == [1, 2, 3]
    assert rows[0, 0] == 1
    assert rows[0, 3:].tolist() == [-1, -1]
    assert np.all(np.isneginf(cosines[0, 3:]))


def test_queries_that_make_no_sense_are_refused(index: VectorIndex) -> None:
    with pytest.raises(VectorError, match="17 dimensions, the index has 16"):
        index.search(make_unit_vectors(1, 17), 1)
    with pytest.raises(VectorError, match="shape"):
        index.search(QUERIES[0], 1)
    with pytest.raises(VectorError, match="line 1 has 2"):
        index.search(QUERIES[:2] * np.array([[1.0], [2.0]], dtype=np.float32), 1)
    with pytest.raises(VectorError, match="length 1"):
        index.search(np.full((1, DIM), np.nan, dtype=np.float32), 1)
    with pytest.raises(VectorError, match="k must be at least 1, not 0"):
        index.search(QUERIES, 0)


def test_what_cannot_be_indexed_is_refused() -> None:
    with pytest.raises(VectorError, match="at least one vector"):
        build_index(np.empty((0, DIM), dtype=np.float32))
    with pytest.raises(VectorError, match="line 3 has 0"):
        build_index(np.vstack([VECTORS[:3], np.zeros((1, DIM), dtype=np.float32)]))
    with pytest.raises(VectorError, match="'annoy'"):
        build_index(VECTORS, "annoy")  # type: ignore[arg-type]


def test_the_reference_breaks_ties_by_row() -> None:
    axes = np.eye(4, dtype=np.float32)[[0, 1, 0, 0]]
    cosines, rows = ExactIndex(VectorTable(axes)).search(np.eye(4, dtype=np.float32)[:1], 2)
    assert rows.tolist() == [[1, 3]]
    assert cosines.tolist() == [[1.0, 1.0]]


def test_the_kind_follows_from_the_catalogue_size() -> None:
    assert build_index(VECTORS).kind == "flat"
    assert choose_kind(MAX_FLAT_ITEMS) == "flat"
    assert choose_kind(MAX_FLAT_ITEMS + 1) == "ivf"


@pytest.mark.parametrize("items", [1, 38, 5000, 4_000_000])
def test_cells_and_probes_stay_within_reason(items: int) -> None:
    cells = ivf_cells(items)
    assert 1 <= ivf_probes(cells) <= cells <= max(1, items // 39)


@pytest.mark.skipif(gpu_available(), reason="there is a GPU")
def test_without_a_gpu_a_gpu_index_is_refused() -> None:
    with pytest.raises(GpuUnavailableError, match="`gpu` extra"):
        build_index(VECTORS).on_gpu()


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_available(), reason="needs faiss-gpu and a CUDA device")
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_gpu_index_finds_what_the_cpu_finds(kind: IndexKind) -> None:
    index = build_index(VECTORS, kind)
    cosines, rows = index.search(QUERIES, 20)
    gpu_cosines, gpu_rows = index.on_gpu().search(QUERIES, 20)
    np.testing.assert_allclose(gpu_cosines, cosines, atol=1e-4)
    assert np.mean(gpu_rows == rows) > 0.99


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_available(), reason="needs faiss-gpu and a CUDA device")
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_gpu_index_answers_threads_in_turn(kind: IndexKind) -> None:
    index = build_index(VECTORS, kind).on_gpu()
    alone = index.search(QUERIES, 20)[1]
    with ThreadPoolExecutor(8) as threads:
        for _, rows in threads.map(lambda _: index.search(QUERIES, 20), range(200)):
            np.testing.assert_array_equal(rows, alone)


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_available(), reason="needs faiss-gpu and a CUDA device")
def test_a_graph_stays_on_the_cpu() -> None:
    with pytest.raises(GpuUnavailableError, match="flat or ivf"):
        build_index(VECTORS, "hnsw").on_gpu()
