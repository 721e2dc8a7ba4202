"""`dimerec serve` as a process: what it prints, how it fails, what it logs, and how it ends."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from bundle.errors import BundleError
from service.app import create_app
from tests.factories import make_catalogue, publish_tiny_bundle
from tests.service.processes import Process, command, environment, process
from tests.service.serving import settings_for
from training.data.dataset import Dataset, write_dataset


def test_it_answers_where_it_says_and_logs_json_without_user_data(bundle_root: Path, tmp_path: Path) -> None:
    secret = "somebody-4711"
    with process(tmp_path, "--bundles", bundle_root) as served, httpx.Client(base_url=served.url) as client:
        headers = {"x-request-id": "seen-in-the-log"}
        answer = client.post("/recommend", json={"user_id": secret, "k": 3}, headers=headers)
        assert len(answer.json()["items"]) == 3
        client.post("/recommend", json={"user_id": secret, "k": 0, secret: 1})
        client.post("/events", json={"user_id": secret, "item_id": secret, "timestamp": 1_700_000_000_000})
        client.get(f"/users/{secret}/history?limit=5")
        client.get(f"/items/{secret}/similar")
        client.get(f"/{secret}")
        lines = served.stop()
    entries = [json.loads(line) for line in lines]
    requests = [entry for entry in entries if entry["event"] == "request"]
    assert len(requests) == 6
    assert requests[0]["request_id"] == "seen-in-the-log"
    assert (requests[0]["route"], requests[0]["status"]) == ("/recommend", 200)
    assert all(entry["duration_ms"] > 0 for entry in requests)
    assert secret not in "".join(lines)


@contextmanager
def answering(tmp_path: Path, requests: int) -> Iterator[tuple[Process, Future[httpx.Response]]]:
    """A server that is at work on a batch of requests, one at a time, some of which wait."""
    root = tmp_path / "bundles"
    publish_tiny_bundle(root, hidden=64)
    wish = {"history": ["1001", "1002"], "draws": 32, "steps": 8, "k": 100}
    with (
        process(
            tmp_path,
            "--bundles",
            root,
            before=None,
            DIMEREC_MAX_BATCH="1",
            DIMEREC_DEFAULT_DEADLINE_MS="60000",
        ) as served,
        ThreadPoolExecutor(1) as caller,
    ):
        posted = caller.submit(
            httpx.post, f"{served.url}/recommend/batch", json={"requests": [wish] * requests}, timeout=60
        )
        deadline = time.monotonic() + 30
        while "dimerec_queue_length 0.0" in httpx.get(f"{served.url}/metrics").text:
            assert time.monotonic() < deadline
        yield served, posted


def test_requests_in_flight_finish_after_sigterm(tmp_path: Path) -> None:
    with answering(tmp_path, 100) as (served, posted):
        served.popen.send_signal(signal.SIGTERM)
        response = posted.result()
        assert response.status_code == 200
        assert [len(answer["items"]) for answer in response.json()["answers"]] == [100] * 100
        served.popen.wait(30)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/health/live")


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    with answering(tmp_path, 250) as (served, posted):
        served.popen.send_signal(signal.SIGTERM)
        while True:  # until it was taken in: then nobody is connected any more
            try:
                httpx.get(f"{served.url}/health/live")
            except httpx.TransportError:
                break
        served.popen.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            posted.result()
        assert served.popen.wait(30) == 128 + signal.SIGTERM


def test_prepared_data_fill_the_in_process_store(bundle_root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    dataset = Dataset(
        user_ids=["196", "7"],
        items=np.array([1, 2, 3, 9], dtype=np.int32),
        timestamps=np.array([10, 20, 30, 5], dtype=np.int64),
        offsets=np.array([0, 3, 4], dtype=np.int64),
        catalogue=make_catalogue(200),
        timestamp_unit="ms",
    )
    write_dataset(dataset, data)
    with process(tmp_path, "--bundles", bundle_root, "--history", data) as served:
        events = httpx.get(f"{served.url}/users/196/history").json()["events"]
        assert [(event["item_id"], event["timestamp"]) for event in events] == [
            ("1001", 10),
            ("1002", 20),
            ("1003", 30),
        ]
        assert sorted(httpx.get(f"{served.url}/users").json()["users"]) == ["196", "7"]
        assert "warning" not in "".join(served.lines)

    with process(
        tmp_path, "--bundles", bundle_root, "--history", data, DIMEREC_HISTORY_MAX_USERS="1"
    ) as served:
        assert httpx.get(f"{served.url}/users").json()["users"] == ["7"]
        warning = json.loads(served.lines[0])
        assert (warning["level"], warning["kept"], warning["dropped"]) == ("warning", 1, 1)
        assert "DIMEREC_HISTORY_MAX_USERS" in warning["remedy"]


def test_a_missing_bundle_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--bundles", tmp_path / "nothing", "--port", 0),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "nothing" in line
    assert "dimerec publish" in line


def test_a_damaged_bundle_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path)
    with (tmp_path / version / "items.arrow").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"items\.arrow"):
        create_app(settings_for(tmp_path))
