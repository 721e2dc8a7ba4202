"""`make bench`: its generators count rightly, its results have all targets, and it runs for real."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest

from benchmarks.serving.bodies import inline_bodies, write_bodies
from benchmarks.serving.closed_loop import closed_loop, have_wrk
from benchmarks.serving.open_loop import open_loop
from benchmarks.serving.results import Findings, merged, read_results, write_results
from benchmarks.serving.targets import TARGETS
from service.requests import RecommendRequest
from tests.conftest import Unwatched
from tests.training.logs import cyclic_dataset
from training.config import read_config
from training.data.dataset import read_dataset, write_dataset
from training.trainer import train

REPOSITORY = Path(__file__).parents[2]


SERVICE_ONLY = {"structlog", "redis", "prometheus_client", "limits"}


def test_the_peers_need_nothing_of_the_service_but_its_requests() -> None:
    """Their environments have what the engine needs, and no more."""
    asked = "import sys, service.requests, benchmarks.serving.peers.common; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert SERVICE_ONLY & set(loaded.stdout.split()) == set()


class _Server(ThreadingHTTPServer):
    """Answers after `delay_s`; every `refuses`-th request by 503."""

    daemon_threads = True
    request_queue_size = 512
    delay_s = 0.0
    refuses = 0
    count = 0
    counting = Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.counting:
            self.server.count += 1
            refused = self.server.refuses and self.server.count % self.server.refuses == 0
        time.sleep(self.server.delay_s)
        self.send_response(503 if refused else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    return write_bodies(tmp_path / "bodies.jsonl", inline_bodies([["1", "2", "3"], ["4"]], 5))


def test_bodies_are_requests_of_the_service_with_a_seed_each() -> None:
    made = inline_bodies([[str(item) for item in range(200)], ["7"]], 10, count=64)
    for body in made:
        RecommendRequest.model_validate(body)
        assert 1 <= len(body["history"]) <= 50
    assert len({body["seed"] for body in made}) == 64
    assert made == inline_bodies([[str(item) for item in range(200)], ["7"]], 10, count=64)


def test_open_loop_asks_at_its_rate_and_tells_refusals_apart(server: _Server, bodies: Path) -> None:
    server.refuses = 4
    found = open_loop(server.server_port, bodies, rate=200, seconds=2, core=None)
    assert 300 < found.asked < 500
    assert found.good + found.refused == found.asked
    assert found.refused == found.asked // 4


def test_open_loop_counts_the_wait_before_a_connection_is_free(server: _Server, bodies: Path) -> None:
    """Latency is that of the intended start: on one slow connection requests would stand in line unseen."""
    server.delay_s = 0.5
    found = open_loop(server.server_port, bodies, rate=50, seconds=1, deadline_ms=100, core=None)
    assert found.p50_ms is not None
    assert found.p50_ms >= 500
    assert found.in_time == 0


@pytest.mark.parametrize("tool", ["wrk", "none"])
def test_closed_loop_counts_answers_and_refusals(
    tool: str, server: _Server, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "none":
        monkeypatch.setattr("benchmarks.serving.closed_loop.have_wrk", lambda: False)
    elif not have_wrk():
        pytest.skip("wrk is not installed: tests/provide.sh installs it")
    server.refuses = 2
    url = f"http://127.0.0.1:{server.server_port}/recommend"
    load = closed_loop(url, bodies, connections=2, seconds=1, core=None)
    assert load.answers > 10
    assert load.refused == pytest.approx(load.answers / 2, abs=4)
    assert server.count == pytest.approx(load.answers, abs=4)


def test_rows_are_judged_by_their_ratio_round_by_round() -> None:
    findings = Findings("lone")
    findings.compare("batch of one, of before", "ms", [1.0, 2.0, 9.0], "before", [2.0, 4.0, 9.0])
    (row,) = findings.rows
    assert row.ratio is not None
    assert (row.ratio.low, row.ratio.median, row.ratio.high) == (0.5, 0.5, 1.0)
    assert row.met is True


def test_results_have_a_row_for_each_target_and_a_run_replaces_its_part(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    for value in (1.0, 2.0):
        findings = Findings("memory")
        findings.report("start to ready", "s", [value])
        other = Findings("workers")
        other.report("of one core", "answers/s", [5.0])
        write_results(path, merged(read_results(path), [findings, other], "commit"))
    results = read_results(path)
    assert {(row.part, row.name) for row in results.rows} >= set(TARGETS)
    assert [row.ours.median for row in results.rows if row.name == "start to ready" and row.ours] == [2.0]
    assert [row.ours for row in results.rows if row.name == "of one core"] != []
    assert not [row for row in results.rows if row.ours is None and row.met is not None]


@pytest.mark.parametrize("name", ["serving.json", "serving-before.json"])
def test_the_results_that_are_kept_are_of_this_form(name: str) -> None:
    path = REPOSITORY / "docs" / "results" / name
    if not path.exists():
        pytest.skip(f"{name} was not measured yet")
    results = read_results(path)
    assert {(row.part, row.name) for row in results.rows} >= set(TARGETS)
    for row in results.rows:
        assert row.ours is None or row.part in results.runs
    assert not re.search(r"[ =]/", " ".join(run.command for run in results.runs.values()))


def test_a_run_says_what_was_measured_and_not_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = ["--parts", "lone", "--demo", "/somewhere/.demo", "--out=/x/y.json", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["serving", *asked])
    results = merged(read_results(tmp_path / "none.json"), [Findings("lone")], None)
    assert results.runs["lone"].command == "python -m benchmarks.serving --parts lone --rounds 2"


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch and its data, laid out as `dimerec demo` leaves them."""
    directory = tmp_path_factory.mktemp("demo")
    prepared = cyclic_dataset()
    write_dataset(prepared, directory / "data")
    train(read_dataset(directory / "data"), read_config(None, ["epochs=1"]), directory / "run", Unwatched())
    return directory


def bench(*arguments: object) -> str:
    command = [sys.executable, "-m", "benchmarks.serving", "--seconds", "1", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.smoke
def test_the_quick_benchmark_runs_and_writes_nothing(tmp_path: Path, tiny_demo: Path) -> None:
    out = tmp_path / "serving.json"
    said = bench("--quick", "--demo", tiny_demo, "--cache", tmp_path / "cache", "--out", out)
    assert "ours ÷ fastapi" in said
    assert not out.exists()


@pytest.mark.smoke
def test_the_parts_that_need_no_other_environment_run(tmp_path: Path, tiny_demo: Path) -> None:
    out = tmp_path / "docs" / "results" / "serving.json"
    parts, sides = "saturation,lone,rate,overload,compute", "floor,bare,fastapi"
    limits = ("--rounds", 1, "--connections", 4, "--demo", tiny_demo, "--cache", tmp_path / "cache")
    bench("--parts", parts, "--sides", sides, *limits, "--out", out)
    results = read_results(out)
    assert set(results.runs) == set(parts.split(","))
    measured = {(row.part, row.name) for row in results.rows if row.ours is not None}
    assert measured >= {
        ("saturation", "of the ideal"),
        ("lone", "p50, of floor + batch of one"),
        ("rate", "p99 at 70 % of saturation, of lone p50"),
        ("overload", "goodput at 2 × saturation, of the peak"),
        ("compute", "4 steps ÷ 1 step, 1 draw, batch of 32"),
    }
    text = out.with_suffix(".md").read_text()
    assert "| of the ideal |" in text
    assert "not measured" in text
    drawn = {path.name for path in (tmp_path / "docs" / "images").iterdir()}
    assert drawn == {"serving-saturation.svg", "serving-rate.svg"}
