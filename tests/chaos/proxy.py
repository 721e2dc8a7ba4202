"""A TCP proxy between the service and Redis that can be slow, silent, or break connections.

A process of its own; `Child.do` of the stage reaches it.
"""

import asyncio
import socket
import struct
from contextlib import suppress

from tests.chaos.child import obey

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class Proxy:
    """Passes bytes on, as its fields say; they may change at any time. Runs in one event loop."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        """Added to every answer of the server."""
        self.cuts = False
        """Of every answer half comes, then the connection is closed."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, upstream_port: int) -> int:
        """Listen on a free port of the loopback, and return it."""
        self._upstream_port = upstream_port
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """End the listener and all connections."""
        self._server.close()
        await self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def delay(self, seconds: float) -> None:
        """Add so much to every answer of the server."""
        self.delay_s = seconds

    async def cut(self, cuts: bool) -> None:
        """Let half of every answer come, and close the connection; or no longer."""
        self.cuts = cuts

    async def stall(self) -> None:
        """Pass nothing on, in either direction, until `flow`."""
        self._flowing.clear()

    async def flow(self) -> None:
        """Pass bytes on again."""
        self._flowing.set()

    async def reset(self) -> None:
        """Break all connections by RST."""
        for client in [one for one in self._clients if not one.is_closing()]:
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._clients.add(writer)
        try:
            with suppress(OSError):
                answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
                asking = asyncio.ensure_future(self._ask(reader, upstream))
                try:
                    await self._answer(answers, writer)
                finally:
                    asking.cancel()
                    upstream.close()
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if upstream.is_closing():
                    return
                upstream.write(data)
                await upstream.drain()
            upstream.close()

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await answers.read(_CHUNK):
            await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            if writer.is_closing():
                return
            writer.write(data[: len(data) // 2] if self.cuts else data)
            await writer.drain()
            if self.cuts:
                return


if __name__ == "__main__":
    proxy = Proxy()
    calls = (proxy.start, proxy.delay, proxy.cut, proxy.stall, proxy.flow, proxy.reset)
    obey({call.__name__: call for call in calls})
