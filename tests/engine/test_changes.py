"""Changes of the catalogue, against an engine whose bundle had the changed catalogue from the start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.read import Bundle, read_bundle
from bundle.write import publish
from engine.changes import MIN_DEAD_ROWS, Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.recipes import Derivation, Given, Like, Recipe, RecipeError, VectorSpaceError
from index.building import build_index
from index.catalogue import Catalogue
from index.ties import key_of
from model.config import ModelConfig
from model.dimerec import DimeRec
from tests.effort import examples
from tests.factories import make_catalogue, make_model, make_serving, make_unit_vectors

ITEMS, DIM, NEW = 200, 16, 6
VECTORS = make_unit_vectors(NEW, DIM, seed=9)
NEW_IDS = sorted((f"new-{number}" for number in range(NEW)), key=key_of)  # as equal ones are ordered


def extended(model: DimeRec) -> DimeRec:
    """The same model with the new items in its table."""
    grown = DimeRec(ModelConfig.model_validate(model.config.model_dump() | {"items": ITEMS + NEW})).eval()
    state = model.state_dict()
    name = next(name for name, part in state.items() if part.shape == (ITEMS + 1, DIM))
    state[name] = torch.cat([state[name], torch.from_numpy(VECTORS)])
    grown.load_state_dict(state)
    return grown


def published(root: Path, model: DimeRec, catalogue: Catalogue, repeat_weight: float = 1.0) -> Bundle:
    index = build_index(model.item_vectors().detach().numpy(), "flat")
    publish(
        root,
        model,
        catalogue,
        index,
        serving=make_serving(interest_mode="both"),
        metrics={},
        data_fingerprint="x",
        repeat_weight=repeat_weight,
    )
    return read_bundle(root)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return published(tmp_path_factory.mktemp("base"), make_model(ITEMS, DIM), make_catalogue(ITEMS), 2.0)


@pytest.fixture(scope="module")
def complete_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One that had all of them from the start."""
    base = make_catalogue(ITEMS)
    catalogue = Catalogue(
        [*base.item_ids, *NEW_IDS],
        [*base.titles, *(f"New {number}" for number in range(NEW))],
        [*base.categories, *([("Comedy", "Brand new")] * NEW)],
        [*base.popularity.tolist(), *([0] * NEW)],
    )
    root = tmp_path_factory.mktemp("complete")
    return published(root, extended(make_model(ITEMS, DIM)), catalogue, 2.0)


@pytest.fixture(scope="module")
def complete(complete_bundle: Bundle) -> Engine:
    return Engine(complete_bundle, max_steps=50)


def engine_of(bundle: Bundle, **options: Any) -> Engine:
    return Engine(bundle, max_steps=50, **options)


def new_items(bundle: Bundle) -> dict[str, Change]:
    return {
        item_id: Change(recipe(f"New {number}", vector=VECTORS[number], version=bundle.version), served=True)
        for number, item_id in enumerate(NEW_IDS)
    }


def recipe(
    title: str | None = "Changed",
    categories: tuple[str, ...] = ("Comedy", "Brand new"),
    *,
    like: tuple[str, ...] | None = None,
    vector: np.ndarray | None = None,
    version: str = "",
) -> Recipe:
    origin: Like | Given | None = None if like is None else Like(like)
    if vector is not None:
        origin = Given(tuple(vector.tolist()), version)
    return Recipe(title, categories, origin, categories)


def ids(answer: EngineAnswer) -> list[str]:
    return [item.item_id for item in answer.items]


REQUESTS = [
    EngineRequest(["new-0"], 10, seed=1),
    EngineRequest(["1001", "new-2", "1003"], 20, seed=2, excluded=["new-2", "1003"]),
    EngineRequest(["1001", "1002"], 15, seed=3, categories=["Brand new"]),
    EngineRequest(["1001", "new-4"], 12, seed=4, categories=["Comedy", "No such"], diversity=0.5),
    EngineRequest(NEW_IDS, 206, seed=5),
    EngineRequest([], 206),
    EngineRequest([], 10, categories=["Brand new"]),
    EngineRequest(["1007", "1001"], 206, seed=6, interest_mode="draws", explain=False),
]


@pytest.mark.parametrize("max_whole_items", [None, 5])
def test_new_items_are_answered_and_read_as_if_the_bundle_had_them(
    bundle: Bundle, complete_bundle: Bundle, max_whole_items: int | None
) -> None:
    engine = engine_of(bundle, max_whole_items=max_whole_items)
    assert engine.change(new_items(bundle)) == {}
    complete = Engine(complete_bundle, max_steps=50, max_whole_items=max_whole_items)
    assert len(engine) == ITEMS + NEW
    for found, expected in zip(engine.recommend(REQUESTS), complete.recommend(REQUESTS), strict=True):
        assert ids(found) == ids(expected)
        assert found.unknown_categories == expected.unknown_categories
        assert found.source == expected.source
        for mine, theirs in zip(found.items, expected.items, strict=True):
            assert (mine.title, mine.categories, mine.interest, mine.because) == (
                theirs.title,
                theirs.categories,
                theirs.interest,
                theirs.because,
            )
            assert mine.score == pytest.approx(theirs.score, rel=1e-3, abs=1e-8)
        for interest, other in zip(found.interests, expected.interests, strict=True):
            assert (interest.kind, interest.item_count) == (other.kind, other.item_count)
            assert interest.top_categories == other.top_categories
    assert [item.item_id for item in engine.similar("new-1", 5) or ()] == [
        item.item_id for item in complete.similar("new-1", 5) or ()
    ]


def test_a_removed_item_is_in_no_answer_and_still_counts_for_who_watched_it(bundle: Bundle) -> None:
    engine, untouched = engine_of(bundle), engine_of(bundle)
    history = ["1005", "1006", "1007"]
    gone = {"1005", "1042", "never seen"}
    engine.change({item_id: Change(None, served=False) for item_id in gone})
    requests = [
        EngineRequest(history, 500, seed=1),
        EngineRequest([], 500),
        EngineRequest(history, 500, seed=1, categories=["Comedy", "Drama"], diversity=0.3),
    ]
    for answer, before in zip(engine.recommend(requests), untouched.recommend(requests), strict=True):
        assert set(ids(answer)) == set(ids(before)) - gone
        assert not gone & {one.item_id for item in answer.items for one in item.because or ()}
        assert [interest.kind for interest in answer.interests] == [
            interest.kind for interest in before.interests
        ]
    assert engine.similar("1005", 5) is None
    assert engine.describe("1005") is None
    similar = engine.similar("1001", 500) or []
    assert {item.item_id for item in similar} == {str(1000 + row) for row in range(2, 201)} - gone
    assert engine.unknown(["1005", "never seen"]) == ["never seen"]
    assert len(engine) == ITEMS - 2
    # What the model reads is what it read: the same user, nothing removed but what was answered anyway.
    alone = EngineRequest(["1005"], 10, seed=3)
    (with_removed,), (with_all,) = engine.recommend([alone]), untouched.recommend([alone])
    assert with_removed.source == "personal"
    assert with_removed.items[0].because == ()
    assert [one for one in ids(with_all) if one not in gone][:5] == ids(with_removed)[:5]


def test_what_was_removed_comes_back_when_it_is_put_again(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    before = engine.similar("1005", 5)
    engine.change({"1005": Change(None, served=False)})
    engine.change({"1005": Change(recipe("Again", ("Drama",)), served=True)})
    again = engine.describe("1005")
    assert again is not None
    assert (again.title, again.categories) == ("Again", ("Drama",))
    assert before is not None
    assert [item.item_id for item in engine.similar("1005", 5) or ()] == [item.item_id for item in before]
    assert len(engine) == ITEMS


def test_a_changed_item_keeps_its_popularity_and_its_vector(bundle: Bundle) -> None:
    engine, untouched = engine_of(bundle), engine_of(bundle)
    popular = untouched.recommend([EngineRequest([], 200)])[0].items
    best = popular[0].item_id
    engine.change({best: Change(recipe("Renamed", ("Sport",)), served=True)})
    (changed,) = engine.recommend([EngineRequest([], 200)])
    assert changed.items[0].title == "Renamed"
    assert sorted(ids(changed)) == sorted(item.item_id for item in popular)
    assert [item.score for item in changed.items] == [item.score for item in popular]
    histories = [EngineRequest([best], 10, seed=1)]
    assert ids(engine.recommend(histories)[0]) == ids(untouched.recommend(histories)[0])


def test_an_item_that_cannot_be_derived_is_stale_and_not_served(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    recipes = {
        "a": recipe(categories=("No such",), like=("gone",)),
        "b": recipe(categories=("Comedy",), like=("gone",)),
        "c": recipe(categories=(), vector=VECTORS[0], version="another"),
        "1003": recipe(categories=(), vector=VECTORS[0], version="another"),
    }
    stale = engine.change({name: Change(one, served=True) for name, one in recipes.items()})
    assert sorted(stale) == ["a", "c"]
    assert engine.describe("a") is None
    assert engine.describe("b") is not None
    assert engine.describe("1003") is not None
    assert engine.change({"a": Change(recipe(like=("1001",)), served=True)}).keys() == {"c"}
    assert engine.describe("a") is not None
    assert engine.change({"c": Change(None, served=False)}) == {}


def test_a_history_holds_an_item_that_was_removed_before_this_bundle_was_loaded(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    engine.change({"taken": Change(recipe(like=("1001", "1002")), served=False)})
    (answer,) = engine.recommend([EngineRequest(["taken"], 10, seed=1)])
    assert answer.source == "personal"
    assert "taken" not in ids(answer)
    assert answer.items[0].because == ()


def test_an_overlay_of_mostly_dead_rows_is_made_anew(bundle: Bundle, complete: Engine) -> None:
    engine = engine_of(bundle)
    for time in range(6):
        put = recipe(str(time), like=("1001",))
        for number in range(MIN_DEAD_ROWS // 2):
            engine.change({f"x{number}": Change(put, served=True)})
    assert len(engine._changed._overlay) < 2.2 * MIN_DEAD_ROWS  # 3 were put
    put = recipe("last", like=("1001",))
    engine.change({f"x{number}": Change(put, served=False) for number in range(MIN_DEAD_ROWS // 2)})
    engine.change(new_items(bundle))
    for found, expected in zip(engine.recommend(REQUESTS), complete.recommend(REQUESTS), strict=True):
        assert ids(found) == ids(expected)


@pytest.fixture(scope="module")
def derivation(bundle: Bundle) -> Derivation:
    return Derivation(bundle.version, bundle.catalogue, bundle.table)


class TestDerivation:
    """Vectors as a function of recipe and bundle."""

    @given(rows=st.lists(st.integers(1, ITEMS), min_size=1, max_size=50))
    @settings(max_examples=examples(50))
    def test_like_is_the_mean_of_what_was_learned(
        self, derivation: Derivation, bundle: Bundle, rows: list[int]
    ) -> None:
        learned = [row for row in rows if bundle.catalogue.popularity[row - 1] > 0]
        likes = (*(str(1000 + row) for row in rows), "unknown")
        if not learned:
            return
        vector, origin = derivation.derive("new", recipe(like=likes))
        mean = np.mean([bundle.table.all[row - 1] for row in learned], axis=0, dtype=np.float64)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
        assert origin == "like"

    def test_categories_count_alike_however_many_items_they_have(
        self, derivation: Derivation, bundle: Bundle
    ) -> None:
        catalogue, table = bundle.catalogue, bundle.table.all
        means = [
            np.mean(
                [table[row - 1] for row in catalogue.rows_of(name) if catalogue.popularity[row - 1]], axis=0
            )
            for name in ("Comedy", "Sport")
        ]
        expected = np.mean(means, axis=0)
        vector, origin = derivation.derive("new", recipe(categories=("Comedy", "No such", "Sport")))
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
        assert origin == "categories"

    def test_a_known_item_without_an_origin_keeps_its_vector(
        self, derivation: Derivation, bundle: Bundle
    ) -> None:
        vector, origin = derivation.derive("1007", recipe(categories=("Sport",)))
        np.testing.assert_array_equal(vector, bundle.table.all[6])
        assert origin == "learned"

    @pytest.mark.parametrize("length", [7.0, 1e-300, 1e300])
    def test_a_given_vector_is_taken_at_length_1(
        self, derivation: Derivation, bundle: Bundle, length: float
    ) -> None:
        given = length * VECTORS[0].astype(np.float64)
        vector, origin = derivation.derive("1007", recipe(vector=given, version=bundle.version))
        np.testing.assert_allclose(vector, VECTORS[0], atol=1e-6)
        assert origin == "vector"

    @pytest.mark.parametrize(
        ("made", "field"),
        [
            (recipe(like=("unknown",)), "from.like"),
            (recipe(categories=("No such",)), "categories"),
            (recipe(categories=()), "categories"),
            (recipe(vector=VECTORS[0, :5], version="HERE"), "from.vector"),
            (recipe(vector=np.zeros(DIM), version="HERE"), "from.vector"),
            (recipe(vector=np.full(DIM, np.nan), version="HERE"), "from.vector"),
            (recipe(vector=np.full(DIM, np.inf), version="HERE"), "from.vector"),
        ],
    )
    def test_a_recipe_without_a_vector_names_the_field(
        self, derivation: Derivation, bundle: Bundle, made: Recipe, field: str
    ) -> None:
        if isinstance(made.origin, Given):
            made = recipe(vector=np.array(made.origin.values), version=bundle.version)
        with pytest.raises(RecipeError) as refusal:
            derivation.derive("new", made)
        assert refusal.value.field == field

    def test_a_vector_of_another_model_is_in_another_space(self, derivation: Derivation) -> None:
        with pytest.raises(VectorSpaceError, match="another space"):
            derivation.derive("new", recipe(vector=VECTORS[0], version="20200101T000000.000000Z-00000000"))

    def test_a_mean_without_a_direction_is_refused(self, tmp_path: Path) -> None:
        model = make_model(2, DIM)
        with torch.no_grad():
            model.items.table.weight[2] = -model.items.table.weight[1]
        catalogue = Catalogue(["a", "b"], [None, None], [("x",), ("x",)], [1, 1])
        bundle = published(tmp_path, model, catalogue)
        derivation = Derivation(bundle.version, bundle.catalogue, bundle.table)
        for made, field in (
            (recipe(like=("a", "b")), "from.like"),
            (recipe(categories=("x",)), "categories"),
        ):
            with pytest.raises(RecipeError) as refusal:
                derivation.derive("new", made)
            assert refusal.value.field == field


def test_an_overlay_of_items_that_were_removed_is_not_made_anew_at_each_change(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    names = [f"x{number}" for number in range(2 * MIN_DEAD_ROWS)]
    for served in (True, False):
        put = recipe(f"served: {served}", like=("1001",))
        engine.change({name: Change(put, served=served) for name in names})
    engine.change({"y": Change(put, served=True)})
    overlay = engine._changed._overlay
    engine.change({"z": Change(put, served=True)})
    assert engine._changed._overlay is overlay


def test_an_item_that_comes_and_goes_keeps_its_row(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    first, second = recipe("First", like=("1001",)), recipe("Second", like=("1001",))

    def change(put: Recipe | None, *, served: bool) -> tuple[int, str | None]:
        """Added rows, and the title where the item is served."""
        engine.change({"1005": Change(put, served=served)})
        described = engine.describe("1005")
        found = "1005" in ids(engine.recommend([EngineRequest(["1001"], ITEMS, seed=1)])[0])
        assert found == (described is not None)
        return len(engine._changed._overlay), None if described is None else described.title

    assert change(first, served=False) == (1, None)
    assert change(first, served=True) == (1, "First")
    assert change(first, served=False) == (1, None)
    assert change(None, served=False) == (1, None)
    assert change(first, served=True) == (1, "First")
    assert change(second, served=True) == (2, "Second")
    assert change(first, served=True) == (3, "First")


def test_an_item_that_comes_without_a_vector_is_stale_by_then(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    underivable = recipe(categories=("No such",), like=("gone",))
    engine.change({"a": Change(recipe(like=("1001",)), served=True)})
    assert engine.change({"a": Change(underivable, served=False)}) == {}
    assert engine.change({"a": Change(underivable, served=True)}).keys() == {"a"}
    assert engine.describe("a") is None
    assert engine.change({"a": Change(recipe(like=("1001",)), served=True)}) == {}
    assert engine.describe("a") is not None


def test_a_removed_item_is_read_by_its_newest_recipe_in_whatever_steps_it_came(bundle: Bundle) -> None:
    """As a worker that was there hears it, and one that starts later."""
    by_steps, at_once = engine_of(bundle), engine_of(bundle)
    newest = recipe(like=("1100",))
    by_steps.change({"1005": Change(recipe(like=("1150",)), served=True)})
    by_steps.change({"1005": Change(newest, served=True)})
    for engine in (by_steps, at_once):
        engine.change({"1005": Change(newest, served=False)})
    asked = [EngineRequest(["1005"], 10, seed=3)]
    (found,), (expected,) = by_steps.recommend(asked), at_once.recommend(asked)
    assert ids(found) == ids(expected)
    assert "1005" not in ids(found)


def test_kind_and_cost_of_the_search_follow_the_catalogue(bundle: Bundle) -> None:
    engine = Engine(bundle, max_steps=4, max_whole_items=ITEMS)
    request = EngineRequest(["1001"], 10)
    engine.change({"1002": Change(recipe(), served=True)})  # as many items as before
    assert engine.searches_by == "whole"
    assert "scored" in engine.costs.quantities(request)
    engine.change(new_items(bundle))
    assert engine.searches_by == bundle.index.kind
    assert "searched" in engine.costs.quantities(request)


def test_a_catalogue_of_removed_items_gives_nothing(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    engine.change({f"{1001 + row}": Change(None, served=False) for row in range(ITEMS)})
    with np.errstate(all="raise"):
        assert [ids(answer) for answer in engine.recommend(REQUESTS)] == [[] for _ in REQUESTS]
