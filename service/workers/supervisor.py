"""`dimerec serve --workers N`: starts the workers, keeps them, swaps bundles in all of them, and ends them.

uvicorn has a supervisor, too. But its workers accept from one socket, where the first to wake takes most
connections, and it knows nothing of bundles: a worker that it starts anew may serve another than the rest.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import structlog
from prometheus_client import Counter
from prometheus_client.multiprocess import mark_process_dead

from files.errors import DimeRecError
from service.access.exposure import exposure
from service.errors import NotReadyError, StartupError, WorkerGoneError
from service.fleet import Order, ServingWorker, Swap
from service.hangup import HangupPolicy, handle_hangup
from service.listening import ports, reserved_address
from service.settings import Settings
from service.telemetry import share_metrics
from service.workers.channel import Handler
from service.workers.metrics_directory import metrics_directory
from service.workers.supervised import SupervisedWorker

log = structlog.get_logger("dimerec.workers")

SETTLED_S = 60.0
"""A choice: a worker that lived as long is replaced at once; one that ended sooner may be in a crash loop."""
MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
"""A choice: before a worker that ended soon is replaced; doubled each time."""
PING_EVERY_S, MAX_SILENCE_S = 5.0, 30.0
"""A choice: a worker that does not answer the supervisor for so long hangs, and its connections with it."""
_MARGIN_S = 5.0
"""Beyond the grace that requests in flight have: for closing connections, and the process itself."""


class Supervisor:
    """The workers of the same addresses, a `Fleet`. `announce` hears the version once all of them listen.

    `metrics`: directory in which they keep their metrics, for prometheus-client's multiprocess mode.
    """

    def __init__(
        self, settings: Settings, ports: Sequence[int], metrics: Path, announce: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._metrics = metrics
        self._announce = announce
        self._announced = False
        self._processes: dict[int, SupervisedWorker] = {}  # all that run, by index
        self._serving: dict[int, SupervisedWorker] = {}  # those of them that answer
        self._version = ""
        self._ordered_ms = 0  # moment of the newest order that was obeyed, or refused for this reason:
        self._refusal: DimeRecError | None = None
        self._swapping = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._ending: list[asyncio.Task[None]] = []
        self._calls: dict[str, Handler] = {
            "reload": lambda: self._answer_swap("reload"),
            "rollback": lambda: self._answer_swap("rollback"),
            "obey": self._answer_obey,
            "workers": self.workers,
        }
        self._ends = Counter("dimerec_worker_ends", "Workers that ended and were replaced", registry=None)

    @property
    def version(self) -> str:
        """The version in service."""
        return self._version

    async def run(self) -> None:
        """Keep all workers until `stop`; raises StartupError when one of the first cannot serve."""
        keepers = [asyncio.create_task(self._keep(index)) for index in range(self._settings.workers)]
        try:
            await asyncio.gather(*keepers)
        finally:
            self._stopping.set()
            self.kill()
            await asyncio.wait(keepers)

    def stop(self) -> None:
        """Let all workers finish the requests in flight, and end; when asked once more, end them at once."""
        if self._stopping.is_set():
            self.kill()
            return
        self._stopping.set()
        asyncio.get_running_loop().call_later(self._settings.shutdown_grace_s + _MARGIN_S, self.kill)
        for index, worker in self._processes.items():
            if index in self._serving:
                self._ending.append(asyncio.create_task(_stop(worker)))
            else:
                worker.kill()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self._processes.values():
            worker.kill()

    async def reload(self) -> Swap:
        """As `Fleet.reload`."""
        return await self._swap("reload")

    async def rollback(self) -> Swap:
        """As `Fleet.rollback`."""
        return await self._swap("rollback")

    async def reload_all(self) -> Swap:
        """Reload in all workers and other replicas, which the workers know of."""
        return await self._by_first(SupervisedWorker.reload_all)

    async def obey(self, order: Order) -> Swap:
        """As `Fleet.obey`."""
        async with self._swapping:  # so that a worker with an older order cannot have the last word
            if order.moment_ms > self._ordered_ms:
                self._ordered_ms, self._refusal = order.moment_ms, None
                if order.version == self._version:
                    return Swap(self._version, self._version)
                try:
                    return await self._swap_all(lambda worker: _followed(worker, order.version))
                except DimeRecError as error:
                    self._refusal = error
            if self._refusal is not None and order.moment_ms == self._ordered_ms:
                raise self._refusal
            return Swap(self._version, self._version)

    async def workers(self) -> list[ServingWorker]:
        """All that answer."""
        return [ServingWorker(worker.pid, worker.version) for _, worker in sorted(self._serving.items())]

    async def _answer_swap(self, operation: Literal["reload", "rollback"]) -> dict[str, Any]:
        return asdict(await self._swap(operation))

    async def _answer_obey(self, **order: Any) -> dict[str, Any]:
        return asdict(await self.obey(Order(**order)))

    async def _swap(self, operation: Literal["reload", "rollback"]) -> Swap:
        async with self._swapping:
            return await self._swap_all(lambda worker: worker.swap(operation))

    async def _swap_all(self, lead: Callable[[SupervisedWorker], Awaitable[Swap]]) -> Swap:
        """One worker does it, which shows that it can be done; the others follow to its version."""
        swap = await self._by_first(lead)
        self._version = swap.current
        await asyncio.gather(*(self._follow(*one) for one in list(self._serving.items())))
        return swap

    async def _by_first(self, lead: Callable[[SupervisedWorker], Awaitable[Swap]]) -> Swap:
        for worker in list(self._serving.values()):
            # One that dies of it leaves all others at the version from which the next one begins.
            with suppress(WorkerGoneError):
                return await lead(worker)
        raise NotReadyError("no worker answers: the log says why")

    async def _follow(self, index: int, worker: SupervisedWorker) -> None:
        if worker.version == self._version:
            return
        try:
            await worker.follow(self._version)
        except WorkerGoneError:
            return  # its keeper replaces it
        except DimeRecError as error:
            log.error("worker does not follow", pid=worker.pid, version=self._version, reason=str(error))  # noqa: TRY400
            self._serving.pop(index, None)
            worker.kill()

    async def _keep(self, index: int) -> None:
        """Run one worker after the other until `stop`."""
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                pid, outcome = await self._run_one(index)
            except OSError as error:  # the machine has no process or no memory left: the others go on
                if not self._announced:
                    raise
                pid, outcome = None, f"cannot be started ({error.strerror})"
            if self._stopping.is_set():
                return
            settled = time.monotonic() - began >= SETTLED_S
            pause = 0.0 if settled else min(MAX_PAUSE_S, max(MIN_PAUSE_S, 2 * pause))
            self._ends.inc()
            log.error("worker ended", pid=pid, outcome=outcome, replaced_in_s=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_one(self, index: int) -> tuple[int | None, str]:
        """A worker from its start to its end; its process id, and what it ended of."""
        worker = await SupervisedWorker.start(self._settings, self._calls)
        self._processes[index] = worker
        fault = ""
        pinging = asyncio.create_task(_kill_when_it_hangs(worker))
        try:
            await self._admit(index, worker)
        except WorkerGoneError:
            pass  # its status says more
        except DimeRecError as error:
            fault = str(error)
            worker.kill()
        status = await worker.ended()
        pinging.cancel()
        outcome = fault or f"exit status {status}"
        del self._processes[index]
        if self._serving.get(index) is worker:
            del self._serving[index]
        mark_process_dead(index, str(self._metrics))  # type: ignore[no-untyped-call]
        if not self._announced and not self._stopping.is_set():
            raise StartupError(fault or f"a worker ended while it started ({outcome})")
        return worker.pid, outcome

    async def _admit(self, index: int, worker: SupervisedWorker) -> None:
        """Let a new worker load what the others serve, or what CURRENT names where there are none."""
        if self._stopping.is_set():
            worker.kill()
        version = self._version if self._serving else None
        await worker.load(self._settings, version, self._metrics, index)
        await worker.ping()  # one that hangs now keeps no swap waiting
        async with self._swapping:
            if not self._serving:
                self._version = worker.version
            elif worker.version != self._version:
                await worker.follow(self._version)
            await worker.listen(self._settings.host, self._ports)
            self._serving[index] = worker
        if not self._announced and len(self._serving) == self._settings.workers:
            self._announced = True
            self._announce(self._version)


class _Everywhere:
    """The workers as SIGHUP sees them: a reload reaches other replicas, too."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def version(self) -> str:
        """The version in service."""
        return self._supervisor.version

    async def reload(self) -> Swap:
        """As `Reloading.reload`."""
        return await self._supervisor.reload_all()


async def _followed(worker: SupervisedWorker, version: str) -> Swap:
    previous = worker.version
    await worker.follow(version)
    return Swap(previous, version)


async def _stop(worker: SupervisedWorker) -> None:
    with suppress(WorkerGoneError):  # it has ended already
        await worker.stop()


async def _kill_when_it_hangs(worker: SupervisedWorker) -> None:
    """From the end of its loading on, which may take its time."""
    await worker.loaded.wait()
    with suppress(WorkerGoneError):
        while True:
            await asyncio.sleep(PING_EVERY_S)
            try:
                async with asyncio.timeout(MAX_SILENCE_S):
                    await worker.ping()
            except TimeoutError:
                log.error("worker hangs", pid=worker.pid, silent_s=MAX_SILENCE_S)  # noqa: TRY400 (expected)
                worker.kill()
                return


def supervise(
    settings: Settings, on_hangup: HangupPolicy, announce: Callable[[Sequence[socket.socket], str], None]
) -> None:
    """Serve with several workers until a signal ends it; `announce` hears the addresses and the version.

    Raises StartupError when it cannot start.
    """
    received: list[signal.Signals] = []

    async def keep_until_stopped(reserved: Sequence[socket.socket], metrics: Path) -> None:
        bound = [each.getsockname()[1] for each in reserved]
        supervisor = Supervisor(settings, bound, metrics, lambda version: announce(reserved, version))
        loop = asyncio.get_running_loop()

        def stop(received_now: signal.Signals) -> None:
            received.append(received_now)
            supervisor.stop()

        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, stop, one)
        handle_hangup(on_hangup, _Everywhere(supervisor), supervisor.stop)
        await supervisor.run()

    with ExitStack() as open_until_then:
        reserved = [
            open_until_then.enter_context(reserved_address(settings.host, port)) for port in ports(settings)
        ]
        exposure(settings, reserved[0].getsockname()[0])
        metrics = open_until_then.enter_context(metrics_directory())
        share_metrics(str(metrics), "supervisor")
        asyncio.run(keep_until_stopped(reserved, metrics))
    for one in reversed(received):
        signal.raise_signal(one)  # whoever waits for this process learns what ended it
