"""Equal items have one order, whatever the order in which they came: every replica answers alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bundle.read import Bundle, read_bundle
from engine.changes import Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.popularity import Trend
from engine.recipes import Like, Recipe
from tests.effort import examples
from tests.factories import CATEGORIES, publish_tiny_bundle

ITEMS, NEW = 120, 90
CHANGES = {
    **{
        f"new-{number}": Recipe(f"New {number}", ("Fresh", "Alike"), Like(("1001", "1002")), ("Comedy",))
        for number in range(NEW // 2)
    },
    **{
        f"other-{number}": Recipe(None, (CATEGORIES[number % 2],), None, (CATEGORIES[number % 2],))
        for number in range(NEW // 2)
    },
}
HISTORIES = (["1001", "1005"], ["new-3", "new-8", "new-1", "1009", "other-4", "other-6"], ["unheard-of"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("equals")
    publish_tiny_bundle(root, items=ITEMS)
    return read_bundle(root)


def engine_of(
    bundle: Bundle, order: list[str], twice: list[str], parts: int, max_whole_items: int | None
) -> Engine:
    """An engine to which the changes came in this order, some of them twice, some at a time."""
    engine = Engine(bundle, max_steps=50, max_whole_items=max_whole_items)
    engine.follow_trend(Trend([f"new-{number}" for number in range(9)], [2.0] * 9))
    early = {
        item_id: Change(replace(CHANGES[item_id], title="Earlier", categories=("Earlier",)), served=True)
        for item_id in twice
    }
    if early:
        engine.change(early)
    for part in np.array_split(np.array(order), parts):
        engine.change({item_id: Change(CHANGES[item_id], served=True) for item_id in part.tolist()})
    return engine


def told(answer: EngineAnswer) -> list[Any]:
    """What an answer says, without the last digits of its numbers."""
    items = [(item.item_id, item.interest, item.because) for item in answer.items]
    return [
        items,
        answer.unknown_categories,
        [(one.kind, one.item_count, one.top_categories) for one in answer.interests],
    ]


ORDERS = st.permutations(list(CHANGES))


@settings(
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(
    ORDERS,
    st.lists(st.sampled_from(list(CHANGES)), max_size=20, unique=True),
    st.integers(1, 4),
    st.sampled_from([None, 0]),
    st.sampled_from([1, 7, 40, 150]),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([0.0, 0.5]),
    st.none() | st.just(["Comedy", "Fresh", "Earlier"]),
)
def test_the_order_in_which_items_came_is_in_no_answer(
    bundle: Bundle,
    order: list[str],
    twice: list[str],
    parts: int,
    max_whole_items: int | None,
    k: int,
    diversity: float,
    fresh: float,
    categories: list[str] | None,
) -> None:
    engines = [
        engine_of(bundle, list(CHANGES), [], 1, max_whole_items),
        engine_of(bundle, order, twice, parts, max_whole_items),
    ]
    requests = [
        EngineRequest(history, k, seed=3, diversity=diversity, fresh=fresh, categories=categories)
        for history in HISTORIES
    ]
    one, other = (list(map(told, engine.recommend(requests))) for engine in engines)
    assert one == other
    alone = [told(engines[0].recommend([request])[0]) for request in requests]
    assert alone == one
    for item_id in ("1001", "new-3", "other-4"):
        found = [[item.item_id for item in engine.similar(item_id, k) or ()] for engine in engines]
        assert found[0] == found[1]


def test_a_category_that_no_item_has_any_more_is_unknown(bundle: Bundle) -> None:
    engine = engine_of(bundle, ["new-1"], ["new-1", "other-1"], 1, None)
    asked = EngineRequest(["1001"], 3, categories=["Fresh", "Earlier"])
    assert engine.recommend([asked])[0].unknown_categories == []  # other-1 still has it
    engine.change({"other-1": Change(CHANGES["other-1"], served=True)})
    assert engine.recommend([asked])[0].unknown_categories == ["Earlier"]
