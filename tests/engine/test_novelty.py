"""Rarer items from an engine: whatever finds them, and with items that were put since the bundle."""

from pathlib import Path

import numpy as np
import pytest

from bundle.read import Bundle, read_bundle
from engine.changes import Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.recipes import Given, Recipe
from tests.factories import make_unit_vectors, publish_tiny_bundle

ITEMS, DIM, POWER = 200, 16, 0.5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root, items=ITEMS, dim=DIM, novelty=POWER)
    return read_bundle(root)


def scores(answer: EngineAnswer) -> dict[str, float]:
    return {item.item_id: item.score for item in answer.items}


def asked(novelty: float, k: int = ITEMS + 1) -> EngineRequest:
    return EngineRequest(history=["1003", "1007"], k=k, seed=1, novelty=novelty)


def test_a_new_item_is_as_common_as_the_mean_and_a_changed_one_as_before(bundle: Bundle) -> None:
    engine = Engine(bundle, max_steps=50)
    vectors = make_unit_vectors(2, DIM, seed=4)
    origins = [Given(tuple(vector.tolist()), bundle.version) for vector in vectors]
    engine.change(
        {
            "new": Change(Recipe("New", (), origins[0], ()), served=True),
            "1050": Change(Recipe("Changed", (), origins[1], ()), served=True),
        }
    )
    plain, novel = engine.recommend([asked(0), asked(1)])
    events = bundle.catalogue.popularity
    common = dict(zip(bundle.catalogue.item_ids, np.log1p(events).tolist(), strict=True))
    common["new"] = float(np.log1p(events).mean())
    expected = {item: score * np.exp(-POWER * common[item]) for item, score in scores(plain).items()}
    assert {"new", "1050"} <= set(expected)
    assert scores(novel) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("novelty", [0.3, 1.0])
def test_an_index_finds_about_what_scoring_all_does(bundle: Bundle, novelty: float) -> None:
    """Their softmaxes are over the nearest 128 and over all 200."""
    (whole,) = Engine(bundle, max_steps=50).recommend([asked(novelty, 20)])
    (found,) = Engine(bundle, max_steps=50, max_whole_items=0).recommend([asked(novelty, 20)])
    ids = [item.item_id for item in whole.items]
    assert len(set(ids) & {item.item_id for item in found.items}) >= 18
    assert len(found.items) == 20


def test_a_bundle_says_itself_whether_there_is_any(bundle: Bundle, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    assert Engine(bundle, max_steps=50).offers_novelty
    assert not Engine(read_bundle(tmp_path), max_steps=50).offers_novelty
