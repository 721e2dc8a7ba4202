"""The service in the background: started until ready, probed, stopped; failures are told."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import publish_tiny_bundle
from tests.redis_server import free_port
from tests.service.serving import running, settings_for

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "docker"

Detached = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root)
    return root


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Detached]:
    """Runs `detached.py` on a directory of its own, and stops there what it started."""

    def run(action: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPTS / "detached.py"), action, str(tmp_path), *map(str, arguments)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DIMEREC_")}
        environment = kept | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    yield run
    run("stop")


def serve(bundles: Path, port: int) -> list[object]:
    return [sys.executable, "-m", "cli.main", "serve", "--bundles", bundles, "--port", port]


def probe(port: int | str, **variables: str) -> int:
    command = [sys.executable, str(SCRIPTS / "ready.py"), *([str(port)] if port else [])]
    return subprocess.run(command, env=variables, check=False).returncode


def test_it_returns_when_the_service_is_ready_and_stop_ends_it(
    detached: Detached, bundles: Path, tmp_path: Path
) -> None:
    port = free_port()
    started = detached("start", port, *serve(bundles, port))
    assert started.returncode == 0, started.stderr
    assert f"DimeRec Serve: http://127.0.0.1:{port}" in started.stdout  # the log so far
    assert "make stop" in started.stdout
    assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200

    again = detached("start", port, *serve(bundles, port))
    assert (again.returncode, "runs already" in again.stdout) == (0, True)

    stopped = detached("stop")
    assert (stopped.returncode, "Stopped process" in stopped.stdout) == (0, True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health/live")
    assert "Nothing is running" in detached("stop").stdout
    assert "bundle" in (tmp_path / "demo.log").read_text()


def test_a_command_that_ends_is_told_with_the_end_of_its_log(detached: Detached, tmp_path: Path) -> None:
    port = free_port()
    failed = detached("start", port, *serve(tmp_path / "no-bundles", port))
    assert failed.returncode == 1
    assert "exit code 1" in failed.stderr
    assert "dimerec publish" in failed.stderr  # what the service itself said
    assert "Nothing is running" in detached("stop").stdout


def test_a_taken_port_is_refused_before_anything_starts(
    detached: Detached, bundles: Path, tmp_path: Path
) -> None:
    with running(settings_for(bundles)) as server:
        refused = detached("start", server.port, *serve(bundles, server.port))
    assert refused.returncode == 1
    assert f"port {server.port}" in refused.stderr
    assert not (tmp_path / "demo.pid").exists()


def test_a_process_id_left_behind_is_never_stopped(detached: Detached, tmp_path: Path) -> None:
    (tmp_path / "demo.pid").write_text(f"{os.getpid()}\n")
    assert "Nothing is running" in detached("stop").stdout


def test_the_probe_tells_ready_from_closed(bundles: Path) -> None:
    with running(settings_for(bundles)) as server:
        assert probe(server.port) == 0
        assert probe("", DIMEREC_PORT=str(server.port)) == 0
        assert probe(server.port, http_proxy="http://127.0.0.1:9") == 0
    assert probe(server.port) == 1


def test_the_probe_tells_ready_from_not_ready(bundles: Path) -> None:
    with running(settings_for(bundles)) as server:
        server.app.router.routes.clear()  # answers 404 to all
        assert probe(server.port) == 1
