"""Hits that a search of a large catalogue asks its index for."""

import numpy as np
import pytest

from index import tuning
from index.eligibility import Eligibility, EligibleRows
from index.exact import ExactIndex
from index.pooling import SOFTMAX_HITS, Pooling, candidates_per_interest
from index.query import Query, distinct
from index.vector_index import Eligible, Hits, Vectors
from index.vector_table import VectorTable
from tests.factories import make_catalogue, make_unit_vectors

ITEMS, DIM = 6_000, 8
TABLE = VectorTable(make_unit_vectors(ITEMS, DIM, seed=3))
INTERESTS = make_unit_vectors(3, DIM, seed=5)
NEAREST = ExactIndex(TABLE).search(INTERESTS, ITEMS).rows


class Asked(ExactIndex):
    """An exact index that notes for how many hits it was asked."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        self.hits: list[int] = []

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        self.hits.append(k)
        return super().search(queries, k, eligible)


@pytest.fixture(scope="module")
def everything() -> EligibleRows:
    return Eligibility(make_catalogue(ITEMS)).of(None)


def searched(query: Query, eligible: EligibleRows) -> tuple[list[int], np.ndarray]:
    index = Asked()
    (pool,) = Pooling(index, TABLE).pools([query], [eligible])
    return index.hits, pool.rows


@pytest.mark.parametrize(("k", "most"), [(10, SOFTMAX_HITS), (100, 384), (500, 1_280)])
def test_a_long_history_asks_for_hardly_more_hits_than_a_short_one(
    everything: EligibleRows, k: int, most: int
) -> None:
    far = distinct(NEAREST[0, -1_000:])
    asked, _ = searched(Query(INTERESTS[:1], k, excluded=far), everything)
    assert len(asked) == 1
    assert asked[0] <= most


@pytest.mark.parametrize("k", [1, 10, 100, 500, 1_000])
@pytest.mark.parametrize("excluded", [0, 40, 300, 1_000, 3_000])
def test_every_interest_brings_as_many_as_are_wanted_though_the_nearest_are_excluded(
    everything: EligibleRows, k: int, excluded: int
) -> None:
    query = Query(INTERESTS, k, excluded=NEAREST[1, :excluded])
    asked, rows = searched(query, everything)
    wanted = candidates_per_interest(k)
    expected = {
        row for line in NEAREST.tolist() for row in [r for r in line if r not in set(query.excluded)][:wanted]
    }
    assert rows.tolist() == sorted(expected)
    assert max(asked, default=0) <= max(tuning.MAX_HITS, wanted + excluded + 128)


@pytest.mark.parametrize("size", [0, 1, 5, 1_000])
def test_distinct_rows_are_those_of_a_set(size: int) -> None:
    rows = np.random.default_rng(size).integers(0, 300, size)
    assert distinct(rows).tolist() == sorted(set(rows.tolist()))
