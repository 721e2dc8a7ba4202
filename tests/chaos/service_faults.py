"""Faults of the service itself: bundles, workers, signals, too many requests."""

import signal
import time
from pathlib import Path

import psutil

from benchmarks.serving.bodies import stored_bodies, write_bodies
from benchmarks.serving.open_loop import open_loop
from bundle.write import set_current
from tests.chaos.stage import DEADLINE_MS, USERS, Stage
from tests.service.processes import until

OVERLOAD = 3.0
OVERLOAD_S = 20.0


def reload_often(stage: Stage) -> None:
    """Every two seconds the other bundle, of another catalogue and dimension."""
    for turn in range(10):
        began = time.monotonic()
        set_current(stage.root, stage.versions[(turn + 1) % 2])
        answer = stage.admin("reload")
        if answer.status_code != 200:
            stage.findings.append(f"reload {turn}: {answer.status_code}")
        time.sleep(max(0.0, 2.0 - (time.monotonic() - began)))


def roll_back(stage: Stage) -> None:
    """The bundle before, for good."""
    answer = stage.admin("rollback")
    if answer.status_code != 200:
        stage.findings.append(f"rollback: {answer.status_code}")
    elif answer.json()["model_version"] != stage.versions[1]:
        stage.findings.append("rollback: another version than the one before")


def damage_bundles(stage: Stage) -> None:
    """Each file of a new bundle cut, with a bit flipped, missing: none of them may come into service."""
    version = stage.publish(500, 16)
    taken = []
    files = sorted(path for path in (stage.root / version).iterdir() if path.is_file())
    for path in files:
        whole = path.read_bytes()
        for how, damaged in (
            ("cut", whole[: len(whole) // 2]),
            ("flipped", _flipped(whole)),
            ("missing", None),
        ):
            _put(path, damaged)
            status = stage.admin("reload").status_code
            if status != 409:
                taken.append(f"{path.name} {how}: {status}")
        _put(path, whole)
    stage.remarks.append(f"{3 * len(files) - len(taken)} of {3 * len(files)} refused")
    stage.findings += taken


def _flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


def _put(path: Path, content: bytes | None) -> None:
    """A new file under that name, since the old one may be mapped."""
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def kill_worker(stage: Stage) -> None:
    """One worker of several, by SIGKILL."""
    _workers(stage)[0].kill()


def kill_workers(stage: Stage) -> None:
    """All workers, by SIGKILL."""
    for worker in _workers(stage):
        worker.kill()


def _workers(stage: Stage) -> list[psutil.Process]:
    """Those children that listen."""
    listening = [
        process
        for process in psutil.Process(stage.pid).children()
        if any(one.laddr.port == stage.port for one in process.net_connections("tcp"))
    ]
    if len(listening) != stage.workers:
        raise RuntimeError(f"{len(listening)} children listen, {stage.workers} were started")
    return listening


def terminate(stage: Stage) -> None:
    """SIGTERM under load, then a start at the same address."""
    began = time.monotonic()
    status = stage.end(signal.SIGTERM)
    stage.remarks.append(f"ended in {time.monotonic() - began:.1f} s")
    if status not in (0, -signal.SIGTERM):
        stage.findings.append(f"exit status {status} after SIGTERM")
    stage.serve()
    until(stage.ready)


def overload(stage: Stage) -> None:
    """Three times what it can do, half of which the stage's own load asks for already."""
    bodies = stored_bodies([f"u{user}" for user in range(USERS)], 10, seed=1)
    answered = open_loop(
        stage.port,
        write_bodies(stage.directory / "overload", bodies),
        rate=stage.saturated * OVERLOAD - stage.saturated / 2,
        seconds=OVERLOAD_S,
        deadline_ms=DEADLINE_MS,
        core=None,
    )
    stage.goodput = answered.in_time / answered.seconds
