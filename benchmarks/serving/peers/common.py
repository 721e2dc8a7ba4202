"""Common to the peers: the engine, the same parsing, the same fields in the answers.

A peer answers with bytes that were encoded once, by pydantic's encoder, so that none pays for a slower one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_json

from benchmarks.serving.peers.names import BUNDLES, DEVICE
from bundle.read import read_bundle
from engine.contract import EngineAnswer, RecommendedItem
from engine.engine import Engine
from service.requests import MAX_STEPS, RecommendRequest

MAX_BATCH = 64
BATCH_WAIT_S = 0.005
"""The longest wait for a batch, of a peer that waits for one."""


def read_engine() -> Engine:
    """The engine of the bundle that the variables name, with one thread."""
    torch.set_num_threads(1)
    engine = Engine(
        read_bundle(Path(os.environ[BUNDLES]), device=os.environ.get(DEVICE, "cpu")), max_steps=MAX_STEPS
    )
    engine.warm_up()
    return engine


def recommend(engine: Engine, requests: Sequence[RecommendRequest]) -> list[bytes]:
    """One forward pass for all of them; the bodies of the answers."""
    answers = engine.recommend([request.to_engine(()) for request in requests])
    return [to_json(_answered(answer, engine.version)) for answer in answers]


def _answered(answer: EngineAnswer, version: str) -> dict[str, Any]:
    return {
        "items": list(map(_item, answer.items)),
        "interests": [
            {
                "kind": interest.kind,
                "weight": interest.weight,
                "item_count": interest.item_count,
                "top_categories": interest.top_categories,
            }
            for interest in answer.interests
        ],
        "source": answer.source,
        "unknown_categories": answer.unknown_categories,
        "fresh_missing": answer.fresh_missing,
        "model_version": version,
        "timings_ms": {"model": answer.model_ms, "search": answer.search_ms},
    }


def _item(item: RecommendedItem) -> dict[str, Any]:
    because = None
    if item.because is not None:
        because = [{"item_id": watched.item_id, "title": watched.title} for watched in item.because]
    return {
        "item_id": item.item_id,
        "score": item.score,
        "interest": item.interest,
        "because": because,
        "categories": item.categories,
        "title": item.title,
    }
