"""The answer that README shows: asked of the demo's bundle, with the histories of the demo's data."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx import ASGITransport, AsyncClient

from bundle.manifest import MODEL_FILE
from bundle.read import current_version, verify
from service.app import create_app
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from service.settings import Settings
from training.data.dataset import read_dataset

DIGITS = 4
"""After the point, of scores and weights."""
MAX_LINE_LENGTH = 110
MASKED = {"model_version": "…", "request_id": "…"}
"""Fields that every bundle and every request has of its own; so have the timings."""


def model_digest(demo: Path) -> str | None:
    """The start of the SHA-256 of the demo's model; None where `make demo` has published none."""
    version = current_version(demo / "bundles")
    return None if version is None else verify(demo / "bundles", version).files[MODEL_FILE].sha256[:16]


def demo_answer(demo: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the demo in this directory to `POST /recommend`, masked and rounded."""
    settings = Settings(_env_file=None, bundles=demo / "bundles", compute_threads=1)
    return asyncio.run(_asked(settings, _histories(demo / "data", settings), request))


def masked(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without what differs between two of the same: version, id and timings."""
    timings = dict.fromkeys(answer["timings_ms"], "…")
    return {**_rounded(answer), **MASKED, "timings_ms": timings}


def written(value: Any, indent: str = "") -> str:
    """JSON in lines of at most `MAX_LINE_LENGTH`, as a person would lay it out."""
    text = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(text) <= MAX_LINE_LENGTH or not isinstance(value, dict | list):
        return text
    deeper = f"{indent}  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {written(inner, deeper)}" for name, inner in value.items()]
        opening, closing = "{}"
    else:
        parts = [written(inner, deeper) for inner in value]
        opening, closing = "[]"
    inner = ",\n".join(f"{deeper}{part}" for part in parts)
    return f"{opening}\n{inner}\n{indent}{closing}"


async def _asked(settings: Settings, history: InProcessHistory, request: Mapping[str, Any]) -> dict[str, Any]:
    transport = ASGITransport(create_app(settings, history=history))
    async with AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/recommend", json=request)
        response.raise_for_status()
        return masked(response.json())


def _histories(prepared: Path, settings: Settings) -> InProcessHistory:
    dataset = read_dataset(prepared)
    store = InProcessHistory(max_events=settings.history_max_events, max_users=settings.history_max_users)
    store.load(
        (user_id, Event(dataset.catalogue.item_id(row), timestamp))
        for user, user_id in enumerate(dataset.user_ids)
        for row, timestamp in zip(
            dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]].tolist(),
            dataset.timestamps[dataset.offsets[user] : dataset.offsets[user + 1]].tolist(),
            strict=True,
        )
    )
    return store


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value
