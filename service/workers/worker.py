"""A worker: one process of `dimerec serve --workers N`, started by the supervisor.

`python -P -m service.workers.worker DESCRIPTOR`, where DESCRIPTOR is its end of the channel. It does what the
supervisor calls for: load a bundle, listen, swap, stop. When the supervisor has gone it stops, too.
"""

import asyncio
import signal
import socket
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

import uvloop

from service.app import create_app
from service.engines import Engines
from service.errors import NotReadyError, WorkerGoneError
from service.fleet import Fleet, Order, ServingWorker, Swap
from service.listening import BACKLOG, bound_socket
from service.log_lines import configure_logging
from service.server import Server
from service.settings import Settings
from service.telemetry import share_metrics
from service.workers.channel import Channel, Handler


class SupervisedFleet:
    """The fleet as a worker sees it: whatever concerns all goes to the supervisor."""

    def __init__(self, channel: Channel, engines: Engines) -> None:
        self._channel = channel
        self._engines = engines

    @property
    def version(self) -> str:
        """The version that this worker serves."""
        return self._engines.version

    async def reload(self) -> Swap:
        """As `Fleet.reload`, by every worker."""
        return Swap(**await self._ask("reload"))

    async def rollback(self) -> Swap:
        """As `Fleet.rollback`, by every worker."""
        return Swap(**await self._ask("rollback"))

    async def obey(self, order: Order) -> Swap:
        """As `Fleet.obey`, by every worker."""
        return Swap(**await self._ask("obey", **asdict(order)))

    async def workers(self) -> list[ServingWorker]:
        """All workers, in the order of their start."""
        return [ServingWorker(*worker) for worker in await self._ask("workers")]

    async def _ask(self, call: str, **arguments: Any) -> Any:
        try:
            return await self._channel.call(call, **arguments)
        except WorkerGoneError as error:
            raise NotReadyError("the supervisor has ended, and this worker is ending") from error


class Worker:
    """The process itself."""

    def __init__(self) -> None:
        self._listeners: asyncio.Future[list[socket.socket]] = asyncio.get_running_loop().create_future()

    async def run(self, end: socket.socket) -> None:
        """Answer the supervisor's calls on `end`, and requests once it says so, until its stop or its end."""
        handlers: dict[str, Handler] = {
            "load": self.load,
            "listen": self.listen,
            "reload": self.reload,
            "reload_all": self.reload_all,
            "rollback": self.rollback,
            "follow": self.follow,
            "stop": self.stop,
            "ping": self.ping,
        }
        self._channel = await Channel.open(end, handlers)
        gone = asyncio.create_task(self._channel.closed())
        begun: set[asyncio.Future[Any]] = {gone, self._listeners}
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if self._listeners.done():
            gone.add_done_callback(lambda _: self._server.stop())
            await self._server.serve(self._listeners.result())

    async def load(self, settings: dict[str, Any], version: str | None, metrics: str, index: int) -> str:
        """Load a bundle, by default the one that CURRENT names; returns its version."""
        share_metrics(metrics, str(index))
        only_one_watches = {} if index == 0 else {"watch_s": None}
        chosen = Settings(_env_file=None, **{**settings, **only_one_watches})
        configure_logging(chosen.log_level, chosen.log_format)
        app = create_app(chosen, fleet=partial(SupervisedFleet, self._channel), version=version)
        self._engines: Engines = app.state.service.engines
        self._fleet: Fleet = app.state.service.fleet
        self._server = Server(app, chosen)
        loaded: str = self._engines.version
        return loaded

    async def listen(self, host: str, ports: list[int]) -> None:
        """Take requests at the addresses, which all workers share."""
        listeners = [bound_socket(host, port, shared=True) for port in ports]
        for listener in listeners:
            listener.listen(BACKLOG)
        self._listeners.set_result(listeners)
        await self._server.listening.wait()

    async def reload(self) -> dict[str, Any]:
        """Reload in this process."""
        return asdict(await self._engines.reload())

    async def reload_all(self) -> dict[str, Any]:
        """Reload in every process that this one knows of."""
        return asdict(await self._fleet.reload())

    async def rollback(self) -> dict[str, Any]:
        """Roll back in this process."""
        return asdict(await self._engines.rollback())

    async def follow(self, version: str) -> None:
        """Serve the version that another worker serves already."""
        await self._engines.follow(version)

    async def stop(self) -> None:
        """Finish the requests in flight and end."""
        self._server.stop()

    async def ping(self) -> None:
        """Show that this process does not hang."""


def main() -> None:
    """Serve as one of several workers."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is the supervisor's, who asks for reloads
    end = socket.socket(fileno=int(sys.argv[1]))

    async def run() -> None:
        await Worker().run(end)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
