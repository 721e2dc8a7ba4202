"""Memory of Redis for many users: histories of a sample in a real Redis, multiplied.

    python -m tests.chaos.capacity

prints bytes a user, and what a million users with as many events each come to.
"""

import asyncio
import time
from typing import Annotated

import redis
import typer

from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer

MILLION = 1_000_000
_STEP = 400
"""Users a round trip."""
_TIMEOUT_S = 30.0


def main(
    users: Annotated[int, typer.Option(min=1, help="Users of the sample.")] = 20_000,
    events: Annotated[int, typer.Option(min=1, max=1000, help="Events of each.")] = 50,
) -> None:
    """Measure the memory of histories in Redis."""
    taken = asyncio.run(measured(users, events))
    each = taken / users
    typer.echo(f"{users:,} users × {events} events: {taken:,} bytes, {each:,.0f} a user")
    typer.echo(f"{MILLION:,} such users, multiplied: {each * MILLION / 1e9:.2f} GB")


async def measured(users: int, events: int) -> int:
    """Bytes by which the histories make a new Redis grow (`used_memory`, its tables of keys included)."""
    server = RedisServer().start()
    store = RedisHistory.from_url(server.url, max_events=1000, ttl_s=90 * 86_400, timeout_s=_TIMEOUT_S)
    try:
        await store.append("warm", [Event("1000000", int(time.time() * 1000))])
        before = _used(server)
        for first in range(0, users, _STEP):
            some = range(first, min(first + _STEP, users))
            await store.append_many([one for user in some for one in _history(user, events)])
        return _used(server) - before
    finally:
        await store.close()
        server.close()


def _history(user: int, events: int) -> list[tuple[str, Event]]:
    """Ids of seven digits, an hour between events, the newest now."""
    now = int(time.time() * 1000)
    return [
        (
            f"{1_000_000 + user}",
            Event(f"{1_000_000 + (user * 7919 + step * 104_729) % 1_000_000}", now - 3_600_000 * step),
        )
        for step in range(events)
    ]


def _used(server: RedisServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("memory")["used_memory"])


if __name__ == "__main__":
    typer.run(main)
