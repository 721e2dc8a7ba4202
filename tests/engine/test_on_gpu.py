"""A bundle whose model computes on a CUDA device, beside the same on the processor: `pytest -m gpu`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.read import read_bundle
from engine.changes import Change
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.recipes import Recipe
from tests.factories import make_counts, publish_tiny_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

ITEMS = 200


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"guidance": "recency_attentive", "denoiser": "mlp", "guidance_vectors": 4},
        {"next_vectors": 3},
        {"process": "none"},
    ],
    ids=["large", "small", "mixture", "no noise"],
)
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Engine, Engine]:
    """One bundle on the processor and on the device."""
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root, items=ITEMS, counts=make_counts(ITEMS), novelty=0.5, **request.param)
    here, there = (Engine(read_bundle(root, device=device), max_steps=8) for device in ("cpu", "cuda"))
    return here, there


def requests(**fields: object) -> list[EngineRequest]:
    """Of histories of several lengths, each with a seed of its own."""
    generator = np.random.default_rng(1)
    histories = [
        generator.integers(1001, 1001 + ITEMS, length).astype(str).tolist() for length in range(1, 41)
    ]
    return [
        EngineRequest(**({"history": history, "k": ITEMS, "seed": seed} | fields))
        for seed, history in enumerate(histories)
    ]


def scores(answers: list[EngineAnswer]) -> list[dict[str, float]]:
    return [{item.item_id: item.score for item in answer.items} for answer in answers]


@pytest.mark.parametrize(
    "fields",
    [{}, {"interest_mode": "both", "draws": 7, "steps": 8}, {"interest_mode": "guidance"}, {"novelty": 1.0}],
    ids=str,
)
def test_the_device_answers_what_the_processor_does(
    engines: tuple[Engine, Engine], fields: dict[str, object]
) -> None:
    here, there = (scores(engine.recommend(requests(**fields))) for engine in engines)
    for expected, found in zip(here, there, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_a_request_is_answered_alone_as_among_others(engines: tuple[Engine, Engine]) -> None:
    there = engines[1]
    together = scores(there.recommend(requests()))
    alone = [scores(there.recommend([request]))[0] for request in requests()]
    for expected, found in zip(together, alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_what_was_added_is_found_there_as_here(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS)
    change = Change(Recipe("New", ("Comedy",), None, ("Comedy",)), served=True)
    answers = []
    for device in ("cpu", "cuda"):
        engine = Engine(read_bundle(tmp_path, device=device), max_steps=8)
        engine.change({"new": change})
        answers.append(scores(engine.recommend([EngineRequest(history=["new", "1003"], k=ITEMS, seed=1)])))
    assert answers[1][0] == pytest.approx(answers[0][0], rel=1e-3, abs=1e-6)
