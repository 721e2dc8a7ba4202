"""Faults of Redis and of the way there."""

import time
from functools import partial

from tests.chaos.fault import BOTH, Fault
from tests.chaos.stage import Stage


def start_redis(stage: Stage) -> None:
    """Start Redis with what its append-only file has."""
    stage.redis.start()


def _empty(stage: Stage) -> None:
    stage.redis.wipe()
    stage.redis.start()


def fill(stage: Stage) -> None:
    """Let it refuse whatever needs memory."""
    stage.ask_redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    stage.ask_redis("CONFIG", "SET", "maxmemory", "1mb")


def _lock_out(stage: Stage) -> None:
    stage.ask_redis("CONFIG", "SET", "requirepass", "other")
    stage.ask_redis("CLIENT", "KILL", "TYPE", "normal", password="other")


def _slow(seconds: float, stage: Stage) -> None:
    stage.proxy.do("delay", seconds=seconds)


def _reset(stage: Stage) -> None:
    for _ in range(10):
        stage.proxy.do("reset")
        time.sleep(0.5)


def _slower(ms: int) -> Fault:
    return Fault(f"redis-slow-{ms}", partial(_slow, ms / 1000), partial(_slow, 0.0))


REDIS_FAULTS = (
    Fault(
        "redis-killed",
        lambda stage: stage.redis.stop(),
        start_redis,
        workers=BOTH,
        opens=True,
    ),
    Fault(
        "redis-hangs",
        lambda stage: stage.redis.pause(),
        lambda stage: stage.redis.resume(),
        workers=BOTH,
        opens=True,
    ),
    Fault("redis-empty", _empty, lambda stage: stage.seed(), forgets=True),
    Fault("redis-full", fill, lambda stage: stage.ask_redis("CONFIG", "SET", "maxmemory", "0")),
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
        lambda stage: stage.proxy.do("stall"),
        lambda stage: stage.proxy.do("flow"),
        opens=True,
    ),
    Fault("redis-resets", _reset, workers=BOTH),
    Fault(
        "redis-cut",
        lambda stage: stage.proxy.do("cut", cuts=True),
        lambda stage: stage.proxy.do("cut", cuts=False),
        opens=True,
    ),
)
