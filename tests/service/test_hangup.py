"""SIGHUP: reloads the bundle, stops gracefully, or is ignored, by how the service was started."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories import publish_tiny_bundle
from tests.service.processes import PATIENCE_S, REPOSITORY, Process, process, until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one published bundle."""
    root = tmp_path / "bundles"
    publish_tiny_bundle(root)
    return root


def version(served: Process) -> str:
    in_service: str = httpx.get(f"{served.url}/version").json()["model_version"]
    return in_service


def events(served: Process, name: str) -> list[dict[str, Any]]:
    return [entry for line in served.lines if (entry := json.loads(line))["event"] == name]


def test_without_a_terminal_it_reloads_and_keeps_what_it_has_when_it_cannot(
    root: Path, tmp_path: Path
) -> None:
    with process(tmp_path, "--bundles", root) as served:
        first = version(served)
        served.popen.send_signal(signal.SIGHUP)
        until(lambda: events(served, "bundle unchanged"))

        second = publish_tiny_bundle(root, seed=1)
        served.popen.send_signal(signal.SIGHUP)
        until(lambda: version(served) == second)
        assert second != first

        (root / "CURRENT").write_text("nothing of the kind\n")
        served.popen.send_signal(signal.SIGHUP)
        until(lambda: events(served, "bundle kept"))
        (kept,) = events(served, "bundle kept")
        assert (kept["level"], kept["version"]) == ("error", second)
        assert "CURRENT" in kept["reason"]

        third = publish_tiny_bundle(root, seed=2)
        for _ in range(3):
            served.popen.send_signal(signal.SIGHUP)
        until(lambda: version(served) == third)
        metrics = httpx.get(f"{served.url}/metrics").text
        assert 'dimerec_bundle_swaps_total{operation="reload",outcome="failed"} 1.0' in metrics
        served.stop()
    assert served.popen.returncode == -signal.SIGTERM


EARLY = """
import asyncio, os, signal
from types import SimpleNamespace
from service.hangup import handle_hangup, hangup_policy

policy = hangup_policy()
os.kill(os.getpid(), signal.SIGHUP)  # as if while the bundle loads

async def serve():
    done = asyncio.Event()
    async def reload():
        done.set()
        return SimpleNamespace(previous="a", current="b")
    handle_hangup(policy, SimpleNamespace(reload=reload), lambda: None)
    await asyncio.wait_for(done.wait(), 30)

asyncio.run(serve())
print(policy)
"""


def test_one_that_comes_while_the_bundle_loads_is_kept_for_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY],
        cwd=REPOSITORY,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "reload\n"


@pytest.fixture
def terminal() -> Iterator[Callable[[], None]]:
    """What makes a new terminal the calling process's own."""
    controller, line = pty.openpty()

    def adopt() -> None:
        fcntl.ioctl(line, termios.TIOCSCTTY, 0)

    yield adopt
    os.close(controller)
    os.close(line)


def test_with_a_terminal_it_lets_requests_in_flight_finish(
    tmp_path: Path, terminal: Callable[[], None]
) -> None:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root, hidden=64)
    request = {"history": ["1001", "1002"], "draws": 32, "steps": 8, "k": 100}
    slow = {"DIMEREC_MAX_BATCH": "1", "DIMEREC_DEFAULT_DEADLINE_MS": "60000"}
    with (
        process(tmp_path, "--bundles", root, before=terminal, **slow) as served,
        ThreadPoolExecutor(1) as caller,
    ):
        posted = caller.submit(
            httpx.post, f"{served.url}/recommend/batch", json={"requests": [request] * 100}, timeout=60
        )
        until(lambda: "dimerec_queue_length 0.0" not in httpx.get(f"{served.url}/metrics").text)
        served.popen.send_signal(signal.SIGHUP)
        response = posted.result()
        assert [len(answer["items"]) for answer in response.json()["answers"]] == [100] * 100
        assert served.popen.wait(PATIENCE_S) == 0


def test_under_nohup_it_stays_ignored(root: Path, tmp_path: Path, terminal: Callable[[], None]) -> None:
    def before() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        terminal()

    with process(tmp_path, "--bundles", root, before=before) as served:
        first = version(served)
        publish_tiny_bundle(root, seed=1)
        served.popen.send_signal(signal.SIGHUP)
        for _ in range(5):
            assert version(served) == first
        served.stop()
    assert not events(served, "bundle swapped")
