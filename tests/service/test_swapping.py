"""Reload and rollback: under traffic, and with broken bundles."""

import gc
import os
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle import read
from bundle.write import set_current
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish_tiny_bundle(tmp_path, seed=1)
    return tmp_path


def admin(server: Running, operation: str) -> httpx.Response:
    return server.client.post(f"/admin/{operation}", headers=AUTHORIZED)


def alone(version: str | None) -> dict[str, object]:
    """This process, as it tells of itself where it has no others."""
    host = socket.gethostname()
    return {"host": host, "pid": os.getpid(), "model_version": version, "sequence": 0, "missing": None}


def test_reload_and_rollback_move_between_versions_and_record_it(serve: Serve, root: Path) -> None:
    first = read.current_version(root)
    server = serve(bundles=root)
    assert admin(server, "reload").json() == {
        "previous_version": first,
        "model_version": first,
        "changed": False,
        "workers": [{"pid": os.getpid(), "model_version": first}],
        "processes": [alone(first)],
    }
    second = publish_tiny_bundle(root, seed=2)
    assert server.answer(history=["1001"])["model_version"] == first
    assert admin(server, "reload").json() == {
        "previous_version": first,
        "model_version": second,
        "changed": True,
        "workers": [{"pid": os.getpid(), "model_version": second}],
        "processes": [alone(second)],
    }
    assert server.answer(history=["1001"])["model_version"] == second
    assert server.client.get("/version").json()["data_fingerprint"] == "tiny-200-2"
    assert admin(server, "rollback").json() == {
        "previous_version": second,
        "model_version": first,
        "changed": True,
        "workers": [{"pid": os.getpid(), "model_version": first}],
        "processes": [alone(first)],
    }
    assert server.answer(history=["1001"])["model_version"] == first
    assert read.current_version(root) == first
    assert admin(server, "reload").json()["changed"] is False
    oldest = admin(server, "rollback")
    assert oldest.status_code == 409
    assert oldest.json()["type"] == "urn:dimerec:problem:no-earlier-bundle"
    assert server.metric("dimerec_bundle_info", version=str(first)) == 1
    assert server.metric("dimerec_bundle_info", version=second) == 0
    assert server.metric("dimerec_bundle_swaps_total", operation="reload", outcome="done") == 1


def test_a_swap_changes_the_answers(serve: Serve, root: Path) -> None:
    server = serve(bundles=root)
    before = server.answer(history=["1001"], seed=1)["items"]
    publish_tiny_bundle(root, seed=2)
    admin(server, "reload")
    after = server.answer(history=["1001"], seed=1)["items"]
    assert before != after
    admin(server, "rollback")
    assert server.answer(history=["1001"], seed=1)["items"] == before


def test_traffic_notices_nothing_of_swaps_but_the_version(serve: Serve, root: Path) -> None:
    server = serve(bundles=root)
    first = read.current_version(root)
    second = publish_tiny_bundle(root, items=150, seed=2)
    finished = threading.Event()

    def ask(_: int) -> list[tuple[int, str, int]]:
        answers = []
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not finished.is_set():
                response = client.post("/recommend", json={"history": ["1001", "1002"], "k": 500})
                content = response.json()
                answers.append((response.status_code, content["model_version"], len(content["items"])))
        return answers

    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(ask, number) for number in range(4)]
        for _ in range(5):
            assert admin(server, "reload").status_code == 200
            assert admin(server, "rollback").status_code == 200
            set_current(root, second)
        finished.set()
        answers = {answer for caller in asking for answer in caller.result()}
    assert answers == {(200, first, 198), (200, second, 148)}


def test_an_engine_that_went_out_of_service_is_freed_at_once(serve: Serve, root: Path) -> None:
    server = serve(bundles=root)
    server.answer(history=["1001"], categories=["category-1"], explain=True)
    engine = server.service.engines.engine
    retired: list[weakref.ref[Any]] = [weakref.ref(engine), weakref.ref(engine._snapshot.catalogue)]
    del engine
    publish_tiny_bundle(root, seed=2)
    gc.disable()
    try:
        admin(server, "reload")
        server.answer(history=["1001"])
        until(lambda: [one() for one in retired] == [None, None])
    finally:
        gc.enable()


def test_a_swap_looks_at_nothing_that_lives_as_long_as_the_process(serve: Serve, root: Path) -> None:
    server = serve(bundles=root)
    publish_tiny_bundle(root, seed=2)
    kept_apart = []

    def note(phase: str, info: Mapping[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            kept_apart.append(gc.get_freeze_count())

    gc.freeze()
    frozen = gc.get_freeze_count()
    gc.callbacks.append(note)
    try:
        assert admin(server, "reload").json()["changed"]
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
    assert kept_apart
    assert min(kept_apart) > frozen / 2


def damage_file(root: Path, version: str) -> None:
    with (root / version / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff" if file.read(1) != b"\xff" else b"\x00")


def remove_file(root: Path, version: str) -> None:
    (root / version / "index.faiss").unlink()


def scramble_current(root: Path, version: str) -> None:
    (root / "CURRENT").write_text("../../etc")


def remove_current(root: Path, version: str) -> None:
    (root / "CURRENT").unlink()


@pytest.mark.parametrize("damage", [damage_file, remove_file, scramble_current, remove_current])
def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one_in_service(
    serve: Serve, root: Path, damage: Callable[[Path, str], None]
) -> None:
    server = serve(bundles=root)
    first = read.current_version(root)
    second = publish_tiny_bundle(root, seed=2)
    damage(root, second)
    refused = admin(server, "reload")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:dimerec:problem:bundle-unusable"
    assert server.answer(history=["1001"])["model_version"] == first
    assert server.client.get("/health/ready").status_code == 200
    assert server.metric("dimerec_bundle_swaps_total", operation="reload", outcome="failed") == 1


def test_a_rollback_that_cannot_be_recorded_is_refused(serve: Serve, root: Path) -> None:
    second = publish_tiny_bundle(root, seed=2)
    server = serve(bundles=root)
    (root / "CURRENT").unlink()
    (root / "CURRENT").mkdir()
    refused = admin(server, "rollback")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:dimerec:problem:bundle-root-read-only"
    assert server.answer(history=["1001"])["model_version"] == second


def test_swaps_asked_for_at_once_happen_one_after_the_other(serve: Serve, root: Path) -> None:
    server = serve(bundles=root)
    second = publish_tiny_bundle(root, seed=2)
    with ThreadPoolExecutor(6) as callers:
        reloads = [
            callers.submit(httpx.post, f"{server.url}/admin/reload", headers=AUTHORIZED, timeout=30)
            for _ in range(6)
        ]
        told = [future.result().json() for future in reloads]
    assert sorted(answer["changed"] for answer in told) == [False] * 5 + [True]
    assert {answer["model_version"] for answer in told} == {second}


def test_whoever_watches_current_follows_a_publish_and_survives_a_broken_one(
    serve: Serve, root: Path
) -> None:
    server = serve(bundles=root, watch_s=0.1)
    second = publish_tiny_bundle(root, seed=2)

    def serves(version: str) -> bool:
        answer: dict[str, str] = server.client.get("/version").json()
        return answer["model_version"] == version

    until(lambda: serves(second))
    damaged = publish_tiny_bundle(root, seed=3, make_current=False)
    damage_file(root, damaged)
    (root / "CURRENT").write_text(damaged)
    failed = {"operation": "reload", "outcome": "failed"}
    until(lambda: server.metric("dimerec_bundle_swaps_total", **failed) == 1)
    third = publish_tiny_bundle(root, seed=4)
    until(lambda: serves(third))
    assert server.metric("dimerec_bundle_swaps_total", **failed) == 1
