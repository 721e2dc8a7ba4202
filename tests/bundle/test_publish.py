"""Publishing, choosing and removing versions."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bundle.errors import BundleDamagedError, BundleError, BundleIncompatibleError, BundleRequestError
from bundle.manifest import CONTENT_FILES, ServingDefaults
from bundle.read import current_version, previous_version, read_bundle, verify, versions
from bundle.write import STALE_AFTER_S, prune, publish, set_current
from files.errors import DimeRecError
from index.building import build_index
from index.faiss_index import gpu_available
from index.query import Query
from index.tuning import IndexKind
from model.checkpoint import write_checkpoint
from service.requests import RecommendRequest
from tests.bundle.room import file_size
from tests.factories import (
    make_catalogue,
    make_index,
    make_model,
    make_serving,
    make_unit_vectors,
    publish_tiny_bundle,
)

FACTS: dict[str, Any] = {"serving": make_serving(), "metrics": {"ndcg@20": 0.0625}, "data_fingerprint": "abc"}


def test_without_room_each_part_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    model, catalogue = make_model(200), make_catalogue(200)
    index = make_index(model, "hnsw")
    writers: list[Callable[[Path], None]] = [
        lambda path: write_checkpoint(path, model),
        catalogue.write,
        index.table.write,
        index.write,
    ]
    for write in writers:
        with file_size(10), pytest.raises((OSError, DimeRecError)):
            write(tmp_path / "part")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [100, 20_000, 45_000])
def test_publishing_without_room_leaves_what_was_there(tmp_path: Path, size: int) -> None:
    first = publish_tiny_bundle(tmp_path)
    with file_size(size), pytest.raises((OSError, DimeRecError)):
        publish_tiny_bundle(tmp_path, seed=1)
    assert versions(tmp_path) == [current_version(tmp_path)] == [first]
    assert {path.name for path in tmp_path.iterdir()} == {first, "CURRENT", ".lock"}


def test_defaults_stay_within_what_is_served() -> None:
    assert Query(make_unit_vectors(1, 4), 1).temperature == ServingDefaults().temperature
    assert RecommendRequest(history=["1"], draws=ServingDefaults(draws=32).draws).draws == 32
    for asked in (lambda: ServingDefaults(draws=33), lambda: RecommendRequest(history=["1"], draws=33)):
        with pytest.raises(ValidationError, match="less than or equal to 32"):
            asked()


def names_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_what_was_published_is_what_is_loaded(tmp_path: Path, kind: IndexKind) -> None:
    model, catalogue = make_model(60), make_catalogue(60)
    version = publish(
        tmp_path / "new" / "root", model, catalogue, make_index(model, kind), **FACTS, source_revision="1a2b"
    )
    bundle = read_bundle(tmp_path / "new" / "root")

    assert bundle.version == bundle.manifest.version == version
    assert bundle.manifest.serving == FACTS["serving"]
    assert bundle.manifest.metrics == FACTS["metrics"]
    assert bundle.manifest.data_fingerprint == "abc"
    assert bundle.manifest.source_revision == "1a2b"
    assert bundle.model.config == bundle.manifest.model == model.config
    assert not bundle.model.training
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(bundle.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert bundle.catalogue.item_ids == catalogue.item_ids
    assert bundle.catalogue.titles == catalogue.titles
    assert (bundle.index.kind, len(bundle.index)) == (kind, 60)
    vectors = model.item_vectors().detach().numpy()
    np.testing.assert_array_equal(bundle.table.vectors(np.arange(1, 61)), vectors)


def test_the_directory_is_what_the_format_says(root: Path, version: str) -> None:
    directory = root / version
    assert names_in(directory) == {"manifest.json", *CONTENT_FILES}
    assert (root / "CURRENT").read_text() == f"{version}\n"
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}", version)
    files = json.loads((directory / "manifest.json").read_text())["files"]
    for name in CONTENT_FILES:
        content = (directory / name).read_bytes()
        assert files[name] == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def test_another_user_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        version = publish_tiny_bundle(tmp_path, items=10)
    finally:
        os.umask(before)
    for path in (tmp_path / version).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_newest_comes_first_and_the_last_published_serves(root: Path) -> None:
    first_two = versions(root)
    newest = publish_tiny_bundle(root, items=40, seed=3)
    assert versions(root) == [newest, *first_two]
    assert current_version(root) == newest
    assert previous_version(root) == first_two[0]


def test_a_version_may_be_published_without_serving(root: Path, version: str) -> None:
    newest = publish_tiny_bundle(root, items=40, make_current=False)
    assert versions(root)[0] == newest
    assert current_version(root) == read_bundle(root).version == version
    assert read_bundle(root, newest).version == newest


def test_any_version_can_be_put_in_service(root: Path) -> None:
    newer, older = versions(root)
    set_current(root, older)
    assert read_bundle(root).version == older
    assert previous_version(root) is None
    set_current(root, newer)
    assert previous_version(root) == older


def test_nothing_published_is_none_and_no_error(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        assert current_version(root) is None
        assert previous_version(root) is None
        assert versions(root) == []
        assert prune(root, 3) == []


def test_a_damaged_version_is_not_put_in_service(root: Path, version: str) -> None:
    older = versions(root)[1]
    (root / older / "items.arrow").unlink()
    with pytest.raises(BundleDamagedError, match=r"items\.arrow is missing"):
        set_current(root, older)
    assert read_bundle(root).version == version


def test_pruning_keeps_the_newest_and_the_one_in_service(root: Path) -> None:
    oldest = versions(root)[-1]
    set_current(root, oldest)
    for seed in (3, 4, 5):
        publish_tiny_bundle(root, items=40, seed=seed, make_current=False)
    before = versions(root)
    assert prune(root, 2) == before[2:-1]
    assert versions(root) == [*before[:2], oldest]
    assert read_bundle(root).version == oldest
    assert prune(root, 2) == []
    assert names_in(root) == {*versions(root), "CURRENT", ".lock"}


@pytest.mark.parametrize("keep", [0, -1])
def test_pruning_everything_is_refused(root: Path, keep: int) -> None:
    with pytest.raises(BundleRequestError, match="keep must be at least 1"):
        prune(root, keep)
    assert len(versions(root)) == 2


def plant_leftovers(root: Path, staged_at: float) -> None:
    """What publishers and pruners leave behind when they are killed."""
    staging, removing = root / ".publishing-00ff", root / ".removing-20250101T000000.000000Z-00000000"
    for directory in (staging, removing):
        directory.mkdir()
        (directory / "model.safetensors").write_bytes(b"half")
        for path in (directory / "model.safetensors", directory):
            os.utime(path, (staged_at, staged_at))
    (root / ".CURRENT.00ff.tmp").write_text("2025")


@pytest.mark.parametrize("cleaner", ["publish", "prune"])
def test_leftovers_of_killed_processes_are_removed(root: Path, cleaner: str) -> None:
    now = (root / "CURRENT").stat().st_mtime
    plant_leftovers(root, now - STALE_AFTER_S - 60)
    if cleaner == "publish":
        publish_tiny_bundle(root, items=40)
    else:
        prune(root, 5)
    assert names_in(root) == {*versions(root), "CURRENT", ".lock"}


def test_a_publication_under_way_is_left_alone(root: Path) -> None:
    now = (root / "CURRENT").stat().st_mtime
    plant_leftovers(root, now)
    prune(root, 5)
    assert names_in(root) == {*versions(root), "CURRENT", ".lock", ".publishing-00ff"}


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    model, catalogue = make_model(30), make_catalogue(30)
    index = make_index(model)
    cases = [
        ((model, make_catalogue(31), index), "the catalogue has 31 items, the model 30"),
        ((model, catalogue, make_index(make_model(29))), "the index has 29 items, the model 30"),
        ((model, catalogue, build_index(make_unit_vectors(30, 8))), "this model's item vectors"),
        ((model, catalogue, make_index(make_model(30, seed=1))), "this model's item vectors"),
    ]
    for parts, message in cases:
        with pytest.raises(BundleIncompatibleError, match=message):
            publish(tmp_path, *parts, **FACTS)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"metrics": {"ndcg@20": float("nan")}}, "metrics.ndcg@20"),
        ({"serving": make_serving(steps=9)}, "serving.steps is 9, the model has 8"),
        ({"data_fingerprint": ""}, "data_fingerprint"),
        ({"source_revision": "x" * 257}, "source_revision"),
    ],
)
def test_facts_out_of_bounds_are_refused_and_leave_nothing(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    model = make_model(30)
    with pytest.raises(BundleError, match=message) as raised:
        publish(tmp_path, model, make_catalogue(30), make_index(model), **(FACTS | facts))
    assert "\n" not in str(raised.value)
    assert names_in(tmp_path) == {".lock"}


def test_a_new_bundle_of_the_same_content_has_another_name(tmp_path: Path) -> None:
    first, second = publish_tiny_bundle(tmp_path, items=10), publish_tiny_bundle(tmp_path, items=10)
    assert first != second
    assert verify(tmp_path, first).files["items.arrow"] == verify(tmp_path, second).files["items.arrow"]


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_available(), reason="needs faiss-gpu and a CUDA device")
def test_on_a_gpu_the_index_finds_the_same(root: Path) -> None:
    queries = make_unit_vectors(5, 16)
    _, rows = read_bundle(root, device="cuda").index.search(queries, 10)
    np.testing.assert_array_equal(rows, read_bundle(root).index.search(queries, 10)[1])


def test_equal_bundles_published_at_one_instant_get_different_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two orders of a header's keys make two files of one model, so of three equal bundles two are the same.
    instants = [*[0] * 3, *range(1, 20)]

    class Clock:
        @staticmethod
        def now(zone: tzinfo) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5, instants.pop(0), tzinfo=zone)

    monkeypatch.setattr("bundle.manifest.datetime", Clock)
    names = [publish_tiny_bundle(tmp_path, items=20) for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert read_bundle(tmp_path, name).version == name
