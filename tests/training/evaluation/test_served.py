"""Which index the served path is measured with; figures: `tests/cli/test_evaluate.py`."""

from dataclasses import replace
from pathlib import Path

from bundle.read import read_bundle
from engine.contract import EngineRequest
from engine.engine import Engine
from index.building import build_index
from tests.factories import publish_tiny_bundle
from training.evaluation.served import engine_for


def test_a_bundles_own_index_is_searched_with_the_effort_it_was_published_with(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=2_000)
    bundle = read_bundle(tmp_path)
    hasty = replace(bundle, index=build_index(bundle.table.all, "ivf").with_effort(1))
    request = EngineRequest(history=bundle.catalogue.item_ids[:5], k=200, seed=0, explain=False)

    def answered(engine: Engine) -> list[str]:
        (answer,) = engine.recommend([request])
        return [item.item_id for item in answer.items]

    own = Engine(hasty, max_steps=bundle.manifest.serving.steps, max_whole_items=0)
    assert answered(engine_for(hasty, "ivf")) == answered(own)
    assert answered(engine_for(bundle, "ivf")) != answered(own)
