"""Popularity that recent events have a part in, against sums and sorts of all items."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.read import Bundle, read_bundle
from engine.changes import Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.popularity import PRIOR_EVENTS, Trend
from engine.recipes import Like, Recipe
from tests.effort import examples
from tests.factories import make_catalogue

CATALOGUE = make_catalogue(200)
IDS = list(CATALOGUE.item_ids)
LIKE = Recipe("New", ("Comedy",), Like(("1001",)), ())


@pytest.fixture(scope="module")
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


def engine_of(bundle: Bundle, trend: Trend, changes: dict[str, Change] | None = None) -> Engine:
    engine = Engine(bundle, max_steps=8)
    engine.follow_trend(trend)
    engine.change(changes or {})
    return engine


def cold(engine: Engine, k: int = 200, **fields: object) -> EngineAnswer:
    [answer] = engine.recommend([EngineRequest(history=[], k=k, **fields)])  # type: ignore[arg-type]
    return answer


def pairs(answer: EngineAnswer) -> list[tuple[str, float]]:
    return [(item.item_id, item.score) for item in answer.items]


COUNTS = st.dictionaries(st.sampled_from([*IDS[:60], "new", "unknown"]), st.floats(1e-6, 1e6), max_size=40)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=COUNTS,
    removed=st.frozensets(st.sampled_from(IDS[:20]), max_size=10),
    renamed=st.frozensets(st.sampled_from(IDS[10:]), max_size=20),
    excluded=st.frozensets(st.sampled_from([*IDS[:40], "new"]), max_size=20),
    k=st.integers(1, 220),
)
def test_the_best_are_those_of_both_counts_together(
    bundle: Bundle,
    counts: dict[str, float],
    removed: frozenset[str],
    renamed: frozenset[str],
    excluded: frozenset[str],
    k: int,
) -> None:
    changes = {one: Change(LIKE, served=True) for one in ("new", *renamed)}
    changes |= {one: Change(None, served=False) for one in removed}
    answer = cold(
        engine_of(bundle, Trend(tuple(counts), tuple(counts.values())), changes), k, excluded=[*excluded]
    )
    known = {item_id: count for item_id, count in counts.items() if item_id != "unknown"}
    shares = dict(zip(IDS, CATALOGUE.popularity / CATALOGUE.events, strict=True)) | {"new": 0.0}
    total = PRIOR_EVENTS + sum(known.values())
    scores = {one: (PRIOR_EVENTS * share + known.get(one, 0)) / total for one, share in shares.items()}
    fitting = [one for one in scores if one not in removed | excluded]
    expected = sorted((scores[one] for one in fitting), reverse=True)[:k]
    found = [item.item_id for item in answer.items]
    assert len(set(found)) == len(found)
    assert set(found) <= set(fitting)
    np.testing.assert_allclose([scores[one] for one in found], expected, rtol=1e-9)
    np.testing.assert_allclose([item.score for item in answer.items], expected, rtol=1e-9)
    recent = any(known.get(one, 0) > PRIOR_EVENTS * shares[one] * (1 + 1e-9) for one in found)
    assert answer.source == ("trending" if recent else "popularity")


def test_without_recent_events_it_is_the_log_to_the_last_bit(bundle: Bundle) -> None:
    before = cold(Engine(bundle, max_steps=8))
    engine = engine_of(bundle, Trend(("unknown",), (7.0,)))
    assert pairs(cold(engine)) == pairs(before)
    engine.follow_trend(Trend(("1200",), (1e6,)))
    assert pairs(cold(engine))[0][0] == "1200"
    engine.follow_trend(Trend())
    assert pairs(cold(engine)) == pairs(before)
    assert cold(engine).source == "popularity"


def test_a_change_of_the_catalogue_keeps_the_trend_and_a_removed_item_never_enters(bundle: Bundle) -> None:
    engine = engine_of(bundle, Trend(("1007", "new"), (500.0, 900.0)))
    assert [item_id for item_id, _ in pairs(cold(engine, 1))] == ["1007"]
    engine.change({"new": Change(LIKE, served=True)})
    assert [item_id for item_id, _ in pairs(cold(engine, 2))] == ["new", "1007"]
    engine.change({"1007": Change(Recipe("Renamed", (), None, ()), served=True)})
    assert [item_id for item_id, _ in pairs(cold(engine, 2))] == ["new", "1007"]
    engine.change({"1007": Change(None, served=False), "new": Change(LIKE, served=False)})
    assert not {"1007", "new"} & {item_id for item_id, _ in pairs(cold(engine))}


def test_categories_and_diversity_hold_for_recent_events_too(bundle: Bundle) -> None:
    comedies = [CATALOGUE.item_id(int(row)) for row in CATALOGUE.rows_of("Comedy")]
    engine = engine_of(bundle, Trend(tuple(IDS), tuple(float(10 + index) for index in range(200))))
    assert {one for one, _ in pairs(cold(engine, categories=["Comedy"]))} == set(comedies)
    spread = cold(engine, 10, diversity=0.9)
    assert spread.source == "trending"
    assert pairs(spread) != pairs(cold(engine, 10))


def test_a_personal_answer_knows_nothing_of_it(bundle: Bundle) -> None:
    request = EngineRequest(history=["1001", "1002"], k=10, seed=1)
    [before] = Engine(bundle, max_steps=8).recommend([request])
    [after] = engine_of(bundle, Trend(("1100",), (1e6,))).recommend([request])
    assert (pairs(after), after.source) == (pairs(before), "personal")
