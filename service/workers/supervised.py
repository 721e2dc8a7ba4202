"""One worker as the supervisor sees it: its process, and the channel to it."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from service.fleet import Swap
from service.settings import Settings
from service.workers.channel import Channel, Handler


class SupervisedWorker:
    """A process that was started. `version`: the bundle it serves, once it has one."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self.version = ""
        self.loaded = asyncio.Event()

    @classmethod
    async def start(cls, settings: Settings, handlers: Mapping[str, Handler]) -> "SupervisedWorker":
        """A new process, in a group of its own: the signals of a terminal are the supervisor's to pass on.

        It is not forked but begins from nothing. Two that were forked from a process with torch and FAISS
        imported took 29 MB of their own each, not 185, and were ready in 0.7 s, not 5; but a fork leaves the
        locks of threads that libraries started while imported (there is one) as they were.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no package of ours is looked for in the current directory
                "-m",
                "service.workers.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=_environment(settings),
                process_group=0,
            )
        return cls(process, await Channel.open(ours, handlers))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def load(self, settings: Settings, version: str | None, metrics: Path, index: int) -> None:
        """Load a bundle, by default the one that CURRENT names; raises what `create_app` does.

        `metrics`, `index`: where the worker keeps its metrics, and its name there.
        """
        self.version = await self._channel.call(
            "load", settings=_plain(settings), version=version, metrics=str(metrics), index=index
        )
        self.loaded.set()

    async def ping(self) -> None:
        """Hear from it."""
        await self._channel.call("ping")

    async def listen(self, host: str, ports: Sequence[int]) -> None:
        """Begin to answer."""
        await self._channel.call("listen", host=host, ports=list(ports))

    async def swap(self, operation: Literal["reload", "rollback"]) -> Swap:
        """Do it before all others."""
        swap = Swap(**await self._channel.call(operation))
        self.version = swap.current
        return swap

    async def reload_all(self) -> Swap:
        """Let it reload all processes that it knows of, those of its supervisor first."""
        return Swap(**await self._channel.call("reload_all"))

    async def follow(self, version: str) -> None:
        """Serve the version that another one serves already."""
        await self._channel.call("follow", version=version)
        self.version = version

    async def stop(self) -> None:
        """Let it finish the requests in flight and end."""
        await self._channel.call("stop")

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""
        status = await self._process.wait()
        self._channel.close()
        return status


def compute_threads(settings: Settings) -> int:
    """Threads of one worker: its share of the cores, unless the settings or `OMP_NUM_THREADS` choose."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, len(os.sched_getaffinity(0)) // settings.workers)
    return settings.compute_threads or (int(chosen) if chosen.isdecimal() else 0) or share


def _environment(settings: Settings) -> dict[str, str]:
    """That of this process, and the threads, which torch, FAISS and BLAS heed."""
    return {"OMP_NUM_THREADS": str(compute_threads(settings)), **os.environ}


def _plain(settings: Settings) -> dict[str, Any]:
    """Settings as JSON, secrets included: the channel is between the two processes alone."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else to_jsonable_python(value)
        for name, value in settings
    }
