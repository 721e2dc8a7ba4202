"""Answers recorded once: what a change that should change none is held against.

    python -m tests.service.test_recorded_answers     records anew, where answers are meant to change

The bundle's weights are random and seeded, the requests name their seeds; ids, order and scores are kept.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories import publish_tiny_bundle
from tests.service.serving import Running, running, settings_for

RECORDED = Path(__file__).with_suffix(".json")
ITEMS = 200


def requests() -> Iterator[dict[str, Any]]:
    """Every way of asking, with histories of all lengths."""
    generator = np.random.default_rng(16)
    for seed in range(60):
        length = int(generator.integers(1, 61))
        asked: dict[str, Any] = {
            "history": [str(1000 + row) for row in generator.integers(1, ITEMS + 1, length)],
            "k": int(generator.choice([1, 5, 10, 20, 50, 200])),
            "seed": seed,
            "draws": int(generator.integers(1, 9)),
            "steps": int(generator.integers(1, 9)),
            "interest_mode": str(generator.choice(["draws", "guidance", "both"])),
            "exclude_seen": bool(generator.integers(0, 4)),
            "diversity": float(generator.choice([0.0, 0.0, 0.4, 1.0])),
        }
        if seed % 4 == 0:
            asked["categories"] = ["Comedy", "News"][: 1 + seed % 8 // 4]
        if seed % 5 == 0:
            asked["exclude"] = [str(1000 + row) for row in generator.integers(1, ITEMS + 1, 30)]
        yield asked
    yield {"user_id": "nobody", "k": 20, "seed": 1}
    yield {"user_id": "nobody", "k": 20, "diversity": 0.5, "categories": ["Drama"]}


def answered(server: Running) -> list[dict[str, Any]]:
    """What the fixture keeps of the answer to each request."""
    kept = []
    for asked in requests():
        items: Any = server.answer(**asked)["items"]
        kept.append({name: [item[name] for item in items] for name in ("item_id", "score")})
    return kept


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("recorded")
    publish_tiny_bundle(root, items=ITEMS, repeat_weight=0.5)
    with running(settings_for(root)) as server:
        yield server


def test_answers_are_those_that_were_recorded(server: Running) -> None:
    for asked, found, recorded in zip(
        requests(), answered(server), json.loads(RECORDED.read_text()), strict=True
    ):
        assert found["item_id"] == recorded["item_id"], asked
        np.testing.assert_allclose(found["score"], recorded["score"], atol=1e-6, err_msg=str(asked))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        publish_tiny_bundle(Path(directory), items=ITEMS, repeat_weight=0.5)
        with running(settings_for(Path(directory))) as recorder:
            lines = ",\n".join(json.dumps(kept) for kept in answered(recorder))
            RECORDED.write_text(f"[\n{lines}\n]\n")
