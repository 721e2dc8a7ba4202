"""What was counted, as one more interest of an answer: against plain arithmetic over an engine without it."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bundle.read import Bundle, read_bundle
from engine.changes import Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.recipes import Recipe
from index.counts import Counts
from tests.factories import make_counts, publish_tiny_bundle

ITEMS = 200
COUNTS = make_counts(ITEMS)
HISTORY = ["1003", "1007", "1050", "1007", "1011"]


def bundle_with(root: Path, counts: Counts | None) -> Bundle:
    publish_tiny_bundle(root, items=ITEMS, counts=counts)
    return read_bundle(root)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_with(tmp_path_factory.mktemp("counting"), COUNTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_with(tmp_path_factory.mktemp("plain"), None)


def engine(bundle: Bundle, max_whole_items: int | None = None) -> Engine:
    return Engine(bundle, max_steps=50, max_whole_items=max_whole_items)


def wish(history: list[str], **fields: object) -> EngineRequest:
    return EngineRequest(**({"history": history, "k": ITEMS, "seed": 3} | fields))  # type: ignore[arg-type]


def said_by_hand(history: list[str]) -> dict[str, float]:
    """What the followers of a history's items say, by id."""
    said: dict[str, float] = {}
    for age, item_id in enumerate(reversed(history)):
        line = int(item_id) - 1001
        for row, part in zip(COUNTS.followers[line].tolist(), COUNTS.parts[line].tolist(), strict=True):
            if row:
                said[str(1000 + row)] = said.get(str(1000 + row), 0.0) + part * COUNTS.decay**age
    return said


def merged_by_hand(alone: EngineAnswer, said: dict[str, float], eligible: set[str]) -> dict[str, float]:
    total = sum(score for item_id, score in said.items() if item_id in eligible)
    return {
        item.item_id: 0.7 * item.score + 0.3 * said.get(item.item_id, 0.0) / total for item in alone.items
    }


def assert_merged(found: EngineAnswer, expected: dict[str, float]) -> None:
    scores = {item.item_id: item.score for item in found.items}
    assert set(scores) == set(expected)
    for item_id, score in scores.items():
        assert score == pytest.approx(expected[item_id], rel=1e-4, abs=1e-7)
    assert [item.score for item in found.items] == sorted(scores.values(), reverse=True)


@pytest.mark.parametrize("max_whole_items", [None, 0])
@pytest.mark.parametrize("allowed", [0, 1])
def test_where_all_or_all_but_one_is_excluded_that_is_left(
    counting: Bundle, max_whole_items: int | None, allowed: int
) -> None:
    excluded = [str(1001 + line) for line in range(allowed, ITEMS)]
    (found,) = engine(counting, max_whole_items).recommend([wish(HISTORY, excluded=excluded, k=10)])
    assert [item.item_id for item in found.items] == ["1001"][:allowed]


@pytest.mark.parametrize("mode", ["draws", "guidance", "both"])
def test_an_item_has_its_part_of_what_was_counted(counting: Bundle, plain: Bundle, mode: str) -> None:
    asked = [wish(HISTORY, interest_mode=mode)]
    (found,), (alone,) = engine(counting).recommend(asked), engine(plain).recommend(asked)
    everything = {item.item_id for item in alone.items}
    assert_merged(found, merged_by_hand(alone, said_by_hand(HISTORY), everything))
    assert [one.kind for one in found.interests] == [*(one.kind for one in alone.interests), "counts"]
    assert found.interests[-1].weight == pytest.approx(0.3, abs=1e-4)
    assert sum(one.weight for one in found.interests) == pytest.approx(1)
    by_counts = [item for item in found.items if item.interest == len(found.interests) - 1]
    assert len(by_counts) == found.interests[-1].item_count > 0
    assert {item.item_id for item in by_counts} <= set(said_by_hand(HISTORY))


def test_only_items_that_may_be_answered_share_it(counting: Bundle, plain: Bundle) -> None:
    asked = [wish(HISTORY, categories=["Comedy"], excluded=HISTORY)]
    (found,), (alone,) = engine(counting).recommend(asked), engine(plain).recommend(asked)
    comedies = {
        item_id
        for row, item_id in enumerate(counting.catalogue.item_ids, 1)
        if "Comedy" in counting.catalogue.category(row)
    }
    assert_merged(found, merged_by_hand(alone, said_by_hand(HISTORY), comedies))


def test_what_says_nothing_changes_nothing(counting: Bundle, plain: Bundle) -> None:
    silent = next(str(1001 + line) for line in range(ITEMS) if not COUNTS.followers[line].any())
    asked = [wish([silent]), wish([]), wish(HISTORY, categories=["unknown"])]
    assert [untimed(one) for one in engine(counting).recommend(asked)] == [
        untimed(one) for one in engine(plain).recommend(asked)
    ]


def test_counts_without_a_weight_change_nothing(plain: Bundle, tmp_path: Path) -> None:
    without = bundle_with(tmp_path, make_counts(ITEMS, weight=0.0))
    asked = [wish(HISTORY, user_id="1"), wish(HISTORY[:2], diversity=0.5, k=7)]
    assert [untimed(one) for one in engine(without).recommend(asked)] == [
        untimed(one) for one in engine(plain).recommend(asked)
    ]


@pytest.mark.parametrize("max_whole_items", [None, 5])
def test_a_batch_answers_each_request_as_if_it_were_alone(
    counting: Bundle, max_whole_items: int | None
) -> None:
    asking = engine(counting, max_whole_items)
    asked = [
        wish(HISTORY, k=10),
        wish([]),
        wish(["1009"], k=10, diversity=0.4),
        wish(HISTORY[::-1], k=10, explain=False),
        wish(["1020", "1021"], k=10, categories=["News"]),
    ]
    for one, batched in zip(asked, asking.recommend(asked), strict=True):
        (alone,) = asking.recommend([one])
        assert [item.item_id for item in batched.items] == [item.item_id for item in alone.items]
        assert [item.interest for item in batched.items] == [item.interest for item in alone.items]
        assert [own.kind for own in batched.interests] == [own.kind for own in alone.interests]
        assert [own.top_categories for own in batched.interests] == [
            own.top_categories for own in alone.interests
        ]
        np.testing.assert_allclose(
            [item.score for item in batched.items], [item.score for item in alone.items], atol=1e-6
        )


def test_followers_are_found_where_an_index_is_searched(counting: Bundle) -> None:
    likeliest = max(said_by_hand(HISTORY).items(), key=lambda pair: pair[1])[0]
    (found,) = engine(counting, 5).recommend([wish(HISTORY, k=5)])
    assert likeliest in [item.item_id for item in found.items]
    assert "counts" in [one.kind for one in found.interests]


def test_it_is_explained_by_what_says_most_and_by_what_it_is_about(counting: Bundle) -> None:
    (found,) = engine(counting).recommend([wish(HISTORY)])
    parts: dict[str, float] = {}
    for age, item_id in enumerate(reversed(HISTORY)):
        own = float(COUNTS.parts[int(item_id) - 1001].sum()) * COUNTS.decay**age
        parts[item_id] = max(parts.get(item_id, 0.0), own)
    expected = sorted((item_id for item_id in parts if parts[item_id]), key=lambda one: -parts[one])[:3]
    by_counts = [item for item in found.items if item.interest == len(found.interests) - 1]
    assert {tuple(one.item_id for one in item.because or ()) for item in by_counts} == {tuple(expected)}
    named = found.interests[-1].top_categories
    assert named is not None
    likely = sorted(said_by_hand(HISTORY).items(), key=lambda pair: -pair[1])[:50]
    rows = [counting.catalogue.row(item_id) or 0 for item_id, _ in likely]
    assert set(named) <= {name for row in rows for name in counting.catalogue.category(row)}


def test_removed_items_have_no_part_and_changed_ones_keep_theirs(counting: Bundle, plain: Bundle) -> None:
    said = said_by_hand(HISTORY)
    gone, changed, *_ = sorted(set(said) - set(HISTORY))
    new_title = Recipe("Another title", ("Comedy",), None, ("Comedy",))
    changes = {
        gone: Change(None, served=False),
        changed: Change(new_title, served=True),
        "1007": Change(new_title, served=True),  # of the history
        "new": Change(Recipe("New", ("Comedy",), None, ("Comedy",)), served=True),
    }
    asking, alone = engine(counting), engine(plain)
    assert asking.change(changes) == alone.change(changes) == {}
    asked = [wish(HISTORY), wish(["new"])]
    (found, of_new), (expected, expected_new) = asking.recommend(asked), alone.recommend(asked)
    assert gone not in {item.item_id for item in found.items}
    everything = {item.item_id for item in expected.items}
    assert len(everything) == ITEMS
    assert_merged(found, merged_by_hand(expected, said, everything))
    assert untimed(of_new) == untimed(expected_new)


def test_a_removed_item_keeps_its_place_in_the_history_that_explains(counting: Bundle) -> None:
    said = {str(1001 + line): float(parts.sum()) for line, parts in enumerate(COUNTS.parts)}
    older, newer = next(
        (one, other)
        for one, other in permutations(said, 2)
        if COUNTS.decay**2 * said[one] < said[other] < COUNTS.decay * said[one]
    )
    removed = next(item_id for item_id in said if item_id not in (older, newer))
    asking = engine(counting)
    asking.change({removed: Change(None, served=False)})
    (found,) = asking.recommend([wish([older, removed, newer])])
    because = next(item.because for item in found.items if item.interest == len(found.interests) - 1)
    assert [one.item_id for one in because or ()] == [newer, older]


def untimed(answer: EngineAnswer) -> tuple[object, ...]:
    return answer.items, answer.interests, answer.source
