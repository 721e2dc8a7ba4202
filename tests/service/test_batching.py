"""Concurrent requests over real sockets: batches, company, deadlines, overload, and callers that leave."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np

from bundle.read import read_bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from tests.service.conftest import Serve
from tests.service.gated import GatedEngine, until
from tests.service.serving import Running


@contextmanager
def sent(server: Running, path: str, content: object) -> Iterator[None]:
    """Send a request and hang up, without reading, when the block ends."""
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        yield


def wishes(count: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    return [
        {
            "history": [str(1000 + row) for row in generator.integers(1, 201, generator.integers(1, 40))],
            "k": int(generator.integers(1, 30)),
            "draws": int(generator.integers(1, 8)),
            "steps": int(generator.integers(1, 9)),
            "diversity": float(generator.choice([0.0, 0.5])),
            "interest_mode": str(generator.choice(["draws", "guidance", "both"])),
        }
        for _ in range(count)
    ]


def test_an_answer_does_not_depend_on_its_company(
    busy: Callable[..., Running], gate: threading.Event
) -> None:
    server = busy()
    asked = wishes(31)
    with ThreadPoolExecutor(len(asked)) as callers:
        together: list[Future[httpx.Response]] = [
            callers.submit(httpx.post, f"{server.url}/recommend", json=wish, timeout=30) for wish in asked
        ]
        until(lambda: server.service.batcher.queue_length == len(asked))
        gate.set()
        answers = [future.result().json() for future in together]
    assert server.metric("dimerec_batch_size_count") == 2
    assert server.metric("dimerec_batch_size_sum") == 1 + len(asked)
    for wish, accompanied in zip(asked, answers, strict=True):
        alone: Any = server.answer(**wish)
        assert [item["item_id"] for item in accompanied["items"]] == [
            item["item_id"] for item in alone["items"]
        ]
        np.testing.assert_allclose(
            [item["score"] for item in accompanied["items"]],
            [item["score"] for item in alone["items"]],
            atol=1e-6,
        )


async def test_batches_form_by_themselves_under_load(serve: Serve) -> None:
    server = serve(max_batch=16)
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        responses = await asyncio.gather(*(client.post("/recommend", json=wish) for wish in wishes(60)))
    assert {response.status_code for response in responses} == {200}
    assert server.metric("dimerec_batch_size_sum") == 60
    assert server.metric("dimerec_batch_size_count") < 60
    assert server.metric("dimerec_batch_size_bucket", le="16.0") == server.metric("dimerec_batch_size_count")


def test_a_full_queue_is_answered_at_once_with_a_time_to_come_back(busy: Callable[..., Running]) -> None:
    server = busy(max_queue=2)
    with ThreadPoolExecutor(2) as callers:
        waiting = [callers.submit(server.recommend, history=["1001"]) for _ in range(2)]
        until(lambda: server.service.batcher.queue_length == 2)
        refused = server.recommend(history=["1001"])
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["type"] == "urn:dimerec:problem:overloaded"
        assert server.metric("dimerec_refused_total", reason="overloaded") == 1
        assert server.client.get("/health/ready").status_code == 200
        GatedEngine.gate.set()
        assert {future.result().status_code for future in waiting} == {200}


def test_a_deadline_is_honoured_in_the_queue_before_anything_is_computed(
    busy: Callable[..., Running],
) -> None:
    server = busy()
    expired = server.recommend(history=["1001"], deadline_ms=20)
    assert expired.status_code == 504
    assert expired.json()["type"] == "urn:dimerec:problem:deadline-exceeded"
    assert "deadline_ms" in expired.json()["detail"]
    assert server.metric("dimerec_refused_total", reason="deadline") == 1
    assert server.service.batcher.queue_length == 0
    GatedEngine.gate.set()
    server.answer(history=["1001"])
    assert server.metric("dimerec_batch_size_sum") == 2


def test_the_settings_bound_the_wait_of_those_who_name_no_deadline(busy: Callable[..., Running]) -> None:
    server = busy(default_deadline_ms=30)
    assert server.recommend(history=["1001"]).status_code == 504


def test_a_caller_that_hangs_up_leaves_the_queue_at_once(busy: Callable[..., Running]) -> None:
    server = busy(max_queue=1)
    with sent(server, "/recommend", {"history": ["1001"]}):
        until(lambda: server.service.batcher.queue_length == 1)
    until(lambda: server.service.batcher.queue_length == 0)
    until(
        lambda: server.metric("dimerec_requests_total", method="POST", route="/recommend", status="499") == 1
    )
    GatedEngine.gate.set()
    server.answer(history=["1001"])
    assert server.metric("dimerec_batch_size_sum") == 2


def test_a_batch_whose_caller_hangs_up_leaves_the_queue_too(busy: Callable[..., Running]) -> None:
    server = busy()
    with sent(server, "/recommend/batch", {"requests": [{"history": ["1001"]}] * 50}):
        until(lambda: server.service.batcher.queue_length == 50)
    until(lambda: server.service.batcher.queue_length == 0)


def test_an_overloaded_batch_says_so_in_each_place(busy: Callable[..., Running]) -> None:
    server = busy(max_queue=3)
    with ThreadPoolExecutor(1) as caller:
        posted = caller.submit(
            server.client.post, "/recommend/batch", json={"requests": [{"history": ["1001"]}] * 5}
        )
        until(lambda: server.service.batcher.queue_length == 3)
        GatedEngine.gate.set()
        answers = posted.result().json()["answers"]
    assert [answer.get("status", 200) for answer in answers] == [200, 200, 200, 503, 503]


class BrokenEngine(Engine):
    """An engine with a defect that one user's request brings out."""

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        if any(request.k == 13 for request in requests):
            raise ZeroDivisionError("a defect; user 4711 was here")
        return super().recommend(requests)


def test_a_defect_fails_the_request_that_brings_it_out_and_no_other(serve: Serve) -> None:
    server = serve()
    server.service.engines.engine = BrokenEngine(read_bundle(server.service.settings.bundles), max_steps=50)
    wish = {"history": ["1001"]}
    failed = server.client.post("/recommend", json={**wish, "k": 13}, headers={"x-request-id": "defect"})
    assert failed.status_code == 500
    assert failed.headers["content-type"] == "application/problem+json"
    assert failed.headers["x-request-id"] == failed.json()["request_id"] == "defect"
    assert "4711" not in failed.text
    batch = server.client.post("/recommend/batch", json={"requests": [wish, {**wish, "k": 13}, wish]})
    assert [answer.get("status", 200) for answer in batch.json()["answers"]] == [200, 500, 200]
