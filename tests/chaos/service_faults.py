"""Faults of the service itself and of its host: workers, signals, too many requests, crowds, the clock."""

import signal
import time
from functools import partial
from pathlib import Path

import psutil

from tests.chaos import crowds
from tests.chaos.fault import BOTH, Fault
from tests.chaos.stage import HALF, Stage
from tests.service.processes import environment, until

_ANOTHER_CLOCK = """
import os, time

_true, _read, _offset = time.time, 0.0, 0.0

def _time():
    global _read, _offset
    if time.monotonic() - _read > 0.2:
        with open(os.environ["CLOCK_OFFSET"]) as file:
            _read, _offset = time.monotonic(), float(file.read() or _offset)
    return _true() + _offset

time.time = _time
"""
"""For Python's start: adds the seconds of a file to its clock. Not Debian's libfaketime (0.9.10): with the
monotonic clock left real `time.sleep` fails under it and the service stands still, at an offset of 0 as well.
"""


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


def under_another_clock(stage: Stage) -> None:
    """Start the service again with a clock that can be set; the monotonic one stays the machine's."""
    stage.end()
    set_clock(0, stage)
    (stage.directory / "sitecustomize.py").write_text(_ANOTHER_CLOCK)
    stage.serve(**settable_clock(stage))


def settable_clock(stage: Stage) -> dict[str, str]:
    """Variables of a service whose clock `set_clock` sets."""
    path = f"{stage.directory}:{environment()['PYTHONPATH']}"
    return {"PYTHONPATH": path, "CLOCK_OFFSET": str(_clock(stage))}


def set_clock(seconds: int, stage: Stage) -> None:
    """Let its clock be so far ahead of the machine's from now on, within 0.2 s."""
    _clock(stage).write_text(str(seconds))


def _clock(stage: Stage) -> Path:
    return stage.directory / "clock"


SERVICE_FAULTS = (
    Fault("worker-killed", kill_worker, seconds=15, workers=(2,), breaks=True),
    Fault("workers-killed", kill_workers, seconds=25, workers=(2,), breaks=True),
    Fault("sigterm", terminate, workers=BOTH, breaks=True),
    _overload(2, 0.9),
    _overload(3, 0.8),
    Fault("idle-1000", partial(crowds.idle, 1000), crowds.leave, workers=BOTH),
    Fault("header-drip-300", partial(crowds.drip_headers, 300), crowds.leave),
    Fault("body-drip-150", partial(crowds.drip_body, 150), crowds.leave),
    Fault("leavers-600", partial(crowds.ask_and_leave, 600)),
    Fault(
        "clock-back",
        partial(set_clock, -3600),
        partial(set_clock, 0),
        seconds=10,
        workers=BOTH,
        before=under_another_clock,
        after=Stage.restart,
    ),
)
