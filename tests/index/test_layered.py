"""A layered index and catalogue against plain loops over the items that are alive."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import tuning
from index.building import build_index
from index.catalogue import Catalogue, Item
from index.eligibility import Eligibility, EligibleRows
from index.exact import ExactIndex
from index.layered import LayeredIndex
from index.merging import Merge
from index.overlay import LayeredCatalogue, LayeredEligibility, Overlay
from index.query import Query
from index.retrieval import Retriever
from index.vector_index import Rows, VectorIndex, Vectors
from index.vector_table import LayeredTable, VectorTable
from tests.effort import examples
from tests.factories import CATEGORIES, make_catalogue, make_unit_vectors

ITEMS, DIM, ADDED = 400, 8, 60
VECTORS = make_unit_vectors(ITEMS + ADDED, DIM, seed=4)
PATIENT: dict[str, Any] = {"suppress_health_check": [HealthCheck.too_slow]}


@cache
def base_index(kind: str) -> VectorIndex:
    table = VectorTable(VECTORS[:ITEMS])
    return ExactIndex(table) if kind == "exact" else build_index(VECTORS[:ITEMS], kind)  # type: ignore[arg-type]


@cache
def base_catalogue() -> Catalogue:
    return make_catalogue(ITEMS, seed=4)


def nearest(queries: Vectors, k: int, mask: np.ndarray) -> list[list[int]]:
    """Rows of `mask` by a full sort of all cosines, equal ones by row."""
    cosines = queries @ VECTORS[: len(mask) - 2].T
    return [
        [row for row in (np.argsort(-line, kind="stable") + 1).tolist() if mask[row]][:k] for line in cosines
    ]


@st.composite
def masks(draw: st.DrawFn, rows: int) -> np.ndarray:
    """Rows that are alive: all, most, few or none."""
    share = draw(st.sampled_from([1.0, 0.95, 0.5, 0.03, 0.0]))
    mask = np.zeros(rows + 2, dtype=np.bool_)
    mask[1:-1] = np.random.default_rng(draw(st.integers(0, 99))).random(rows) < share
    return mask


@settings(max_examples=examples(60), **PATIENT)
@given(
    st.data(),
    st.sampled_from(["exact", "flat"]),
    st.integers(0, ADDED),
    st.sampled_from([1, 7, 50, ITEMS + 100]),
    st.booleans(),
)
def test_finds_what_a_full_sort_of_the_living_finds(
    data: st.DataObject, kind: str, added: int, k: int, filtered: bool
) -> None:
    alive = data.draw(masks(ITEMS + added))
    index = LayeredIndex(base_index(kind), VECTORS[ITEMS : ITEMS + added], alive)
    queries = make_unit_vectors(5, DIM, data.draw(st.integers(0, 99)))
    mask, eligible = alive, None
    if filtered:
        mask = alive & data.draw(masks(ITEMS + added))
        eligible = EligibleRows(mask, int(mask.sum()), int(alive.sum()))
    cosines, rows = index.search(queries, k, eligible)
    assert len(index) == ITEMS + added
    exact = queries.astype(np.float64) @ VECTORS[: ITEMS + added].T.astype(np.float64)
    for line, found, best in zip(exact, rows, nearest(queries, k, mask), strict=True):
        own = found[found > 0]
        assert len(set(own.tolist())) == len(own) == len(best)
        assert mask[own].all()
        # Two cosines that float32 cannot tell apart may stand in either order.
        np.testing.assert_allclose(line[own - 1], line[np.array(best, dtype=np.int64) - 1], atol=1e-6)
    assert np.isneginf(cosines[rows < 0]).all()
    assert (np.diff(np.where(np.isneginf(cosines), -2, cosines), axis=1) <= 0).all()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("share", [0.95, 0.3])
def test_approximate_kinds_find_nearly_all_and_nothing_dead(kind: str, share: float) -> None:
    alive = np.zeros(len(VECTORS) + 2, dtype=np.bool_)
    alive[1:-1] = np.random.default_rng(1).random(len(VECTORS)) < share
    queries = make_unit_vectors(40, DIM, 7)
    _, rows = LayeredIndex(base_index(kind), VECTORS[ITEMS:], alive).search(queries, 20)
    assert alive[rows].all()
    found = [len(set(line) & set(best)) for line, best in zip(rows, nearest(queries, 20, alive), strict=True)]
    assert np.mean(found) / 20 > 0.9


def test_a_line_does_not_depend_on_the_others() -> None:
    alive = np.zeros(len(VECTORS) + 2, dtype=np.bool_)
    alive[1:-1] = np.random.default_rng(3).random(len(VECTORS)) < 0.2
    index = LayeredIndex(base_index("hnsw"), VECTORS[ITEMS:], alive)
    queries = make_unit_vectors(30, DIM, 8)
    alone = np.vstack([index.search(query[None], 15)[1] for query in queries])
    np.testing.assert_array_equal(index.search(queries, 15)[1], alone)


class World:
    """An overlay with the same changes made to plain lists: the newest row of each id, if it is alive."""

    def __init__(self, seed: int, changes: int) -> None:
        generator = np.random.default_rng(seed)
        self.overlay = Overlay(base_catalogue(), DIM)
        self.vectors = list(VECTORS[:ITEMS])
        self.items = [base_catalogue().item(row) for row in range(1, ITEMS + 1)]
        self.living = {item.item_id: row for row, item in enumerate(self.items, start=1)}
        for number in range(changes):
            item_id = str(generator.choice([1001, 1002, 1003, 1004, 1200, *range(5000, 5008)]))
            if generator.random() < 0.4:
                self.overlay.remove(item_id)
                self.living.pop(item_id, None)
                continue
            names = generator.choice([*CATEGORIES, "New"], size=generator.integers(0, 4), replace=False)
            item = Item(item_id, f"Changed {number}", tuple(names.tolist()))
            vector = VECTORS[ITEMS + number]
            alive = bool(generator.random() < 0.9)
            self.overlay.put(item, vector, alive=alive)
            self.vectors.append(vector)
            self.items.append(item)
            self.living.pop(item_id, None)
            if alive:
                self.living[item_id] = len(self.items)

    def catalogue(self) -> LayeredCatalogue:
        return self.overlay.view()[0]

    def retriever(self, kind: str, max_whole_items: int) -> Retriever:
        catalogue, added = self.overlay.view()
        table = VectorTable(VECTORS[:ITEMS])
        return Retriever(
            LayeredIndex(base_index(kind), added, catalogue.alive),
            LayeredTable(table, added),
            catalogue,
            max_whole_items,
            LayeredEligibility(Eligibility(base_catalogue()), catalogue),
        )

    def plain(self) -> tuple[Retriever, Rows]:
        """Retrieval over the living alone, in the order of their rows; and these rows."""
        rows = np.array(sorted(self.living.values()))
        vectors = np.stack([self.vectors[row - 1] for row in rows])
        items = [self.items[row - 1] for row in rows]
        catalogue = Catalogue(
            [item.item_id for item in items],
            [item.title for item in items],
            [item.categories for item in items],
            [0] * len(items),
        )
        return Retriever(build_index(vectors, "flat"), VectorTable(vectors), catalogue, 10_000), rows


@settings(max_examples=examples(60), **PATIENT)
@given(
    seed=st.integers(0, 10_000),
    changes=st.integers(1, ADDED),
    whole=st.booleans(),
    categories=st.sampled_from([None, ["Comedy"], ["New"], ["Comedy", "Sport"], ["No such"]]),
    k=st.sampled_from([1, 10, 450]),
    merge=st.sampled_from(["mean", "max"]),
    diversity=st.sampled_from([0.0, 0.4]),
)
def test_retrieval_is_that_of_a_catalogue_of_the_living(
    seed: int, changes: int, whole: bool, categories: list[str] | None, k: int, merge: Merge, diversity: float
) -> None:
    world = World(seed, changes)
    plain, rows = world.plain()
    layered = world.retriever("flat", 10_000 if whole else 5)
    if not whole:
        plain = Retriever(plain._pooling._index, plain._table, plain._catalogue, 5)  # searched, too
    interests = make_unit_vectors(3, DIM, seed)
    asked = None if categories is None else frozenset(categories)
    seen = np.array([1, 2, 3], dtype=np.int64)
    excluded = rows[rows > ITEMS][:2]
    queries = [
        Query(
            interests,
            k,
            excluded=np.concatenate([seen, excluded]) if own else excluded,
            categories=asked,
            diversity=diversity,
            merge=merge,
            nearest=50,
        )
        for own in (True, False)
    ]
    position_of = {row: position for position, row in enumerate(rows.tolist(), start=1)}
    plain_queries = [
        Query(
            interests,
            k,
            excluded=np.array(
                [position_of[row] for row in query.excluded.tolist() if row in position_of], int
            ),
            categories=asked,
            diversity=diversity,
            merge=merge,
            nearest=50,
        )
        for query in queries
    ]
    for found, expected in zip(layered.retrieve(queries), plain.retrieve(plain_queries), strict=True):
        assert found.rows.tolist() == rows[expected.rows - 1].tolist()
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-7)
        if found.nearest is not None and expected.nearest is not None:
            assert found.nearest.rows.tolist() == rows[expected.nearest.rows - 1].tolist()


@settings(max_examples=examples(40), **PATIENT)
@given(st.integers(0, 10_000), st.integers(1, ADDED))
def test_the_catalogue_describes_every_row_and_finds_the_newest(seed: int, changes: int) -> None:
    world = World(seed, changes)
    catalogue = world.catalogue()
    assert len(catalogue) == len(world.items)
    assert [catalogue.item(row) for row in range(1, len(catalogue) + 1)] == world.items
    assert {item_id: catalogue.row(item_id) for item_id in world.living} == world.living
    assert np.flatnonzero(catalogue.alive).tolist() == sorted(world.living.values())
    assert catalogue.row("no such") is None
    rows = np.random.default_rng(seed).integers(1, len(catalogue) + 1, 50)
    owners, codes = catalogue.category_codes(rows)
    names = catalogue.category_names
    got = [tuple(names[code] for code in codes[owners == position]) for position in range(len(rows))]
    assert got == [world.items[row - 1].categories for row in rows]
    for name in [*CATEGORIES, "New"]:
        having = [row for row, item in enumerate(world.items, start=1) if name in item.categories]
        assert catalogue.rows_of(name).tolist() == having
    living = [world.items[row - 1] for row in world.living.values()]
    shares = dict(zip(names, catalogue.category_shares.tolist(), strict=True))
    for name in CATEGORIES:
        assert shares[name] == pytest.approx(sum(name in item.categories for item in living) / len(living))


def test_a_view_stays_as_it_was() -> None:
    overlay = Overlay(base_catalogue(), DIM)
    overlay.put(Item("9000", "First", ("New",)), VECTORS[ITEMS])
    before, vectors = overlay.view()
    overlay.put(Item("9000", "Second", ()), VECTORS[ITEMS + 1])
    overlay.remove("1001")
    for number in range(200):  # beyond the room that was made at first
        overlay.put(Item(str(20_000 + number), None, ("Newer",)), VECTORS[ITEMS + 2])
    assert (before.row("9000"), before.title(ITEMS + 1), len(before)) == (ITEMS + 1, "First", ITEMS + 1)
    assert before.alive[[1, ITEMS + 1]].all()
    assert before.category_names == [*base_catalogue().category_names, "New"]
    np.testing.assert_array_equal(vectors, VECTORS[ITEMS : ITEMS + 1])
    now, _ = overlay.view()
    assert (now.row("9000"), now.alive[1], now.alive[ITEMS + 1]) == (ITEMS + 2, False, False)
    assert overlay.replaced == 1


def test_searched_and_whole_catalogues_never_come_back_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MAX_HITS", 64)
    world = World(seed=11, changes=50)
    living = len(world.living)
    for kind in ("flat", "hnsw", "ivf"):
        for whole in (5, 10_000):
            query = Query(make_unit_vectors(4, DIM, 2), living)
            (found,) = world.retriever(kind, whole).retrieve([query])
            assert sorted(found.rows.tolist()) == sorted(world.living.values())
