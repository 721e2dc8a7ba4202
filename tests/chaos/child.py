"""Processes of the harness's own: what drives and disturbs the service shall not wait for what measures."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from service.workers.channel import Channel, Handler

_PATIENCE_S = 60.0
"""A guard: no call takes a second."""


class Child:
    """A process that runs the module `module`, and does there what it is called for. Ends with `close`."""

    def __init__(self, module: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._channel = asyncio.run_coroutine_threadsafe(Channel.open(ours, {}), loop).result()

    def do(self, call: str, **arguments: Any) -> Any:
        """The result of one of its handlers."""
        calling = asyncio.run_coroutine_threadsafe(self._channel.call(call, **arguments), self._loop)
        return calling.result(_PATIENCE_S)

    def close(self) -> None:
        """Hang up, whereupon it ends."""
        self._loop.call_soon_threadsafe(self._channel.close)
        try:
            self._process.wait(_PATIENCE_S)
        finally:
            self._process.kill()


def obey(handlers: Mapping[str, Handler]) -> None:
    """Be such a process, until the other end hangs up."""

    async def run() -> None:
        channel = await Channel.open(socket.socket(fileno=int(sys.argv[1])), handlers)
        await channel.closed()
        os._exit(0)  # nothing is to be kept, and its connections need no farewell

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
