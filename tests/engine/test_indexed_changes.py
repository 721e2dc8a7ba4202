"""Changes that an index was made of, against exact search over the items that are alive."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.read import Bundle, read_bundle
from bundle.write import publish
from engine import changes
from engine.changes import Change, ChangedCatalogue
from engine.contract import EngineRequest
from engine.engine import Engine
from engine.recipes import Given, Recipe
from engine.snapshot import Snapshot, take_snapshot
from index.building import build_index
from index.exact import ExactIndex
from index.measuring import recall
from index.vector_table import VectorTable
from tests.effort import examples
from tests.factories import make_catalogue, make_model, make_serving, make_unit_vectors

ITEMS, DIM, NEW = 2_000, 16, 300
VECTORS = make_unit_vectors(NEW, DIM, seed=9)
QUERIES = make_unit_vectors(30, DIM, seed=2)
LEAST_RECALL = 0.8
"""Of 50 hits the bundle's own index finds .95 among the bundle's rows."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    return {kind: published(tmp_path_factory.mktemp(kind), kind) for kind in ("ivf", "flat")}


def published(root: Path, kind: str) -> Bundle:
    model = make_model(ITEMS, DIM)
    publish(
        root,
        model,
        make_catalogue(ITEMS),
        build_index(model.item_vectors().detach().numpy(), kind),  # type: ignore[arg-type]
        serving=make_serving(),
        metrics={},
        data_fingerprint="x",
    )
    return read_bundle(root)


def put(bundle: Bundle, number: int, vector: int | None = None, *, served: bool = True) -> dict[str, Change]:
    origin = Given(tuple(VECTORS[number if vector is None else vector].tolist()), bundle.version)
    return {f"new-{number}": Change(Recipe(f"New {number}", ("New",), origin, ("New",)), served)}


def many(bundle: Bundle, numbers: range) -> dict[str, Change]:
    return {item_id: change for number in numbers for item_id, change in put(bundle, number).items()}


def index_now(changed: ChangedCatalogue) -> Snapshot:
    making = changed.index_due()
    assert making is not None
    snapshot = changed.use(making())
    assert snapshot is not None
    return snapshot


def assert_is_exact_but_for_the_margin(snapshot: Snapshot, least: float = LEAST_RECALL) -> None:
    table, eligible = snapshot.table, snapshot.retriever.eligibility.of(None)
    vectors = np.concatenate([*table.blocks(1_000)])
    exact = ExactIndex(VectorTable(vectors)).search(QUERIES, 50, eligible)
    found = snapshot.index.search(QUERIES, 50)
    assert snapshot.catalogue.alive[found.rows].all()
    assert recall(found.rows, exact.rows) >= least


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["ivf", "flat"]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, NEW - 61)),
            st.tuples(st.just("remove"), st.integers(0, NEW - 1)),
            st.tuples(st.just("remove base"), st.integers(0, ITEMS - 201)),
            st.tuples(st.just("index"), st.just(0)),
        ),
        max_size=12,
    ),
)
def test_search_is_exact_over_the_living_but_for_the_margin(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, kind: str, steps: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(changes, "MIN_UNINDEXED_ROWS", 40)
    bundle = bundles[kind]
    base = take_snapshot(bundle.catalogue, bundle.index, bundle.table, 0.05, 5)
    changed = ChangedCatalogue(bundle, base)
    snapshot = base
    for step, number in steps:
        match step:
            case "put":
                snapshot = changed.apply(many(bundle, range(number, number + 60)))
            case "remove":
                snapshot = changed.apply({f"new-{number}": Change(None, served=False)})
            case "remove base":
                ids = [bundle.catalogue.item_id(row + 1) for row in range(number, number + 200)]
                snapshot = changed.apply({item_id: Change(None, served=False) for item_id in ids})
            case _:
                making = changed.index_due()
                snapshot = snapshot if making is None else (changed.use(making()) or snapshot)
    assert_is_exact_but_for_the_margin(snapshot, 1.0 if kind == "flat" else LEAST_RECALL)


@pytest.fixture
def ivf(bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(changes, "MIN_UNINDEXED_ROWS", 100)
    return bundles["ivf"]


def test_an_index_is_due_once_enough_rows_lack_one(ivf: Bundle, bundles: dict[str, Bundle]) -> None:
    engine, other = Engine(ivf, max_steps=4, max_whole_items=5), Engine(bundles["flat"], max_steps=4)
    other.change(many(bundles["flat"], range(200)))
    assert other.index_due() is None
    engine.change(many(ivf, range(99)))
    assert engine.index_due() is None
    engine.change(put(ivf, 99))
    making = engine.index_due()
    assert making is not None
    engine.change(many(ivf, range(100, 150)))  # meanwhile
    engine.search_by(making())
    assert engine.index_due() is None
    engine.change(many(ivf, range(150, 200)))
    assert engine.index_due() is not None


def test_answers_follow_changes_made_while_an_index_was_and_after(ivf: Bundle) -> None:
    """A put and a removal before, during and after the making: each counts in the next answer."""
    engine = Engine(ivf, max_steps=4, max_whole_items=5)
    engine.change(many(ivf, range(120)))
    making = engine.index_due()
    assert making is not None
    engine.change(put(ivf, 200) | {"new-0": Change(None, served=False)})
    indexed = making()
    engine.search_by(indexed)
    gone, there = {"new-0"}, {f"new-{number}" for number in (*range(1, 120), 200)}
    answered = answered_new(engine)
    assert not answered & gone
    assert answered == there
    engine.change(put(ivf, 201) | {"new-7": Change(None, served=False)} | put(ivf, 9, served=False))
    assert answered_new(engine) == there - {"new-7", "new-9"} | {"new-201"}


def answered_new(engine: Engine) -> set[str]:
    """The new items in the answers to users who watched each of them and may see it again."""
    requests = [
        EngineRequest([f"new-{number}"], 60, seed=1, categories=["New"], interest_mode="guidance")
        for number in range(NEW)
    ]
    answers = engine.recommend(requests)
    alike = {item.item_id for number in range(NEW) for item in engine.similar(f"new-{number}", 60) or ()}
    found = {item.item_id for answer in answers for item in answer.items} | alike
    assert all(len(answer.items) == 60 for answer in answers)
    return {item_id for item_id in found if item_id.startswith("new-")}


def test_an_index_of_an_overlay_that_was_made_anew_is_not_taken(
    ivf: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MIN_DEAD_ROWS", 10)
    base = take_snapshot(ivf.catalogue, ivf.index, ivf.table, 0.05, 5)
    changed = ChangedCatalogue(ivf, base)
    changed.apply(many(ivf, range(150)))
    making = changed.index_due()
    assert making is not None
    for turn in range(1, 4):  # other vectors for the same items, until more rows are dead than alive
        again = [put(ivf, number, (number + turn) % NEW) for number in range(150)]
        snapshot = changed.apply({item_id: change for one in again for item_id, change in one.items()})
    assert changed.use(making()) is None
    assert_is_exact_but_for_the_margin(snapshot)
    assert_is_exact_but_for_the_margin(index_now(changed))
