"""Calls between the supervisor and a worker, both ways at once, over a pair of sockets.

One message a line, in JSON: `{"id": 1, "call": "follow", "arguments": {"version": "…"}}`, and in answer
`{"id": 1, "result": …}` or `{"id": 1, "error": {"kind": "BundleError", "message": "…"}}`. An expected error
is raised again at the caller.
"""

import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bundle.errors import BundleError
from files.errors import DimeRecError
from service.errors import (
    BundleRootReadOnlyError,
    NoEarlierBundleError,
    NotReadyError,
    StartupError,
    WorkerError,
    WorkerGoneError,
)

log = structlog.get_logger("dimerec.workers")

Handler = Callable[..., Awaitable[Any]]
"""Takes the arguments of a call by name; its result is JSON."""

_ERRORS = {
    error.__name__: error
    for error in (BundleError, BundleRootReadOnlyError, NoEarlierBundleError, NotReadyError, StartupError)
}
_MAX_MESSAGE_BYTES = 1 << 20
"""A choice, far above the longest: the settings."""


class Channel:
    """One end. `handlers`: the calls that the other end may make, by name."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, end: socket.socket, handlers: Mapping[str, Handler]) -> "Channel":
        """The channel over one end of a socket pair, in the running event loop."""
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=_MAX_MESSAGE_BYTES)
        return cls(reader, writer, handlers)

    async def call(self, name: str, **arguments: Any) -> Any:
        """The result of the other end's handler.

        Raises what that raised, if expected, else WorkerError; WorkerGoneError when the other end has gone.
        """
        if self._reading.done():
            raise WorkerGoneError("the other process has ended")
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"id": number, "call": name, "arguments": arguments})
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    async def closed(self) -> None:
        """Wait until the other end has gone."""
        await asyncio.wait({self._reading})

    def close(self) -> None:
        """Hang up: calls that wait for an answer fail."""
        self._writer.close()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if "call" in message:
                    task = asyncio.create_task(self._handle(message))
                    self._handling.add(task)  # the loop itself keeps no task alive
                    task.add_done_callback(self._handling.discard)
                else:
                    self._settle(message)
        except ConnectionError:
            pass  # it ended with messages unread: the same as an end
        finally:
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(WorkerGoneError("the other process has ended"))

    def _settle(self, message: dict[str, Any]) -> None:
        future = self._waiting.get(message["id"])
        if future is None or future.done():
            return  # its caller was cancelled
        if "error" in message:
            error = message["error"]
            future.set_exception(_ERRORS.get(error["kind"], WorkerError)(error["message"]))
        else:
            future.set_result(message["result"])

    async def _handle(self, message: dict[str, Any]) -> None:
        name = message["call"]
        try:
            answer = {"result": await self._handlers[name](**message["arguments"])}
        except DimeRecError as error:
            kind = next((cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _ERRORS), "")
            answer = {"error": {"kind": kind, "message": str(error)}}
        except Exception:
            log.exception("a call failed", call=name)
            answer = {"error": {"kind": "", "message": f"{name} failed: the log has the details"}}
        self._send({"id": message["id"], **answer})

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")
