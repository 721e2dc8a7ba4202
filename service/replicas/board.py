"""A board in Redis: every process says there what it serves and knows, and reads what all are to serve.

| key                                | value                                                        |
|------------------------------------|--------------------------------------------------------------|
| `dimerec:{catalogue}:1:processes`  | hash: id of a process → what it says, as JSON                |
| `dimerec:{catalogue}:1:deadlines`  | sorted set: id → until when that counts, ms of Redis' clock  |
| `dimerec:{catalogue}:1:order`      | hash: the newest order to serve a version, and its moment    |

The first two end with the last process.
"""

from importlib.resources import files
from operator import attrgetter
from typing import Any

import msgspec
from redis.asyncio import Redis, RedisCluster

from service.fleet import Order
from service.history.redis_calls import RedisCalls
from service.redis_client import connect

PROCESSES, DEADLINES, ORDER = (
    f"dimerec:{{catalogue}}:1:{name}" for name in ("processes", "deadlines", "order")
)

COUNTS_FOR_MS = 6_000
"""Time for which a process counts after it was heard. Chosen: a second longer than it may hear nothing before
its own answers say so (`catalogue_stale`).
"""
TIMEOUT_S = 2.0
"""Of a call, as of those of the log of changes. Chosen."""
MAX_CONNECTIONS = 2
"""Chosen: one for what this process says, one for those who wait for others."""


class Process(msgspec.Struct, frozen=True):
    """A process as it describes itself.

    `epoch`, `sequence`: changes of the catalogue up to this one count there, of the log of this epoch.
    `obeyed_ms`: moment of the newest order that it obeyed, or cannot obey; then it lacks `missing`.
    `kept`: all versions under its root.
    """

    id: str
    host: str
    pid: int
    version: str
    epoch: str = ""
    sequence: int = 0
    obeyed_ms: int = 0
    missing: str | None = None
    kept: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The process for people."""
        return f"{self.host}:{self.pid}"


by_host = attrgetter("host", "pid", "id")
"""The order of processes for people."""


class Board:
    """The board at one Redis. Methods raise HistoryError where it does not answer."""

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client: Any = client
        self._calls = RedisCalls(TIMEOUT_S, TIMEOUT_S, MAX_CONNECTIONS)

    @classmethod
    def from_url(cls, url: str) -> "Board":
        """The board at an address; raises HistoryUrlError. Nothing is connected yet."""
        return cls(connect(url, TIMEOUT_S, MAX_CONNECTIONS))

    async def tell(self, process: Process, newest: Order | None) -> Order | None:
        """Say what this process serves and knows; returns the newest order, maybe the one that it knows."""
        known = newest or Order(0, "")
        said = (process.id, msgspec.json.encode(process), COUNTS_FOR_MS)
        order = (known.moment_ms, known.version, known.instead_of or "")
        written = await self._calls.make(
            lambda: self._client.eval(_TELL, 3, PROCESSES, DEADLINES, ORDER, *said, *order)
        )
        return _order(*written)

    async def read(self) -> list[Process]:
        """Every process that counts, by host and process id."""
        found = await self._calls.make(lambda: self._client.eval(_READ, 2, PROCESSES, DEADLINES))
        return sorted(map(_process, found[::2], found[1::2]), key=by_host)

    async def order(self, version: str, instead_of: str | None, newest: Order | None) -> Order:
        """Order all replicas to serve a version; it is newer than the order `newest`, and all others."""
        known_ms = 0 if newest is None else newest.moment_ms
        moment_ms = await self._calls.make(
            lambda: self._client.eval(_ORDER, 1, ORDER, known_ms, version, instead_of or "")
        )
        return Order(int(moment_ms), version, instead_of)

    async def leave(self, process: Process) -> None:
        """Take a process that ends off the board."""
        await self._calls.make(lambda: self._client.eval(_LEAVE, 2, PROCESSES, DEADLINES, process.id))

    async def close(self) -> None:
        """Release the connections."""
        await self._calls.close()
        await self._client.aclose()


def _script(name: str) -> str:
    return files("service.replicas").joinpath(f"{name}.lua").read_text()


_TELL, _READ, _ORDER, _LEAVE = map(_script, ("tell", "read", "order", "leave"))


def _order(moment_ms: bytes | None, version: bytes | None, instead_of: bytes | None) -> Order | None:
    """The order as it is written; None where there is none, or none that can be read."""
    if moment_ms is None or version is None:
        return None
    try:
        return Order(int(moment_ms), version.decode(), (instead_of or b"").decode() or None)
    except ValueError:
        return None


def _process(process_id: bytes, said: bytes) -> Process:
    """One whose words cannot be read, as of another release, counts as one that knows of no change."""
    try:
        return msgspec.json.decode(said, type=Process)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Process(process_id.decode(errors="replace"), "unknown", 0, "")
