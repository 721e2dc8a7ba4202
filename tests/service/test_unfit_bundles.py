"""A bundle whose checksums are right and whose content is wrong is refused by name before it serves."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from bundle.manifest import ITEMS_FILE, MANIFEST_FILE, MODEL_FILE, VECTORS_FILE
from model.checkpoint import read_checkpoint, write_checkpoint
from tests.bundle.sealing import sealed
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.serving import AUTHORIZED


def weights(number: float) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        model = read_checkpoint(directory / MODEL_FILE)
        with torch.no_grad():
            for part in model.parameters():
                part.data = part.detach().clone()
                part.view(-1)[-1] = number
        write_checkpoint(directory / MODEL_FILE, model)

    return damage


def vectors(directory: Path) -> None:
    table = np.load(directory / VECTORS_FILE)
    table[100, 3] = math.nan
    with (directory / VECTORS_FILE).open("wb") as file:
        np.lib.format.write_array(file, table, version=(1, 0))


def column(name: str, change: Callable[[pa.Array], pa.Array]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        with pa.ipc.open_file(str(directory / ITEMS_FILE)) as file:
            batch = file.get_batch(0)
            arrays = [change(batch[one]) if one == name else batch[one] for one in batch.schema.names]
            changed = pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
        with pa.ipc.new_file(str(directory / ITEMS_FILE), changed.schema) as file:
            file.write_batch(changed)

    return damage


def without_a_name(categories: pa.Array) -> pa.Array:
    names = pa.array([None, *categories.values.dictionary.to_pylist()[1:]], pa.large_string())
    coded = pa.DictionaryArray.from_arrays(categories.values.indices, names)
    return pa.ListArray.from_arrays(categories.offsets, coded)


def without_the_first(values: pa.Array) -> pa.Array:
    return pa.array([None, *values.to_pylist()[1:]], values.type)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights that are no numbers": (weights(math.nan), "not finite"),
    "infinite weights": (weights(math.inf), "not finite"),
    "a vector that is no number": (vectors, "not of length 1"),
    "a category that is null": (column("categories", without_a_name), "nothing where it needs"),
    "an id that is null": (column("item_id", without_the_first), "nothing where it needs"),
    "counts below 0": (column("popularity", lambda values: pa.array([-1] * len(values))), "out of bounds"),
    "rows beyond the last": (
        column("hash_row", lambda values: pa.array([10**6] * len(values), pa.int32())),
        "out of bounds",
    ),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_wrong_content_is_409_by_name_and_the_old_bundle_serves_on(
    serve: Serve, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    first = publish_tiny_bundle(tmp_path, seed=1)
    server = serve(bundles=tmp_path)
    second = publish_tiny_bundle(tmp_path, seed=2)
    damage(tmp_path / second)
    second = sealed(tmp_path, second)
    refused = server.client.post("/admin/reload", headers=AUTHORIZED)
    assert refused.status_code == 409, refused.text
    assert refused.json()["type"] == "urn:dimerec:problem:bundle-unusable"
    assert second in refused.json()["detail"]
    assert says in refused.json()["detail"]
    assert server.metric("dimerec_bundle_swaps_total", operation="reload", outcome="failed") == 1
    assert server.answer(history=["1001"])["model_version"] == first


@pytest.mark.parametrize(
    "fields",
    [
        {"created": "0000-00-00T00:00:00Z"},
        {"created": "0001-01-01T00:00:00+14:00"},
        {"created": "9999-12-31T23:59:59-14:00"},
        {"created": 1e300},
        {"created": "2026-01-01T00:00:00"},
        {"repeat_weight": math.nan},
        {"metrics": {"hit_rate@20": math.inf}},
    ],
)
def test_an_absurd_manifest_is_409(serve: Serve, tmp_path: Path, fields: dict[str, Any]) -> None:
    first = publish_tiny_bundle(tmp_path, seed=1)
    server = serve(bundles=tmp_path)
    sealed(tmp_path, publish_tiny_bundle(tmp_path, seed=2), **fields)
    assert server.client.post("/admin/reload", headers=AUTHORIZED).status_code == 409
    assert server.answer(history=["1001"])["model_version"] == first


def test_two_thousand_million_items_are_refused_before_there_is_room_for_them(
    serve: Serve, tmp_path: Path
) -> None:
    publish_tiny_bundle(tmp_path, seed=1)
    server = serve(bundles=tmp_path)
    second = publish_tiny_bundle(tmp_path, seed=2)
    manifest = json.loads((tmp_path / second / MANIFEST_FILE).read_text())
    sealed(tmp_path, second, model=manifest["model"] | {"items": 2_000_000_000})
    assert server.client.post("/admin/reload", headers=AUTHORIZED).status_code == 409
