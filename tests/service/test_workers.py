"""`dimerec serve --workers N`: one address, one set of metrics, one version, and workers that may die."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from bundle import read
from bundle.write import set_current
from service.errors import StartupError
from service.listening import bound_socket, reserved_address
from service.workers import supervisor as supervising
from service.workers.metrics_directory import metrics_directory
from service.workers.supervised import SupervisedWorker
from service.workers.supervisor import Supervisor
from tests.factories import publish_tiny_bundle
from tests.service.processes import PATIENCE_S, Process, process, until
from tests.service.serving import AUTHORIZED, keys_file, settings_for

ASK = {"history": ["1001", "1002"], "k": 5}
BODY = json.dumps(ASK).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one published bundle."""
    root = tmp_path / "bundles"
    publish_tiny_bundle(root)
    return root


@contextmanager
def served_by_two(root: Path, redis_url: str, **variables: str) -> Iterator[Process]:
    variables |= {
        "DIMEREC_KEYS_FILE": str(keys_file()),
        "DIMEREC_HISTORY_TIMEOUT_S": "10",
        "TMPDIR": str(root.parent),
    }
    options = ("--bundles", root, "--redis", redis_url, "--workers", 2)
    with process(root.parent, *options, before=None, **variables) as served:
        yield served


class Connection:
    """A client with one connection, which is kept, and the worker at its other end."""

    def __init__(self, client: httpx.Client, pids: list[int]) -> None:
        self.client = client
        stream = self.client.get("/health/live").extensions["network_stream"]
        here = stream.get_extra_info("client_addr")[1]
        there = stream.get_extra_info("server_addr")[1]
        self.pid = next(pid for pid in pids if has_end(pid, there, here))


def has_end(pid: int, port: int, peer_port: int) -> bool:
    """True where the process has the end at `port` of a connection from `peer_port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [(int(line[1].split(":")[1], 16), int(line[2].split(":")[1], 16), line[9]) for line in lines]
    inode = next(inode for ours, theirs, inode in ends if (ours, theirs) == (port, peer_port))
    files = Path(f"/proc/{pid}/fd").iterdir()
    return any(os.readlink(file) == f"socket:[{inode}]" for file in files if file.is_symlink())


def get(served: Process | httpx.Client, path: str) -> httpx.Response:
    """By a connection of its own, or by the client's."""
    if isinstance(served, httpx.Client):
        return served.get(path)
    return httpx.get(f"{served.url}{path}", timeout=PATIENCE_S)


def pids(served: Process | httpx.Client) -> list[int]:
    return [worker["pid"] for worker in get(served, "/version").json()["workers"]]


def begun(served: Process, pid: int) -> socket.socket:
    """A connection on which a worker waits for the body of a request."""
    port = int(served.url.rpartition(":")[2])
    head = (
        "POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"x-deadline-ms: 60000\r\ncontent-length: {len(BODY)}\r\nexpect: 100-continue\r\n\r\n"
    )
    while True:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        if has_end(pid, port, connection.getsockname()[1]):
            return connection
        connection.close()


Connect = Callable[[Process], list[Connection]]


@pytest.fixture
def connections() -> Iterator[Connect]:
    """Some connections to a service, the first two of them to different workers."""
    with ExitStack() as clients:

        def connect(served: Process) -> list[Connection]:
            known, made = pids(served), list[Connection]()
            while len(made) < 8 or len({connection.pid for connection in made}) < 2:
                client = clients.enter_context(httpx.Client(base_url=served.url, timeout=PATIENCE_S))
                made.append(Connection(client, known))
            other = next(connection for connection in made if connection.pid != made[0].pid)
            return [made[0], other, *(one for one in made[1:] if one is not other)]

        yield connect


def versions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [worker["model_version"] for worker in answer.json()["workers"]]


def metric(served: Process | httpx.Client, sample: str) -> float:
    text = get(served, "/metrics").text
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_swaps_metrics_and_histories_are_those_of_all_whichever_worker_hears(
    root: Path, redis_url: str, connections: Connect
) -> None:
    first = read.current_version(root)
    with served_by_two(root, redis_url) as served:
        busy, hanging = connections(served)[:2]
        one, other = busy.client, hanging.client
        for client, times in ((one, 3), (other, 4)):
            for _ in range(times):
                assert client.post("/recommend", json=ASK).json()["model_version"] == first
        for client in (one, other):
            text = client.get("/metrics").text
            assert 'route="/recommend",status="200"} 7.0' in text
            assert f'dimerec_bundle_info{{version="{first}"}} 2.0' in text
            assert "dimerec_queue_length 0.0" in text
            assert "dimerec_catalogue_items 200.0" in text
            assert "dimerec_history_connections_max 128.0" in text
            assert 'dimerec_history_circuit_open{operation="read"} 0.0' in text
            created = re.search(r"^dimerec_bundle_created_timestamp_seconds (\S+)$", text, re.MULTILINE)
            assert created is not None
            assert 0 <= time.time() - float(created[1]) < 600
            assert "pid=" not in text

        event = {"user_id": "u", "item_id": "1001", "timestamp": 1_700_000_000_000}
        assert one.post("/events", json=event).json()["added"] == 1
        assert len(other.get("/users/u/history").json()["events"]) == 1

        second = publish_tiny_bundle(root, seed=1)
        assert versions(one.post("/admin/reload", headers=AUTHORIZED)) == [second, second]
        third = publish_tiny_bundle(root, seed=2, hidden=64)
        assert versions(other.post("/admin/reload", headers=AUTHORIZED)) == [third, third]
        back = one.post("/admin/rollback", headers=AUTHORIZED)
        assert (back.json()["previous_version"], back.json()["model_version"]) == (third, second)
        assert versions(back) == [second, second]
        assert [client.post("/recommend", json=ASK).json()["model_version"] for client in (one, other)] == [
            second
        ] * 2
        assert read.current_version(root) == second

        assert versions(other.post("/admin/rollback", headers=AUTHORIZED)) == [first, first]
        oldest = other.post("/admin/rollback", headers=AUTHORIZED)
        assert (oldest.status_code, oldest.json()["type"]) == (409, "urn:dimerec:problem:no-earlier-bundle")
        assert str(first) in oldest.json()["detail"]
        (root / "CURRENT").write_text("nothing of the kind\n")
        kept = one.post("/admin/reload", headers=AUTHORIZED)
        assert (kept.status_code, kept.json()["type"]) == (409, "urn:dimerec:problem:bundle-unusable")
        assert versions(other.get("/version")) == [first, first]

        set_current(root, third)
        served.popen.send_signal(signal.SIGHUP)
        until(lambda: versions(one.get("/version")) == [third, third])
        info = 'dimerec_bundle_info{{version="{}"}}'
        assert [metric(served, info.format(version)) for version in (first, second, third)] == [0, 0, 2]
        assert metric(served, 'dimerec_bundle_swaps_total{operation="rollback",outcome="done"}') == 2

        known = pids(served)
        with begun(served, busy.pid) as request:
            os.kill(hanging.pid, signal.SIGSTOP)
            served.popen.send_signal(signal.SIGTERM)
            request.sendall(BODY)
            assert request.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert served.popen.poll() is None
            served.popen.send_signal(signal.SIGTERM)
        assert served.popen.wait(PATIENCE_S) == -signal.SIGTERM
        until(lambda: not any(map(running, known)))


def test_a_killed_worker_harms_no_request_of_another_and_is_replaced_by_one_like_it(
    root: Path, redis_url: str, connections: Connect
) -> None:
    first = read.current_version(root)
    with served_by_two(root, redis_url) as served:
        doomed, spared, *others = connections(served)
        victim, survivor = doomed.pid, spared.client
        finished = threading.Event()

        def ask(connection: Connection) -> set[int]:
            statuses = set()
            while not finished.is_set():
                statuses.add(connection.client.post("/recommend", json=ASK).status_code)
            return statuses

        with ThreadPoolExecutor(8) as callers, ExitStack() as at_the_end:
            at_the_end.callback(finished.set)
            asking = {connection: callers.submit(ask, connection) for connection in (doomed, *others)}
            answered = 'dimerec_requests_total{method="POST",route="/recommend",status="200"}'
            until(lambda: metric(survivor, answered) > 50)
            unloaded = publish_tiny_bundle(root, seed=1)  # CURRENT names it; nobody was told to reload
            os.kill(victim, signal.SIGKILL)
            counted = metric(survivor, answered)
            until(lambda: len(set(pids(survivor)) - {victim}) == 2)
            finished.set()
            for connection, future in asking.items():
                if connection.pid == victim and future.exception() is not None:  # else it was idle just then
                    assert isinstance(future.exception(), httpx.TransportError)
                else:
                    assert future.result() == {200}

        assert versions(survivor.get("/version")) == [first, first]
        assert metric(survivor, f'dimerec_bundle_info{{version="{first}"}}') == 2
        assert metric(survivor, "dimerec_worker_ends_total") == 1
        assert metric(survivor, answered) >= counted  # those that the dead worker counted are still there
        (ended,) = [entry for entry in map(json.loads, served.lines) if entry["event"] == "worker ended"]
        assert (ended["pid"], ended["outcome"]) == (victim, "exit status -9")
        reloaded = survivor.post("/admin/reload", headers=AUTHORIZED)
        assert versions(reloaded) == [unloaded, unloaded]

        left = pids(served)
        served.popen.kill()  # the supervisor's end is the workers'
        until(lambda: not any(map(running, left)))


@asynccontextmanager
async def supervised(
    root: Path, redis_url: str, metrics: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Supervisor, list[structlog.typing.EventDict]]]:
    """A supervisor in this process with two workers that serve, impatient, and what it logs."""
    monkeypatch.setattr(supervising, "MIN_PAUSE_S", 0.1)
    monkeypatch.setattr(supervising, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(supervising, "MAX_SILENCE_S", 2.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    settings = settings_for(root, redis_url=redis_url, workers=2)
    announced = asyncio.Event()
    with reserved_address("127.0.0.1", 0) as reserved, structlog.testing.capture_logs() as logs:
        ports = [reserved.getsockname()[1]]
        supervisor = Supervisor(settings, ports, metrics, lambda version: announced.set())
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(PATIENCE_S):
            await announced.wait()
            try:
                yield supervisor, logs
            finally:
                supervisor.stop()
                supervisor.kill()
                await running


async def eventually(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.02)


async def test_a_swap_goes_on_without_a_worker_that_ends_before_it_follows(
    root: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(root, redis_url, tmp_path, monkeypatch) as (supervisor, logs):
        before = {worker.pid for worker in await supervisor.workers()}
        follow = SupervisedWorker.follow
        killed: list[int] = []

        async def end_before(worker: SupervisedWorker, version: str) -> None:
            if not killed:
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
            await follow(worker, version)

        monkeypatch.setattr(SupervisedWorker, "follow", end_before)
        second = publish_tiny_bundle(root, seed=1)
        swap = await supervisor.reload()
        assert (swap.current, supervisor.version) == (second, second)
        assert len(killed) == 1
        await eventually(lambda: any(entry["event"] == "worker ended" for entry in logs))
        while len(workers := await supervisor.workers()) < 2:
            await asyncio.sleep(0.02)
        assert {worker.version for worker in workers} == {second}
        assert before - {worker.pid for worker in workers} == set(killed)
        assert [entry for entry in logs if entry["event"] == "worker does not follow"] == []


@pytest.mark.parametrize("hangs_at", ["load", "listen"])
async def test_a_replacement_that_hangs_while_it_is_let_in_keeps_no_swap_waiting_for_long(
    root: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_at: str
) -> None:
    async with supervised(root, redis_url, tmp_path, monkeypatch) as (supervisor, logs):
        hanging: list[int] = []
        load, listen = SupervisedWorker.load, SupervisedWorker.listen

        def hang(worker: SupervisedWorker) -> None:
            if not hanging:
                hanging.append(worker.pid)
                os.kill(worker.pid, signal.SIGSTOP)

        async def load_and_hang(worker: SupervisedWorker, *arguments: Any) -> None:
            await load(worker, *arguments)
            if hangs_at == "load":
                hang(worker)

        async def hang_and_listen(worker: SupervisedWorker, *arguments: Any) -> None:
            if hangs_at == "listen":
                hang(worker)
            await listen(worker, *arguments)

        monkeypatch.setattr(SupervisedWorker, "load", load_and_hang)
        monkeypatch.setattr(SupervisedWorker, "listen", hang_and_listen)
        os.kill((await supervisor.workers())[0].pid, signal.SIGKILL)
        await eventually(lambda: hanging)
        second = publish_tiny_bundle(root, seed=1)
        async with asyncio.timeout(20):
            assert (await supervisor.reload()).current == second
            await eventually(lambda: any(entry.get("pid") == hanging[0] for entry in logs))
            while len(workers := await supervisor.workers()) < 2:
                await asyncio.sleep(0.02)
        assert {worker.version for worker in workers} == {second}


async def test_a_worker_that_cannot_load_is_tried_again_ever_more_rarely_and_one_that_hangs_is_replaced(
    root: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(root, redis_url, tmp_path, monkeypatch) as (supervisor, logs):
        hanging, other = [worker.pid for worker in await supervisor.workers()]
        os.kill(hanging, signal.SIGSTOP)
        while len({worker.pid for worker in await supervisor.workers()} - {hanging, other}) < 1:
            await asyncio.sleep(0.02)
        assert any(entry["event"] == "worker hangs" and entry["pid"] == hanging for entry in logs)

        in_service = supervisor.version
        (root / in_service).rename(root / "elsewhere")
        os.kill(other, signal.SIGKILL)
        while len(ended := [entry for entry in logs if entry["event"] == "worker ended"]) < 3:
            await asyncio.sleep(0.02)
        assert [entry["replaced_in_s"] for entry in ended[1:]] == [0.1, 0.2]
        assert in_service in ended[-1]["outcome"]
        (root / "elsewhere").rename(root / in_service)
        while len(await supervisor.workers()) < 2:
            await asyncio.sleep(0.02)


def test_metrics_that_a_killed_supervisor_left_are_removed_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one that runs, an empty directory and what is no directory are left alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    code = (
        "import sys\n"
        "from service.workers.metrics_directory import metrics_directory\n"
        "with metrics_directory() as path:\n"
        "    (path / 'counter_0.db').write_bytes(bytes(8))\n"
        "    print(path, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    (tmp_path / "dimerec-metrics-empty").mkdir()
    (tmp_path / "dimerec-metrics-file").touch()

    def holding() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    (killed, left), (other, held) = holding(), holding()
    with killed, other:
        killed.kill()
        killed.wait()
        assert left.is_dir()
        with metrics_directory() as ours:
            names = {path.name for path in tmp_path.iterdir()}
        assert names == {"dimerec-metrics-empty", "dimerec-metrics-file", held.name, ours.name}
        other.communicate("")
    assert not held.exists()
    assert not ours.exists()


def test_a_start_that_fails_is_one_line(root: Path, redis_url: str, tmp_path: Path) -> None:
    version = read.current_version(root)
    (root / str(version) / "index.faiss").unlink()
    with pytest.raises(AssertionError, match=r"^dimerec: \S+/index.faiss is missing[^\n]+\n$"):
        served_by_two(root, redis_url).__enter__()


def test_an_address_is_shared_among_the_workers_of_one_service_only() -> None:
    with reserved_address("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with (
            bound_socket("127.0.0.1", port, shared=True) as one,
            bound_socket("127.0.0.1", port, shared=True) as other,
        ):
            one.listen()
            other.listen()
            with pytest.raises(StartupError, match=f"port {port}: Address already in use"):
                reserved_address("127.0.0.1", port)
            with pytest.raises(StartupError, match="Address already in use"):
                bound_socket("127.0.0.1", port)
        with socket.socket() as caller, pytest.raises(ConnectionRefusedError):  # nobody listens
            caller.connect(("127.0.0.1", port))
