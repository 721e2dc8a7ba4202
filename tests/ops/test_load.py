"""The load test: finds what is wrong with an answer, draws by Zipf's law, and runs for real."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.load.answers import fault_of
from benchmarks.load.population import Population, Zipf
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from tests.factories import publish_tiny_bundle
from tests.service.serving import KEY, Running, running, settings_for

REPOSITORY = Path(__file__).parents[2]
USERS = {
    f"user {number}/ü": [str(1001 + (number * step) % 190) for step in range(1, 6)] for number in range(20)
}


def answer(*item_ids: str, **fields: object) -> dict[str, Any]:
    items = [{"item_id": item_id, "score": 1 / (place + 1)} for place, item_id in enumerate(item_ids)]
    return {"items": items, "source": "personal", "degraded": None, **fields}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (answer("1", "2", "3"), None),
        (answer("1", "2"), "2 items instead of 3"),
        (answer("1", "2", "3", "4"), "4 items instead of 3"),
        (answer("1", "2", "2"), "an item twice"),
        (answer("1", "2", "9"), "an item that was seen"),
        (answer("1", "2", "3", source="popularity"), "answered by popularity in spite of a history"),
        (answer("1", "2", "3", degraded="history_unavailable"), "degraded: history_unavailable"),
        (answer("1", "2", "3") | {"items": answer("1", "2", "3")["items"][::-1]}, "scores out of order"),
    ],
)
def test_each_fault_of_an_answer_is_found(given: dict[str, Any], fault: str | None) -> None:
    assert fault_of(given, {"k": 3}, {"9"}, 100) == fault


def test_an_exhausted_catalogue_and_diversity_are_no_faults() -> None:
    assert fault_of(answer("1"), {"k": 3}, {"7", "8", "9"}, 4) is None
    diverse = answer("1", "2", "3") | {"items": answer("1", "2", "3")["items"][::-1]}
    assert fault_of(diverse, {"k": 3, "diversity": 0.3}, {"9"}, 100) is None


def test_members_are_drawn_by_zipfs_law() -> None:
    members = ["first", "second", "third", "fourth"]
    zipf = Zipf(members, Random(1))
    draws = Counter(zipf.draw() for _ in range(20_000))
    harmonic = sum(1 / rank for rank in range(1, 5))
    for rank, member in enumerate(members, start=1):
        assert draws[member] / 20_000 == pytest.approx(1 / rank / harmonic, abs=0.02)


Serve = Callable[..., Running]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a service that knows USERS: `serve(**settings)`."""
    publish_tiny_bundle(tmp_path / "bundles")
    history = InProcessHistory()
    history.load(
        (user, Event(item, 1000 + place)) for user, items in USERS.items() for place, item in enumerate(items)
    )
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(
            running(settings_for(tmp_path / "bundles", **settings), history)
        )


def test_the_population_is_that_of_the_service(serve: Serve) -> None:
    population = Population(serve().url, seed=0)
    assert {user: list(items) for user, items in population.histories.items()} == USERS
    assert population.catalogue_size == 200
    assert population.users.draw() in USERS


def locust(report: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", "benchmarks/load/locustfile.py"]
    command += ["--config", "benchmarks/load/locust.conf", "--json-file", str(report.with_suffix(""))]
    command += map(str, arguments)
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def test_a_short_run_has_all_three_kinds_of_requests_and_no_failure(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    report = tmp_path / "load.json"
    ran = locust(report, "--run-time", "3s", "--host", server.url)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counted = {entry["name"]: entry["num_requests"] for entry in json.loads(report.read_text())}
    assert set(counted) == {"stored history", "given history", "events"}
    assert all(counted.values())
    for word in ("RPS", "p50", "p95", "p99", "failures"):
        assert word in ran.stdout
    assert (
        server.metric("dimerec_requests_total", method="POST", route="/events", status="200")
        >= counted["events"]
    )


def test_it_sends_the_key_of_the_environment(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(allow_anonymous=False)
    refused = locust(tmp_path / "load.json", "--run-time", "1s", "--host", server.url)
    assert refused.returncode == 1
    assert "401" in refused.stderr
    monkeypatch.setenv("DIMEREC_KEY", KEY)
    ran = locust(tmp_path / "load.json", "--run-time", "1s", "--host", server.url)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_wrong_answers_are_failures_with_their_reason(serve: Serve, tmp_path: Path) -> None:
    forgetful = serve(history_max_events=1)  # leaves out the last item watched, not the four before it
    ran = locust(tmp_path / "load.json", "--run-time", "3s", "--host", forgetful.url)
    assert ran.returncode == 1
    assert "stored history: " in ran.stdout
    assert "an item that was seen" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--host", "http://198.51.100.7:8000"), "is not this machine"),
        (("--host", "http://localhost.example.org"), "is not this machine"),
        (("--run-time", "1h", "--host", "http://127.0.0.1:1"), "at most 600 s"),
        (("--host", "http://127.0.0.1:1"), "make demo DETACH=1"),
    ],
)
def test_it_refuses_what_it_is_not_for(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    refused = locust(tmp_path / "load.json", *arguments)
    assert refused.returncode == 1
    assert says in refused.stderr
