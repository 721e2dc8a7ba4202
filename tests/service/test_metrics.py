"""Metrics of the parts: each is seen to change with what it is about."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from bundle.read import read_bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from service import vitals
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.conftest import Serve
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running

BATCH = "/recommend/batch"


class BrokenEngine(Engine):
    """Fails for whoever has watched 1013, and so for the batch that this one is in."""

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        if any("1013" in request.history for request in requests):
            raise ZeroDivisionError
        return super().recommend(requests)


@pytest.fixture
def broken(serve: Serve) -> Running:
    server = serve()
    server.service.engines.engine = BrokenEngine(read_bundle(server.service.settings.bundles), max_steps=50)
    return server


def test_requests_of_a_batch_count_as_what_each_of_them_is(broken: Running) -> None:
    requests = [
        {"history": ["1001"]},
        {"history": ["1002"], "k": 0},
        {"history": ["1013"]},
        {"history": ["1003"], "deadline_ms": 60_001},
        {"history": ["1004"]},
    ]
    answers = broken.client.post(BATCH, json={"requests": requests})
    assert [answer.get("status", 200) for answer in answers.json()["answers"]] == [200, 422, 500, 422, 200]
    for status, count in (("200", 2), ("422", 2), ("500", 1)):
        assert broken.metric("dimerec_batch_requests_total", status=status) == count
    assert broken.metric("dimerec_requests_total", method="POST", route=BATCH, status="200") == 1
    assert broken.metric("dimerec_errors_total", route=BATCH) == 1


def test_errors_are_faults_of_our_own_and_refusals_are_none(broken: Running) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert broken.recommend(history=["1013"]).status_code == 500
        assert broken.recommend(k=0).status_code == 422
        patch.setattr(broken.service.batcher, "_closing", True)
        assert broken.recommend(history=["1001"]).status_code == 503
        refused = broken.client.post(BATCH, json={"requests": [{"history": ["1001"]}]})
        assert refused.json()["answers"][0]["status"] == 503
    assert broken.metric("dimerec_errors_total", route="/recommend") == 1
    assert broken.metric("dimerec_errors_total", route=BATCH) == 0
    assert broken.metric("dimerec_refused_total", reason="closing") == 2
    assert broken.metric("dimerec_batch_requests_total", status="503") == 1


def test_the_variety_of_answers_is_seen(serve: Serve) -> None:
    server = serve()
    answers = [server.answer(history=[item], k=20) for item in ("1001", "1050")]
    distinct = [
        len({category for item in answer["items"] for category in item["categories"]}) for answer in answers
    ]
    assert server.metric("dimerec_answer_categories_count") == 2
    assert server.metric("dimerec_answer_categories_sum") == sum(distinct)


def test_the_bundle_s_age_and_size_are_seen(serve: Serve) -> None:
    server = serve()
    manifest = server.service.engines.engine.manifest
    assert server.metric("dimerec_bundle_created_timestamp_seconds") == manifest.created.timestamp()
    assert server.metric("dimerec_catalogue_items") == 200


def test_after_a_reload_they_are_those_of_the_new_bundle(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    server = serve(bundles=tmp_path)
    before = server.metric("dimerec_bundle_created_timestamp_seconds")
    publish_tiny_bundle(tmp_path, items=30, seed=1)
    assert server.client.post("/admin/reload", headers=AUTHORIZED).status_code == 200
    assert server.metric("dimerec_catalogue_items") == 30
    assert server.metric("dimerec_bundle_created_timestamp_seconds") > before


def circuits(server: Running) -> dict[str, float]:
    return {
        kind: server.metric("dimerec_history_circuit_open", operation=kind)
        for kind in ("read", "append", "remove", "forget")
    }


def test_circuits_and_connections_to_redis_are_seen(
    serve: Serve, redis_server: RedisServer, redis_url: str
) -> None:
    server = serve(redis_url=redis_url, history_timeout_s=0.05)
    assert set(circuits(server).values()) == {0}
    assert server.metric("dimerec_history_connections_max") == 64
    redis_server.pause()
    for _ in range(5):
        assert server.answer(user_id="somebody")["degraded"] == "history_unavailable"
    assert circuits(server) == {"read": 1, "append": 0, "remove": 0, "forget": 0}
    assert server.metric("dimerec_history_connections_in_use") > 0
    redis_server.resume()
    until(lambda: server.answer(user_id="somebody")["degraded"] is None)
    assert set(circuits(server).values()) == {0}
    until(lambda: server.metric("dimerec_history_connections_in_use") == 0)


def test_memory_and_evictions_of_redis_are_seen(
    serve: Serve, redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "REDIS_EVERY_S", 0.05)
    server = serve(redis_url=redis_url)
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("stats")["evicted_keys"]
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.set("idle", bytes(2_000_000), ex=100)
        limit = client.info("memory")["used_memory"] + 150_000
        client.config_set("maxmemory", limit)
        until(lambda: server.metric("dimerec_redis_memory_limit_bytes") == limit)
        assert 2_000_000 < server.metric("dimerec_redis_memory_bytes") <= limit
        client.set("busy", bytes(2_000_000), ex=1_000)
        until(lambda: server.metric("dimerec_redis_evicted_keys") > before)  # marks of processes go first
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_hides_its_memory_costs_nothing_else(
    serve: Serve, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "REDIS_EVERY_S", 0.05)
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command("ACL", "SETUSER", "modest", "on", ">secret", "~*", "+@all", "-info")
        server = serve(redis_url=redis_server.url.replace("//", "//modest:secret@"))
        server.watch("somebody", "1001")
        until(lambda: client.info("errorstats").get("errorstat_NOPERM") is not None)
        assert server.answer(user_id="somebody")["degraded"] is None
        assert server.metric("dimerec_redis_memory_bytes") == 0
        assert server.metric("dimerec_history_circuit_open", operation="read") == 0
        client.execute_command("ACL", "DELUSER", "modest")
        client.config_resetstat()


def test_without_redis_its_metrics_are_not_there(server: Running) -> None:
    text = server.client.get("/metrics").text
    assert "dimerec_history_connections_max 64" not in text
    assert 'dimerec_history_circuit_open{operation="read"}' not in text
    assert time.time() - server.metric("dimerec_bundle_created_timestamp_seconds") < 3600
