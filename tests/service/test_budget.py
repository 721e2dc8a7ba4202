"""Requests and batches that would take too much computation are refused, over real sockets."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle import read
from engine.contract import EngineRequest
from engine.engine import Engine
from service.requests import RecommendRequest
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.gated import GatedEngine, HeldEngine, until
from tests.service.serving import AUTHORIZED, Running
from tests.service.test_admission import set_pace

DEAREST = {"k": 500, "draws": 32, "diversity": 1.0}
PLAIN: dict[str, Any] = {"history": ["1001", "1002"], "k": 10}


def test_an_answer_made_again_for_a_removal_is_within_the_bound_of_what_was_asked_for(
    serve: Serve, tmp_path: Path, gate: threading.Event
) -> None:
    publish_tiny_bundle(tmp_path)
    costs = Engine(read.read_bundle(tmp_path), max_steps=50).costs
    asked = {**PLAIN, "k": 100}
    bound = costs.of(RecommendRequest.model_validate(asked).to_engine(())) + 0.001
    server = serve(bundles=tmp_path, max_request_cost=bound, max_batch_cost=bound)
    engine = HeldEngine(read.read_bundle(tmp_path), max_steps=50)
    server.service.engines.engine = engine
    server.service.catalogue.serve(engine)
    with ThreadPoolExecutor() as callers:
        one = callers.submit(server.recommend, **asked)
        many = callers.submit(server.client.post, "/recommend/batch", json={"requests": [asked]})
        until(lambda: server.metric("dimerec_queue_length") + server.metric("dimerec_batch_size_sum") >= 2)
        for number in range(100, 200):
            assert server.client.delete(f"/items/{1000 + number}", headers=AUTHORIZED).is_success
        gate.set()
        answers = [one.result().json(), many.result().json()["answers"][0]]
    assert [len(answer["items"]) for answer in answers] == [98, 98]


def cost(server: Running, **fields: Any) -> float:
    request = RecommendRequest.model_validate(fields)
    return server.service.engines.engine.costs.of(request.to_engine(()))


def computed(server: Running) -> float:
    return server.metric("dimerec_batch_size_sum")


def test_a_small_body_with_much_computation_in_it_is_refused_before_any_is_done(server: Running) -> None:
    body = json.dumps({"requests": [{"history": ["1001"], **DEAREST}] * 256})
    assert len(body) < 32 * 1024
    before = computed(server)
    refused = server.client.post(
        "/recommend/batch", content=body, headers={"content-type": "application/json"}
    )
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"] == "urn:dimerec:problem:too-costly"
    (fault,) = problem["errors"]
    assert fault["field"] == "requests"
    total, bound = map(
        float, re.findall(r"cost ([\de+.]+) together and a batch may cost (\d+)", fault["message"])[0]
    )
    assert bound == server.service.settings.max_batch_cost
    assert total == pytest.approx(256 * cost(server, history=["1001"], **DEAREST), rel=0.01)
    for lever in ("fewer", "k", "draws", "steps"):
        assert lever in fault["message"]
    assert computed(server) == before


def test_as_many_plain_requests_as_a_batch_may_have_are_answered(server: Running) -> None:
    answered = server.client.post("/recommend/batch", json={"requests": [PLAIN] * 256})
    assert answered.status_code == 200
    assert {len(answer["items"]) for answer in answered.json()["answers"]} == {10}


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"k": 500, "diversity": 0.5}, "k"), ({"draws": 32, "steps": 8, "interest_mode": "draws"}, "draws")],
)
def test_a_dear_request_is_refused_by_the_name_of_what_makes_it_dear(
    serve: Serve, fields: dict[str, Any], field: str
) -> None:
    server = serve()
    dear = cost(server, **PLAIN | fields)
    server = serve(max_request_cost=dear - 0.01)
    refused = server.recommend(**PLAIN | fields)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:dimerec:problem:too-costly"
    (fault,) = refused.json()["errors"]
    assert fault["field"] == field
    assert f"costs {dear:.3g}" in fault["message"]
    assert f"may cost {dear - 0.01:g}" in fault["message"]
    lowered = float(re.findall(rf"with {field} = 1 it costs ([\d.]+)", fault["message"])[0])
    assert lowered == pytest.approx(cost(server, **PLAIN | fields | {field: 1}), rel=0.01)
    assert server.recommend(**PLAIN | fields | {field: 1}).status_code == 200


def test_a_dear_request_of_a_batch_spoils_no_other(serve: Serve) -> None:
    server = serve(max_request_cost=1.0)
    requests = [PLAIN, {**PLAIN, **DEAREST}, {**PLAIN, "k": 0}]
    answers = server.client.post("/recommend/batch", json={"requests": requests}).json()["answers"]
    assert len(answers[0]["items"]) == 10
    assert [answer["type"].rpartition(":")[2] for answer in answers[1:]] == ["too-costly", "invalid-request"]


def test_similar_items_have_a_cost_and_a_bound(serve: Serve) -> None:
    costs = serve().service.engines.engine.costs
    server = serve(max_request_cost=costs.of_similar(100))
    assert server.client.get("/items/1001/similar?k=100").status_code == 200
    refused = server.client.get("/items/1001/similar?k=101")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "k"
    assert f"may cost {costs.of_similar(100):g}" in refused.json()["detail"]


def test_costs_are_charged_to_the_callers_key(serve: Serve) -> None:
    server = serve()
    costs = server.service.engines.engine.costs
    server.answer(**PLAIN)
    requests = {"requests": [{**PLAIN, "k": 20}, {**PLAIN, "k": 0}, {**PLAIN, "draws": 3}]}
    assert server.client.post("/recommend/batch", json=requests, headers=AUTHORIZED).is_success
    assert server.client.get("/items/1001/similar?k=7", headers=AUTHORIZED).is_success
    batch = cost(server, **PLAIN | {"k": 20}) + cost(server, **PLAIN | {"draws": 3})
    assert server.metric("dimerec_cost_total", key="anonymous") == pytest.approx(cost(server, **PLAIN))
    assert server.metric("dimerec_cost_total", key="everything") == pytest.approx(batch + costs.of_similar(7))


def test_what_waits_counts_by_its_cost(busy: Callable[..., Running]) -> None:
    """Ten dear requests are a longer queue than ten plain ones, and similar items are a part of it."""
    predicted = []
    for fields in ({}, DEAREST):
        GatedEngine.gate.clear()
        server = busy()
        set_pace(server, 0.001)
        with ThreadPoolExecutor(11) as callers:
            waiting = [
                callers.submit(httpx.post, f"{server.url}/recommend", json=PLAIN | fields, timeout=30)
                for _ in range(10)
            ]
            until(lambda server=server: server.service.batcher.queue_length == 10)  # type: ignore[misc]
            predicted.append(server.service.batcher.predicted_s(1.0, "127.0.0.1"))
            path = "/items/1001/similar?k=500"
            waiting.append(callers.submit(httpx.get, server.url + path, timeout=30))
            until(lambda server=server: server.service.batcher.queue_length == 11)  # type: ignore[misc]
            predicted.append(server.service.batcher.predicted_s(1.0, "127.0.0.1"))
            GatedEngine.gate.set()
            assert {future.result().status_code for future in waiting} == {200}
    plain, with_similar, dear, _ = predicted
    assert with_similar > plain
    assert dear > 2 * plain


def test_a_filter_costs_its_passes_until_it_is_kept(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, attributes=True)
    server = serve(bundles=tmp_path)
    words = {"attribute": "tags", "in": ["cat"]}
    where = {"all_of": [words] * 4}
    plain = cost(server, **PLAIN)
    new, few = cost(server, **PLAIN, where=where), cost(server, **PLAIN, where=words)
    assert plain < few < new
    assert server.recommend(**PLAIN, where=where).status_code == 200
    kept = cost(server, **PLAIN, where=where)
    assert plain < kept < new
    put = {"from": {"like": ["1001"]}}
    assert server.client.put("/items/new", json=put, headers=AUTHORIZED).is_success
    assert cost(server, **PLAIN, where=where) > kept


def test_a_filter_that_costs_too_much_is_named(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, attributes=True)
    costs = Engine(read.read_bundle(tmp_path), max_steps=50).costs
    recommending = serve(
        bundles=tmp_path,
        max_request_cost=costs.of(RecommendRequest.model_validate(PLAIN).to_engine(())) + 0.05,
    )
    finding = serve(bundles=tmp_path, max_request_cost=costs.of_similar(1) + 0.05)
    where = {"any_of": [{"attribute": "tags", "in": ["cat"]}] * 32}
    assert recommending.recommend(**PLAIN).status_code == 200
    assert finding.client.get("/items/1001/similar?k=1").status_code == 200
    for refused in (
        recommending.recommend(**PLAIN, where=where),
        finding.client.get("/items/1001/similar", params={"k": 1, "where": json.dumps(where)}),
    ):
        (fault,) = refused.json()["errors"]
        assert (refused.status_code, fault["field"]) == (422, "where")
        assert "ask for fewer conditions" in fault["message"]


def test_a_cost_follows_from_the_formula(server: Running) -> None:
    """With the bundle's values where none is given."""
    engine = server.service.engines.engine
    config, defaults = engine.manifest.model, engine.defaults
    quantities = engine.costs.quantities(EngineRequest(["1001"], 30, draws=5, steps=3, interest_mode="both"))
    assert quantities.pop("k") == 30
    assert quantities.pop(f"step {config.denoiser}") == 15
    assert quantities.pop("scored") == (5 + config.guidance_vectors) * len(engine)
    assert quantities.pop(f"guidance {config.guidance}") == 1
    assert quantities.pop("diversified") == (30 * 60 if defaults.diversity else 0)
    assert not quantities
    guidance = engine.costs.quantities(EngineRequest(["1001"], 30, draws=5, interest_mode="guidance"))
    assert guidance[f"step {config.denoiser}"] == 0
    assert guidance["scored"] == config.guidance_vectors * len(engine)
