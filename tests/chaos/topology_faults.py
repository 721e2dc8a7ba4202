"""Faults of a Redis that is more than one server, and of one that is away while the spool takes events in."""

import os
import signal
import time
from contextlib import suppress
from typing import Generic, TypeVar

from tests.chaos.fault import BOTH, Fault, Step, nothing
from tests.chaos.redis_faults import fill, start_redis
from tests.chaos.stage import USERS, Stage
from tests.chaos.topologies import Cluster, Failing, started

Site = TypeVar("Site", Failing, Cluster)


class _Beside(Generic[Site]):
    """Another Redis, which the service uses for the time of one fault."""

    def __init__(self, make: type[Site]) -> None:
        self._make: type[Site] = make
        self.site: Site

    def begin(self, stage: Stage) -> None:
        """Start it, and the service anew with it, with histories of all users."""
        self.site = self._make()
        stage.beside.enter_context(started(self.site))
        stage.end()
        stage.serve(DIMEREC_REDIS_URL=self.site.url)
        stage.seed()

    def end(self, stage: Stage) -> None:
        """Start the service anew as it was."""
        stage.end()
        stage.beside.close()
        stage.serve()


_failing = _Beside(Failing)
_cluster = _Beside(Cluster)


def _kill_master(stage: Stage) -> None:
    _failing.site.master().stop()


def _bring_back(stage: Stage) -> None:
    for server in _failing.site.servers:
        server.start()


def _there_and_back(stage: Stage) -> None:
    _failing.site.fail_over()
    _failing.site.fail_over()


def _bring_node_back(stage: Stage) -> None:
    _cluster.site.servers[2].start()


def _move_slots(stage: Stage) -> None:
    moved = _cluster.site.move([f"u{user}" for user in range(USERS)])
    stage.remarks.append(f"{moved} slots moved")


def _with_spool(stage: Stage) -> None:
    stage.end()
    stage.serve(DIMEREC_SPOOL=str(stage.directory / "spool"))


def _kill_all(stage: Stage) -> None:
    """Redis first; then, with events in the spool, every process of the service."""
    stage.redis.stop()
    time.sleep(3.0)
    with suppress(ProcessLookupError):
        os.killpg(stage.pid, signal.SIGKILL)
    stage.serve(DIMEREC_SPOOL=str(stage.directory / "spool"))


def _spooled(name: str, inject: Step, clear: Step, **more: object) -> Fault:
    return Fault(name, inject, clear, before=_with_spool, after=Stage.restart, **more)  # type: ignore[arg-type]


TOPOLOGY_FAULTS = (
    Fault(
        "sentinel-killed",
        _kill_master,
        _bring_back,
        seconds=10,
        forgets=True,
        before=_failing.begin,
        after=_failing.end,
    ),
    Fault("sentinel-asked", _there_and_back, forgets=True, before=_failing.begin, after=_failing.end),
    Fault(
        "cluster-node",
        lambda stage: _cluster.site.servers[2].stop(),
        _bring_node_back,
        before=_cluster.begin,
        after=_cluster.end,
    ),
    Fault("cluster-slots", _move_slots, nothing, before=_cluster.begin, after=_cluster.end),
    _spooled(
        "spool-redis-killed",
        lambda stage: stage.redis.stop(),
        start_redis,
        workers=BOTH,
        opens=True,
    ),
    _spooled("spool-redis-full", fill, lambda stage: stage.ask_redis("CONFIG", "SET", "maxmemory", "0")),
    _spooled("spool-all-killed", _kill_all, start_redis, workers=BOTH, breaks=True),
)
