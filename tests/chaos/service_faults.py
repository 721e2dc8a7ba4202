"""Faults of the service itself: bundles, workers, signals, too many requests."""

import signal
import time
from functools import partial
from pathlib import Path

import psutil

from bundle.write import set_current
from tests.chaos import crowds
from tests.chaos.fault import BOTH, Fault
from tests.chaos.stage import HALF, Stage
from tests.service.processes import until

RELOADS, RELOAD_EVERY_S = 60, 2.0


def reload_often(stage: Stage) -> None:
    """Every two seconds the other bundle, of another catalogue and dimension."""
    for turn in range(RELOADS):
        began = time.monotonic()
        set_current(stage.root, stage.versions[(turn + 1) % 2])
        answer = stage.admin("reload")
        if answer.status_code != 200:
            stage.findings.append(f"reload {turn}: {answer.status_code}")
        time.sleep(max(0.0, RELOAD_EVERY_S - (time.monotonic() - began)))


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


def overload(times: float, stage: Stage) -> None:
    """So many times what it can do at most."""
    stage.change_load(times)


def _overload(times: int, min_goodput: float) -> Fault:
    return Fault(
        f"overload-{times}",
        partial(overload, times),
        partial(overload, HALF),
        seconds=60,
        workers=BOTH,
        min_goodput=min_goodput,
    )


SERVICE_FAULTS = (
    Fault("reload-often", reload_often, Stage.first_bundle, seconds=RELOADS * RELOAD_EVERY_S, workers=BOTH),
    Fault("rollback", roll_back, Stage.first_bundle, workers=BOTH),
    Fault("bundle-damaged", damage_bundles, Stage.first_bundle),
    Fault("worker-killed", kill_worker, seconds=15, workers=(2,), breaks=True),
    Fault("workers-killed", kill_workers, seconds=25, workers=(2,), breaks=True),
    Fault("sigterm", terminate, workers=BOTH, breaks=True),
    _overload(2, 0.9),
    _overload(3, 0.8),
    Fault("idle-1000", partial(crowds.idle, 1000), crowds.leave, workers=BOTH),
    Fault("header-drip-300", partial(crowds.drip_headers, 300), crowds.leave),
    Fault("body-drip-150", partial(crowds.drip_body, 150), crowds.leave),
    Fault("leavers-600", partial(crowds.ask_and_leave, 600)),
)
