"""Connections to Redis that are reset while they lie in the pool, under the event loop that serves."""

import asyncio
import socket
import struct

import uvloop

from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer


class Resetting:
    """Between the store and Redis; `reset` ends every connection by RST."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._carry(reader, there), self._carry(there_reader, writer))

    def reset(self) -> None:
        for writer in self._writers:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except OSError:
            pass
        writer.close()


async def _read_after_resets(port: int) -> None:
    proxy = Resetting(port)
    server = await asyncio.start_server(proxy.connect, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    store = RedisHistory.from_url(url, timeout_s=20)
    await store.append("u", [Event("a", 1)])
    for _ in range(5):
        await asyncio.gather(*(store.read("u", 9) for _ in range(20)))
        proxy.reset()
        one, many = await asyncio.gather(store.read("u", 9), store.read_many(["u"] * 3, 9))
        assert [one] * 3 == many == [[Event("a", 1)]] * 3
        proxy.reset()
        await store.append("u", [Event("a", 1)])
    await store.close()
    server.close()


def test_a_reset_connection_is_replaced_within_the_call(redis_server: RedisServer) -> None:
    uvloop.run(_read_after_resets(redis_server.port))
    asyncio.run(_read_after_resets(redis_server.port))
