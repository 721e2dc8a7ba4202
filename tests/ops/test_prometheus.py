"""A real Prometheus with our configuration: it may read the metrics, and every expression is answered."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.access.roles import Role
from tests.ops.test_dashboard import EXPRESSIONS, MONITORING, RULES, plain
from tests.redis_server import free_port
from tests.service.processes import until
from tests.service.serving import Running, running, settings_for, write_keys

KEY = "dimerec_of_prometheus_alone"

pytestmark = pytest.mark.smoke


@pytest.fixture
def server(bundle_root: Path, redis_url: str, tmp_path: Path) -> Iterator[Running]:
    """A service that answers nobody without a key."""
    keys = tmp_path / "keys.json"
    write_keys(keys, prometheus=(KEY, Role.METRICS), app=("dimerec_app", Role.READ, Role.WRITE))
    settings = settings_for(bundle_root, redis_url=redis_url, keys_file=keys, allow_anonymous=False)
    with running(settings) as started:
        started.client.headers["x-api-key"] = "dimerec_app"
        yield started


@pytest.fixture
def prometheus(server: Running, tmp_path: Path) -> Iterator[str]:
    """Its address. The configuration is that of docker/monitoring, for this machine and a faster clock."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    key = tmp_path / "prometheus.key"
    key.write_text(KEY + "\n")
    configuration = (MONITORING / "prometheus.yml").read_text()
    for there, here in (
        ("15s", "1s"),
        ("/data/monitoring/prometheus.key", str(key)),
        ("service:8000", f"127.0.0.1:{server.port}"),
    ):
        assert there in configuration
        configuration = configuration.replace(there, here)
    (tmp_path / "prometheus.yml").write_text(configuration)
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    port = free_port()
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _is_ready(f"http://127.0.0.1:{port}/-/ready"))
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_it_reads_the_metrics_by_its_key_and_answers_every_expression(
    server: Running, prometheus: str
) -> None:
    def asked(expression: str) -> list[dict[str, object]]:
        answer = httpx.get(f"{prometheus}/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, object]] = answer["data"]["result"]
        return found

    server.watch("somebody", "1001", "1002")
    until(lambda: asked("count_over_time(dimerec_catalogue_items[1m]) >= 2"))
    for _ in range(5):
        server.answer(user_id="somebody")
    requests = 'dimerec_requests_total{job="dimerec",route="/recommend"} == 5'
    until(lambda: asked(requests) and asked(f"increase({requests.split(' ')[0]}[1m]) > 0 or {requests}"))
    assert asked('up{job="dimerec"} == 1')
    for expression in EXPRESSIONS.values():
        asked(plain(expression))
    rules = httpx.get(f"{prometheus}/rules").json()["data"]["groups"][0]["rules"]
    assert [rule["name"] for rule in rules] == [rule["alert"] for rule in RULES]
    assert {rule.get("lastError", "") for rule in rules} == {""}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
