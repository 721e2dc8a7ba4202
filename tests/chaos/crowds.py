"""Clients by the hundred that want little and stay, or that leave."""

import asyncio
from contextlib import suppress

from tests.chaos.stage import Stage

_DRIP_S = 0.5
_HEAD = b"POST /recommend HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
_BODY = b'{"user_id": "u1", "k": 10}'


def idle(count: int, stage: Stage) -> None:
    """Connections on which nothing is ever sent."""
    _come(stage, count, b"", b"")


def drip_headers(count: int, stage: Stage) -> None:
    """Clients whose headers come byte by byte and never end."""
    _come(stage, count, _HEAD + b"x-drip: ", b"a")


def drip_body(count: int, stage: Stage) -> None:
    """Clients whose body comes byte by byte."""
    _come(stage, count, _HEAD + b"content-length: 4096\r\n\r\n{", b" ")


def ask_and_leave(count: int, stage: Stage) -> None:
    """Clients that hang up as soon as they have asked, `count` within five seconds."""
    request = _HEAD + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY

    async def all_leave() -> None:
        for _ in range(count // 20):
            await asyncio.gather(*(leave_once() for _ in range(20)))
            await asyncio.sleep(5.0 * 20 / count)

    async def leave_once() -> None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
            writer.write(request)
            await writer.drain()
            writer.transport.abort()

    stage.wait(all_leave())


def leave(stage: Stage) -> None:
    """All of a crowd hang up."""
    if not stage.ready():
        stage.findings.append("the probe of readiness was not answered")
    crowd, stage.crowd = stage.crowd, []

    async def part() -> None:
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    stage.wait(part())


def _come(stage: Stage, count: int, first: bytes, then: bytes) -> None:
    async def come() -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(_stay(stage.port, first, then)) for _ in range(count)]

    stage.crowd = stage.wait(come())


async def _stay(port: int, first: bytes, then: bytes) -> None:
    """One client: it drips until the server has enough of it."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(first)
            while not reader.at_eof():
                await asyncio.sleep(_DRIP_S)
                writer.write(then)
                await writer.drain()
        finally:
            writer.transport.abort()
