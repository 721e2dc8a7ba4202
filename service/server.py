"""uvicorn around an app, as this service wants it."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.connections import Connection, Connections
from service.dependencies import Service
from service.garbage import settle
from service.inside import Entered
from service.listening import BACKLOG
from service.log_writer import STDERR
from service.settings import Settings

SWITCH_S = 0.0005
"""Time for which a thread keeps the interpreter from one that wants it; Python's own is ten times as long.

The engine wants it after every operation that lets it go, and waits so long each time where the event loop is
busy. At twice the saturation 2,390 answers a second came with this, 1,380 with Python's own, on two cores.
"""


class Server(uvicorn.Server):
    """A server that lets requests in flight finish after a signal, and ends at once after a second one."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        service: Service = app.state.service
        self._open = Connections(settings.max_connections, service.metrics)
        # Answers to pages of other origins need headers that their browsers ask for.
        refuses = settings.cors_origins is None
        protocol = cast(
            "type[asyncio.Protocol]",
            partial(Connection, connections=self._open, door=service.door, refuses=refuses),
        )
        super().__init__(
            uvicorn.Config(
                Entered(app, service.door.inside),
                loop="uvloop",
                http=protocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # the guard sees who really connected
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                backlog=BACKLOG,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.shutdown_grace_s,
            )
        )
        self.listening = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections, finish the requests in flight, and end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own; `listening` is set once it is done."""
        await super().startup(sockets)
        settle()
        sys.setswitchinterval(SWITCH_S)
        self.listening.set()

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's own, ten times a second; once a second connections that took too long are ended."""
        if counter % 10 == 0:
            self._open.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, which ends the process by the signal that it captured: last lines come first."""
        with super().capture_signals():
            yield
            STDERR.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at a first signal; end at a second, whatever hangs."""
        if self._captured_signals:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)
