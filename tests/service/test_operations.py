"""Probes, metrics, versions, the console's files and security headers."""

import asyncio
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from bundle.facts import IndexFacts
from bundle.read import read_bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from service.app import create_app
from service.routes import operations
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.serving import Running, settings_for


def test_probes_say_live_and_ready(server: Running) -> None:
    assert server.client.get("/health/live").json() == {"status": "live"}
    assert server.client.get("/health/ready").json() == {"status": "ready"}


def test_a_stuck_engine_is_live_but_not_ready(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    unstick, stuck = threading.Event(), threading.Event()

    class StuckEngine(Engine):
        def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
            stuck.set()
            assert unstick.wait(30)
            return super().recommend(requests)

    monkeypatch.setattr(operations, "STALLED_AFTER_S", 0.0)
    server = serve()
    assert server.client.get("/health/ready").status_code == 200
    server.service.engines.engine = StuckEngine(read_bundle(server.service.settings.bundles), max_steps=50)
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(server.recommend, history=["1001"])
        assert stuck.wait(30)
        refused = server.client.get("/health/ready")
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:dimerec:problem:not-ready"
        assert server.client.get("/health/live").status_code == 200
        unstick.set()
        assert waiting.result().status_code == 200
    assert server.client.get("/health/ready").status_code == 200


def test_version_says_what_runs_and_what_a_request_gets(server: Running) -> None:
    version = server.client.get("/version").json()
    engine = server.service.engines.engine
    assert version["model_version"] == engine.version
    assert version["items"] == 200
    assert version["max_steps"] == 8
    assert version["metrics"] == {"hit_rate@20": 0.1}
    assert version["defaults"] == {
        "draws": 4,
        "steps": 2,
        "interest_mode": "draws",
        "diversity": 0.0,
        "fresh": 0.0,
    }
    assert version["index"] is None
    assert version["refit"] is False
    assert version["attributes"] == {}
    assert version["history_store"] == "in-process"
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["service"])


def test_version_says_how_much_the_index_was_measured_to_find(serve: Serve, tmp_path: Path) -> None:
    facts = IndexFacts(kind="flat", effort=None, target=0.95, recall=0.9987, queries=64, ms=0.1)
    publish_tiny_bundle(tmp_path, index_facts=facts)
    version = serve(bundles=tmp_path).client.get("/version").json()
    assert version["index_kind"] == "whole"
    assert version["index"] == {"kind": "flat", "effort": None, "target": 0.95, "recall": 0.9987}


def test_version_says_that_its_figures_are_of_the_model_before_a_refit(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, refit=True)
    assert serve(bundles=tmp_path).client.get("/version").json()["refit"] is True


def test_no_more_steps_are_offered_than_the_contract_takes(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=20, timesteps=100)
    server = serve(bundles=tmp_path)
    most = server.client.get("/version").json()["max_steps"]
    assert server.recommend(history=["1001"], steps=most).status_code == 200
    assert server.recommend(history=["1001"], steps=most + 1).status_code == 422


def test_metrics_count_what_happened_by_route_template(serve: Serve) -> None:
    server = serve()
    server.watch("somebody", "1001")
    server.answer(user_id="somebody")
    server.answer(user_id="nobody")
    server.client.get("/users/somebody/history")
    server.client.get("/nowhere/somebody")
    server.client.post("/admin/reload")
    server.recommend(k=0)
    response = server.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["dimerec_requests_total", "POST", "/recommend", "200"] == 2
    assert samples["dimerec_requests_total", "POST", "/recommend", "422"] == 1
    assert samples["dimerec_requests_total", "GET", "/users/{user_id}/history", "200"] == 1
    assert samples["dimerec_requests_total", "GET", "unmatched", "404"] == 1
    assert samples["dimerec_requests_total", "POST", "/admin/reload", "401"] == 1
    assert samples["dimerec_request_seconds_count", "POST", "/recommend"] == 3
    assert samples["dimerec_answers_total", "personal"] == 1
    assert samples["dimerec_answers_total", "popularity"] == 1
    assert samples["dimerec_batch_size_count",] == 2
    assert samples["dimerec_queue_length",] == 0
    assert samples["dimerec_bundle_info", server.service.engines.engine.version] == 1
    for stage in ("history", "queue", "model", "search"):
        assert samples["dimerec_stage_seconds_count", stage] == 2
    assert "somebody" not in response.text


async def test_a_task_in_the_background_that_fails_is_logged(bundle_root: Path) -> None:
    app = create_app(settings_for(bundle_root))
    fault = RuntimeError("not expected")

    async def fail() -> None:
        raise fault

    app.state.service.tasks.append(fail)
    with structlog.testing.capture_logs() as logs:
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0.01)
    assert [line["exc_info"] for line in logs if line["log_level"] == "error"] == [fault]


def test_apps_in_one_process_count_separately(serve: Serve) -> None:
    first, second = serve(), serve()
    first.answer(history=["1001"])
    assert first.metric("dimerec_answers_total", source="personal") == 1
    assert second.metric("dimerec_answers_total", source="personal") == 0


def test_every_answer_carries_a_request_id_and_is_not_sniffed(server: Running) -> None:
    for path in ("/", "/health/live", "/metrics", "/nowhere", "/openapi.json"):
        headers = server.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]


def test_the_console_needs_no_other_host(server: Running) -> None:
    page = server.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    linked = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert linked
    for link in linked:
        assert not re.match(r"(https?:)?//", link), link
        assert server.client.get(link).status_code == 200, link
