"""Batches in whose time the catalogue changes."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundle import read
from service.errors import OverloadedError
from tests.factories import publish_tiny_bundle
from tests.service.catalogue.test_catalogue_http import put, remove
from tests.service.conftest import Serve
from tests.service.gated import HeldEngine, until
from tests.service.serving import Running

ASKED: list[dict[str, Any]] = [
    {"history": ["1001", "1002"], "k": 10, "categories": ["Comedy"]},
    {"history": ["1003"], "k": 10, "categories": ["News"]},
]


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Running:
    publish_tiny_bundle(tmp_path)
    return serve(bundles=tmp_path)


def batch(server: Running, gate: threading.Event, meanwhile: Callable[[], object]) -> list[dict[str, Any]]:
    """The answers to a batch, while which is computed something happens."""
    engine = HeldEngine(read.read_bundle(server.service.settings.bundles), max_steps=50)
    server.service.engines.engine = engine
    server.service.catalogue.serve(engine)
    begun = server.metric("dimerec_batch_size_sum")
    with ThreadPoolExecutor() as callers:
        asked = callers.submit(server.client.post, "/recommend/batch", json={"requests": ASKED})
        until(lambda: server.metric("dimerec_batch_size_sum") - begun == len(ASKED))
        meanwhile()
        gate.set()
        answers: list[dict[str, Any]] = asked.result().json()["answers"]
    return answers


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_what_lost_nothing_is_not_computed_again(server: Running, gate: threading.Event) -> None:
    answers = batch(server, gate, lambda: put(server, "new", **{"from": {"like": ["1001"]}}))
    assert [len(ids(answer)) for answer in answers] == [10, 10]
    assert server.metric("dimerec_batch_size_sum") == len(ASKED)


def test_what_lost_an_item_is_computed_again(server: Running, gate: threading.Event) -> None:
    gone = ids(server.answer(**ASKED[0]))[0]
    others = ids(server.answer(**ASKED[1]))
    before = server.metric("dimerec_batch_size_sum")
    answers = batch(server, gate, lambda: remove(server, gone))
    assert gone not in {*ids(answers[0]), *ids(answers[1])}
    assert [len(ids(answer)) for answer in answers] == [10, 10]
    lost = 2 if gone in others else 1
    assert server.metric("dimerec_batch_size_sum") - before == len(ASKED) + lost


def test_what_cannot_be_computed_again_is_answered_without_what_is_gone(
    server: Running, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ids(server.answer(**ASKED[0]))[0]

    def refuse(*_: object) -> None:
        raise OverloadedError(waiting=1, retry_after_s=1)

    def meanwhile() -> None:
        remove(server, gone)
        monkeypatch.setattr(server.service.batcher, "admit", refuse)

    first, _ = batch(server, gate, meanwhile)
    assert len(ids(first)) == 9
    assert gone not in ids(first)
