"""Traces as a collector gets them: one span a stage, the caller's context, and nothing about users."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from bundle.read import read_bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from service.app import create_app
from service.errors import StartupError
from service.tracing import collector as collector_of
from tests.redis_server import free_port
from tests.service.collector import Collector, collecting, facts
from tests.service.conftest import Serve
from tests.service.processes import environment, process, until
from tests.service.serving import settings_for

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=value"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
STAGES = ["admission", "validation", "history", "queue", "model", "search", "answer"]
SECRET = "somebody-4711"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that apps are told of, which they send to without delay."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector


def test_each_stage_of_a_request_is_a_span_in_the_caller_s_trace(traced: Collector, serve: Serve) -> None:
    server = serve()
    before = time.time_ns()
    answer = server.client.post("/recommend", json={"user_id": SECRET, "k": 3}, headers=SAMPLED).json()
    until(lambda: len(traced.spans) == 1 + len(STAGES))
    (request,) = traced.servers()
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    assert request.trace_state == "vendor=value"
    assert request.name == "POST /recommend"
    told = facts(request)
    assert told["http.request.method"] == "POST"
    assert told["http.route"] == "/recommend"
    assert told["http.response.status_code"] == 200
    assert told["dimerec.request_id"] == answer["request_id"]
    assert told["dimerec.source"] == "popularity"
    assert told["dimerec.model_version"] == answer["model_version"]
    stages = traced.stages(request)
    assert [span.name for span in stages] == STAGES
    assert {span.trace_id.hex() for span in stages} == {TRACE}
    moments = [moment for span in stages for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
    assert moments == sorted(moments)
    assert before <= request.start_time_unix_nano <= moments[0]
    assert moments[-1] <= request.end_time_unix_nano <= time.time_ns()
    for name in ("queue", "model", "search"):
        (span,) = [span for span in stages if span.name == name]
        took_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert took_ms == pytest.approx(answer["timings_ms"][name], abs=0.01)
    (resource,) = {tuple(sorted(resource.items())) for resource in traced.resources}
    assert dict(resource)["service.name"] == "dimerec"


def test_no_span_tells_of_a_user_an_item_or_an_address(traced: Collector, serve: Serve) -> None:
    server = serve()
    event = {"user_id": SECRET, "item_id": SECRET, "timestamp": 1_700_000_000_000, "event_id": SECRET}
    server.client.post("/events", json=event)
    server.client.post(f"/recommend?{SECRET}", json={"user_id": SECRET, "exclude": [SECRET], SECRET: 1})
    server.client.post(
        "/recommend/batch", json={"requests": [{"user_id": SECRET}, {"user_id": SECRET, "k": 0}]}
    )
    server.client.get(f"/users/{SECRET}/history", headers={"user-agent": SECRET, "x-secret": SECRET})
    server.client.delete(f"/users/{SECRET}/history", headers={"baggage": f"user={SECRET}"})
    server.client.get(f"/items/{SECRET}/similar")
    server.client.get(f"/{SECRET}")
    until(lambda: len(traced.servers()) == 7)
    assert SECRET.encode() not in traced.raw
    assert b"127.0.0.1" not in traced.raw
    names = {span.name for span in traced.servers()}
    assert {"GET /users/{user_id}/history", "GET /items/{item_id}/similar", "GET"} <= names


def test_requests_of_a_batch_that_are_computed_together_share_their_spans(
    traced: Collector, serve: Serve
) -> None:
    server = serve()
    requests = [{"history": ["1001"]}] * 5
    assert server.client.post("/recommend/batch", json={"requests": requests}).status_code == 200
    until(lambda: any(span.name == "answer" for span in traced.spans) and traced.servers())
    (request,) = traced.servers()
    names = [span.name for span in traced.stages(request)]
    assert (
        names.count("model")
        == names.count("search")
        == names.count("queue")
        == server.metric("dimerec_batch_size_count")
    )
    assert facts(request)["dimerec.requests"] == 5


def test_similar_items_are_traced(traced: Collector, serve: Serve) -> None:
    serve().client.get("/items/1001/similar")
    until(lambda: len(traced.spans) == 3)
    (request,) = traced.servers()
    assert [span.name for span in traced.stages(request)] == ["queue", "search"]


def test_a_fault_of_our_own_is_an_error_and_a_bad_request_is_none(traced: Collector, serve: Serve) -> None:
    class BrokenEngine(Engine):
        def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
            raise ZeroDivisionError

    server = serve()
    assert server.recommend(k=0).status_code == 422
    server.service.engines.engine = BrokenEngine(read_bundle(server.service.settings.bundles), max_steps=50)
    assert server.recommend(history=["1001"]).status_code == 500
    until(lambda: len(traced.servers()) == 2)
    status = {facts(span)["http.response.status_code"]: span.status.code for span in traced.servers()}
    assert status == {422: Status.STATUS_CODE_UNSET, 500: Status.STATUS_CODE_ERROR}


def test_probes_and_metrics_are_not_traced(traced: Collector, serve: Serve) -> None:
    server = serve()
    for path in ("/health/live", "/health/ready", "/metrics", "/version"):
        assert server.client.get(path).status_code == 200
    until(lambda: traced.servers())
    assert [span.name for span in traced.servers()] == ["GET /version"]


@pytest.mark.parametrize(
    ("variables", "headers", "traces"),
    [
        ({}, {}, True),
        ({}, NOT_SAMPLED, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, SAMPLED, False),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, NOT_SAMPLED, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, {}, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, SAMPLED, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, SAMPLED, False),
        ({"OTEL_SDK_DISABLED": "true"}, SAMPLED, False),
    ],
)
def test_the_standard_variables_decide_what_is_traced(
    traced: Collector,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    headers: dict[str, str],
    traces: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.MonkeyPatch.context() as later:
        server = serve()
        assert server.client.get("/version", headers=headers).status_code == 200
        if traces:
            until(lambda: traced.servers())
        later.setenv("OTEL_TRACES_SAMPLER", "always_on")
        later.delenv("OTEL_TRACES_EXPORTER", raising=False)
        later.delenv("OTEL_SDK_DISABLED", raising=False)
        serve().client.get("/users")  # what the first server had to send was sent before this
    until(lambda: any(span.name == "GET /users" for span in traced.servers()))
    assert any(span.name == "GET /version" for span in traced.servers()) == traces


def test_the_process_names_its_traces_in_the_log_and_sends_the_last_of_them_at_its_end(
    bundle_root: Path, tmp_path: Path
) -> None:
    with collecting() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "reco"}
        with process(tmp_path, "--bundles", bundle_root, before=None, **variables) as served:
            httpx.post(f"{served.url}/recommend", json={"history": ["1001"]}, headers=SAMPLED)
            lines = [json.loads(line) for line in served.stop()]
        (request,) = collector.servers()
        assert request.trace_id.hex() == TRACE
        assert {resource["service.name"] for resource in collector.resources} == {"reco"}
    (logged,) = [line for line in lines if line["event"] == "request"]
    assert logged["trace_id"] == TRACE


def test_a_collector_that_is_away_costs_no_answer_and_no_end(bundle_root: Path, tmp_path: Path) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with process(tmp_path, "--bundles", bundle_root, before=None, **variables) as served:
        for _ in range(3):
            assert httpx.post(f"{served.url}/recommend", json={"history": ["1001"]}).status_code == 200
        served.stop()  # which waits half a minute at most
    assert served.popen.returncode == -15


def test_off_it_is_not_even_loaded(bundle_root: Path) -> None:
    """The SDK's metrics are: redis looks for them by itself."""
    code = (
        "import sys\n"
        "from service.app import create_app\n"
        "from service.settings import Settings\n"
        "app = create_app(Settings(_env_file=None, bundles=sys.argv[1]))\n"
        "app.build_middleware_stack()\n"
        "tracing = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'service.otel')\n"
        "print([name for name in sys.modules if name.startswith(tracing)])\n"
    )
    command = [sys.executable, "-c", code, str(bundle_root)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]"], done.stderr


def test_asked_for_without_the_extra_the_service_says_so_and_does_not_start(
    traced: Collector, bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "service.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartupError, match=r"pip install 'dimerec-serve\[tracing\]'") as refused:
        create_app(settings_for(bundle_root))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000", "max_export_batch_size"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
    ],
)
def test_variables_that_the_sdk_refuses_keep_the_service_from_starting_in_one_line(
    traced: Collector,
    bundle_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=r"^OTEL_… variables: [^\n]+$") as refused:
        create_app(settings_for(bundle_root))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t/x"},
            "https://t/x",
        ),
    ],
)
def test_an_endpoint_or_the_exporter_asks_for_traces(variables: dict[str, str], asks: str | None) -> None:
    assert collector_of(variables) == asks


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no address"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:port"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no address"),
    ],
)
def test_what_is_not_offered_is_refused_in_one_line(variables: dict[str, str], says: str) -> None:
    with pytest.raises(StartupError) as refused:
        collector_of(variables)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
