"""Answers of which some must be of rows that were added to the catalogue, against loops."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.errors import QueryError
from index.merging import Merge, diversify
from index.query import Query, Retrieval
from tests.effort import examples
from tests.factories import make_unit_vectors
from tests.index.reference import jaccard
from tests.index.test_layered import ADDED, DIM, ITEMS, World

PATIENT: dict[str, Any] = {"suppress_health_check": [HealthCheck.too_slow]}


def with_quota(ranked: list[int], k: int, fresh: int) -> list[int]:
    """The first `k`, but `fresh` rows beyond the base among them if there are so many."""
    added = [row for row in ranked if row > ITEMS][:fresh]
    others = [row for row in ranked if row not in added][: k - len(added)]
    return [row for row in ranked if row in {*added, *others}]


def asked(
    world: World, seed: int, k: int, merge: Merge, diversity: float, fresh: int, categories: Any
) -> Query:
    living = np.array(sorted(world.living.values()))
    return Query(
        make_unit_vectors(3, DIM, seed),
        k,
        excluded=np.concatenate([living[:5], living[living > ITEMS][::4]]),
        categories=None if categories is None else frozenset(categories),
        fresh=fresh,
        diversity=diversity,
        merge=merge,
    )


@settings(max_examples=examples(60), **PATIENT)
@given(
    seed=st.integers(0, 10_000),
    changes=st.integers(0, ADDED),
    kind=st.sampled_from(["flat", "hnsw", "ivf"]),
    whole=st.booleans(),
    merge=st.sampled_from(["mean", "max"]),
    diversity=st.sampled_from([0.0, 0.0, 0.4]),
    categories=st.sampled_from([None, ["New"], ["Comedy"], ["No such"]]),
    k=st.sampled_from([1, 10, 40]),
    share=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_so_many_are_added_ones_as_are_asked_for_or_all(
    seed: int,
    changes: int,
    kind: str,
    whole: bool,
    merge: Merge,
    diversity: float,
    categories: Any,
    k: int,
    share: float,
) -> None:
    world, fresh = World(seed, changes), int(share * k)
    retriever = world.retriever(kind, 10_000 if whole else 5)
    query = asked(world, seed, k, merge, diversity, fresh, categories)
    everything = world.retriever("flat", 10_000)
    (ranked,) = everything.retrieve([asked(world, seed, 500, merge, 0.0, 0, categories)])
    plain = asked(world, seed, k, merge, diversity, 0, categories)
    found, other, again = retriever.retrieve([query, plain, query])
    rows, eligible = found.rows.tolist(), ranked.rows.tolist()
    assert len(rows) == len(set(rows)) == min(k, len(eligible))
    assert set(rows) <= set(eligible)
    there = sum(row > ITEMS for row in eligible)
    assert sum(row > ITEMS for row in rows) >= min(fresh, there)
    assert_same(again, found)
    assert_same(retriever.retrieve([query])[0], found)
    assert_same(retriever.retrieve([plain])[0], other)
    if whole and not diversity:
        assert rows == with_quota(eligible, k, fresh)
        scores = dict(zip(eligible, ranked.scores.tolist(), strict=True))
        np.testing.assert_allclose(found.scores, [scores[row] for row in rows], rtol=1e-5)
        assert (np.diff(found.scores) <= 0).all()


def assert_same(found: Retrieval, other: Retrieval) -> None:
    assert found.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(found.scores, other.scores, rtol=1e-5)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sets(st.integers(0, 5), max_size=4), st.booleans()), max_size=20
    ),
    st.integers(1, 25),
    st.integers(0, 25),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_greedy_choice_is_that_of_a_loop(
    items: list[tuple[int, set[int], bool]], k: int, fresh: int, diversity: float
) -> None:
    items = sorted(items, key=lambda item: -item[0])
    scores = np.array([score for score, _, _ in items], dtype=np.float32)
    matrix = np.array([[float(column in names) for column in range(6)] for _, names, _ in items]).reshape(
        -1, 6
    )
    added = np.array([is_added for _, _, is_added in items], dtype=np.bool_)
    found = diversify(scores, matrix.astype(np.float32), k, diversity, fresh, added).tolist()
    assert len(found) == len(set(found)) == min(k, len(items))
    assert added[found].sum() >= min(fresh, added.sum(), k)
    greatest = max((score for score, _, _ in items), default=0) or 1
    for count, position in enumerate(found):
        chosen = found[:count]
        needed = min(fresh, int(added.sum())) - int(added[chosen].sum())
        only = len(found) - count <= needed
        left = [one for one in range(len(items)) if one not in chosen and (added[one] or not only)]

        def objective(one: int, chosen: list[int] = chosen) -> float:
            overlaps = [jaccard(items[one][1], items[other][1]) for other in chosen]
            mean = sum(overlaps) / len(overlaps) if overlaps else 0.0
            return (1 - diversity) * items[one][0] / greatest - diversity * mean

        assert position in left
        assert objective(position) >= max(map(objective, left)) - 1e-5


def test_more_than_the_list_cannot_be_asked_for() -> None:
    with pytest.raises(QueryError, match="fresh must be 0 … 3"):
        Query(make_unit_vectors(1, 4), 3, fresh=4)
