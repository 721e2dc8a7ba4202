"""The faults: the table of all, and those of Redis and of the way there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.chaos import crowds, service_faults
from tests.chaos.stage import Stage

Step = Callable[[Stage], None]
BOTH = (1, 2)


def nothing(stage: Stage) -> None:
    """Where a fault clears itself."""


@dataclass(frozen=True)
class Fault:
    """One fault under load: `inject` begins it, `clear` ends it after at least `seconds`.

    `opens`: the circuit shall open. `forgets`: Redis itself loses what it had. `breaks`: requests on the
    connections of a process that dies are lost; recovery counts from the injection then.
    """

    name: str
    inject: Step
    clear: Step = nothing
    seconds: float = 6.0
    workers: tuple[int, ...] = (1,)
    opens: bool = False
    forgets: bool = False
    breaks: bool = False


def _kill(stage: Stage) -> None:
    stage.redis.stop()


def _start(stage: Stage) -> None:
    stage.redis.start()


def _pause(stage: Stage) -> None:
    stage.redis.pause()


def _resume(stage: Stage) -> None:
    stage.redis.resume()


def _empty(stage: Stage) -> None:
    stage.redis.wipe()
    stage.redis.start()


def _full(stage: Stage) -> None:
    stage.ask_redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    stage.ask_redis("CONFIG", "SET", "maxmemory", "1mb")


def _lock_out(stage: Stage) -> None:
    stage.ask_redis("CONFIG", "SET", "requirepass", "other")
    stage.ask_redis("CLIENT", "KILL", "TYPE", "normal", password="other")


def _slow(seconds: float, stage: Stage) -> None:
    stage.proxy.delay_s = seconds


def _cut(cuts: bool, stage: Stage) -> None:
    stage.proxy.cuts = cuts


def _reset(stage: Stage) -> None:
    for _ in range(10):
        stage.wait(stage.proxy.reset())
        time.sleep(0.5)


def _slower(ms: int) -> Fault:
    return Fault(f"redis-slow-{ms}", partial(_slow, ms / 1000), partial(_slow, 0.0))


FAULTS = (
    Fault("none", nothing, workers=BOTH),
    Fault("redis-killed", _kill, _start, workers=BOTH, opens=True),
    Fault(
        "redis-hangs",
        lambda stage: stage.redis.pause(),
        lambda stage: stage.redis.resume(),
        workers=BOTH,
        opens=True,
    ),
    Fault("redis-empty", _empty, lambda stage: stage.seed(), forgets=True),
    Fault("redis-full", _full, lambda stage: stage.ask_redis("CONFIG", "SET", "maxmemory", "0")),
    Fault(
        "redis-read-only",
        lambda stage: stage.ask_redis("REPLICAOF", "127.0.0.1", "1"),
        lambda stage: stage.ask_redis("REPLICAOF", "NO", "ONE"),
    ),
    Fault(
        "redis-password",
        _lock_out,
        lambda stage: stage.ask_redis("CONFIG", "SET", "requirepass", "", password="other"),
        opens=True,
    ),
    _slower(60),
    _slower(90),
    _slower(350),
    Fault(
        "redis-stalls",
        lambda stage: stage.wait(stage.proxy.stall()),
        lambda stage: stage.wait(stage.proxy.flow()),
        opens=True,
    ),
    Fault("redis-resets", _reset, workers=BOTH),
    Fault("redis-cut", partial(_cut, True), partial(_cut, False), opens=True),
    Fault("reload-often", service_faults.reload_often, Stage.first_bundle, seconds=20, workers=BOTH),
    Fault("rollback", service_faults.roll_back, Stage.first_bundle, workers=BOTH),
    Fault("bundle-damaged", service_faults.damage_bundles, Stage.first_bundle),
    Fault("worker-killed", service_faults.kill_worker, seconds=15, workers=(2,), breaks=True),
    Fault("workers-killed", service_faults.kill_workers, seconds=25, workers=(2,), breaks=True),
    Fault("sigterm", service_faults.terminate, workers=BOTH, breaks=True),
    Fault("overload-3", service_faults.overload, seconds=0, workers=BOTH),
    Fault("idle-1000", partial(crowds.idle, 1000), crowds.leave, workers=BOTH),
    Fault("header-drip-300", partial(crowds.drip_headers, 300), crowds.leave),
    Fault("body-drip-150", partial(crowds.drip_body, 150), crowds.leave),
    Fault("leavers-600", partial(crowds.ask_and_leave, 600)),
)
"""In the order of a run."""
