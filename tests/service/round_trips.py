"""How many round trips a store makes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class CountingProxy:
    """Between store and server, counts how often the client spoke after the server did: the round trips."""

    def __init__(self, port: int) -> None:
        self.turns = 0
        self.url = ""
        self._server_spoke = True
        self._port = port

    async def connect(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._carry(client_reader, writer, self._asked),
            self._carry(reader, client_writer, self._answered),
        )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[], None]
    ) -> None:
        while data := await reader.read(2**20):
            note()
            writer.write(data)
        writer.close()

    def _asked(self) -> None:
        self.turns += self._server_spoke
        self._server_spoke = False

    def _answered(self) -> None:
        self._server_spoke = True


@asynccontextmanager
async def counted(redis_url: str) -> AsyncIterator[CountingProxy]:
    """A proxy in front of that database of Redis."""
    address = urlsplit(redis_url)
    assert address.port is not None
    proxy = CountingProxy(address.port)
    server = await asyncio.start_server(proxy.connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = address._replace(netloc=f"127.0.0.1:{port}").geturl()
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
