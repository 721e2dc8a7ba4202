"""The catalogue log in Redis, for any number of processes: who writes, and who follows.

| key                              | value                                                          |
|----------------------------------|----------------------------------------------------------------|
| `dimerec:{catalogue}:2:entries`  | hash, the truth: item id → entry, as entry.lua says            |
| `dimerec:{catalogue}:2:stream`   | the newest changes: what is to be read again                   |
| `dimerec:{catalogue}:2:facts`    | hash: random `epoch` of the log, last `sequence`, `passed_ms`  |

None of them expires. One script writes all three. A process that follows reads the stream; it reads all
entries where the stream no longer has what it missed, and brings back what the log has lost: after that, the
newest entry of each item is there, whoever had it.
"""

import secrets
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError

from service.catalogue.protocol import Contents, Entry, Known, RoomTakenError, Write, decoded, encoded
from service.catalogue.replication import Replication
from service.errors import CatalogueUnavailableError
from service.history.errors import HistoryError
from service.history.redis_calls import RedisCalls
from service.redis_client import connect

ENTRIES, STREAM, FACTS = (f"dimerec:{{catalogue}}:2:{name}" for name in ("entries", "stream", "facts"))
KEYS = (ENTRIES, STREAM, FACTS)

STREAM_LENGTH = 10_000
"""Changes that a process may miss without reading all entries. Chosen: half of what may be kept."""
BLOCK_MS = 400
"""Longest wait for a change. Chosen: a log that was emptied is noticed within the second."""
TIMEOUT_S = 2.0
"""Of a call: longer than a change is waited for. Chosen."""
MAX_WRITING, MAX_CONFIRMING, MAX_FOLLOWING = 8, 1, 2
"""Connections. Chosen: changes are few, and who follows makes one call after another."""
PER_CALL = 500
"""Entries in one call, so that Redis answers others in between."""


class RedisLog:
    """A `CatalogueLog` in Redis; with a connection for writing, and one of its own for following."""

    def __init__(
        self,
        writing: Redis | RedisCluster,
        following: Redis | RedisCluster,
        replicas: int | None = None,
    ) -> None:
        self._writing: Any = writing
        self._following: Any = following
        self._calls = RedisCalls(TIMEOUT_S, TIMEOUT_S, MAX_WRITING)
        self._epoch = ""
        self._sequence = 0
        self._last_id = "0"
        self._written = Known()
        self._counted = 0
        self._own: list[int] = []
        wanted = 0 if isinstance(writing, RedisCluster) else replicas  # WAIT does not go through its client
        self._replication = Replication(writing, FACTS, wanted, lambda: self._written, TIMEOUT_S)

    @classmethod
    def from_url(cls, url: str, replicas: int | None = None) -> "RedisLog":
        """The log at an address; raises HistoryUrlError. Nothing is connected yet.

        `replicas`: those that are to have a change, None: one, where there is any.
        """
        writing = connect(url, TIMEOUT_S, MAX_WRITING + MAX_CONFIRMING)
        return cls(writing, connect(url, TIMEOUT_S, MAX_FOLLOWING), replicas)

    @property
    def known(self) -> Known:
        """The changes that were read or followed."""
        return Known(self._epoch, self._sequence)

    async def begin(self) -> None:
        """As `CatalogueLog.begin`: any number of processes may write."""

    async def write(self, writes: Sequence[Write], room: int | None = None) -> list[Entry]:
        """As `CatalogueLog.write`; of a log that this process has read, else it is unavailable.

        What was followed counts from the next call of `follow` on.
        """
        own = sum(sequence > self._counted for sequence in self._own)
        bound = "" if room is None else self._counted + own + room
        arguments: list[Any] = [self._epoch or "unread", STREAM_LENGTH, bound]
        for one in writes:
            keep = int(one.keep_origin)
            arguments += [one.item_id, encoded(one.description) or b"", encoded(one.origin) or b"", keep]
        values = await self._called(lambda: self._writing.eval(_WRITE, len(KEYS), *KEYS, *arguments))
        if isinstance(values, int):
            raise RoomTakenError(values - self._counted - own)
        entries = [_entry(one.item_id, value) for one, value in zip(writes, values, strict=True)]
        self._own = [sequence for sequence in self._own if sequence > self._counted]
        self._own += [entry.sequence for entry in entries]
        self._written = Known(arguments[0], max((entry.sequence for entry in entries), default=0))
        return entries

    async def restore(self, contents: Contents) -> None:
        """As `CatalogueLog.restore`."""
        await self._refill(contents, dropped_too=True)

    async def drop(self, entries: Sequence[Entry]) -> list[Entry]:
        """As `CatalogueLog.drop`; of a log that this process has read."""
        dropped: set[str] = set()
        for start in range(0, len(entries), PER_CALL):
            some = entries[start : start + PER_CALL]
            parts = [part for entry in some for part in (entry.item_id, entry.sequence)]
            facts = (self._epoch or "unread", STREAM_LENGTH)
            call = partial(self._writing.eval, _DROP, len(KEYS), *KEYS, *facts, *parts)
            dropped.update(item_id.decode() for item_id in await self._called(call))
        return [entry for entry in entries if entry.item_id in dropped]

    async def pass_time(self, moment_ms: int) -> None:
        """As `CatalogueLog.pass_time`."""
        await self._refill(Contents([], moment_ms))

    async def read(self, known: Contents) -> Contents:
        """All of the log, once it has everything that is `known` here."""
        newest = await self._called(lambda: self._following.xrevrange(STREAM, count=1))
        epoch = await self._refill(known)
        facts = await self._called(lambda: self._following.hmget(FACTS, "sequence", "passed_ms", "compacted"))
        sequence, passed_ms, compacted = (int(fact or 0) for fact in facts)
        found = await self._scan()
        self._epoch, self._sequence = epoch, sequence
        self._last_id = newest[0][0] if newest else "0"
        entries = sorted(found, key=lambda entry: entry.sequence)
        return Contents(entries, passed_ms, sequence, compacted)

    async def follow(self) -> list[Entry] | None:
        """The entries that were changed since the last call, after a wait of `BLOCK_MS` at most.

        None: they are not known, or the log has lost some, so that all of it is to be read.
        """
        self._counted = self._sequence
        epoch, sequence = await self._called(lambda: self._following.hmget(FACTS, "epoch", "sequence"))
        if epoch is None or epoch.decode() != self._epoch or int(sequence or 0) < self._sequence:
            return None
        read = await self._called(
            lambda: self._following.xread({STREAM: self._last_id}, count=PER_CALL, block=BLOCK_MS)
        )
        changes = read[0][1] if read else []
        if not changes:
            return [] if int(sequence or 0) == self._sequence else None
        item_ids: dict[bytes, None] = {}
        for change_id, change in changes:
            number = int(change[b"sequence"])
            if number > self._sequence + 1 or not number:
                return None
            self._sequence, self._last_id = max(self._sequence, number), change_id
            item_ids[change[b"item"]] = None
        values = await self._called(lambda: self._following.hmget(ENTRIES, list(item_ids)))
        pairs = zip(item_ids, values, strict=True)
        return [_entry(item_id.decode(), value) for item_id, value in pairs if value is not None]

    async def replicated(self) -> bool | None:
        """As `CatalogueLog.replicated`."""
        return await self._replication.confirmed()

    async def newest(self, item_ids: Sequence[str]) -> list[Entry]:
        """The entries of these items, of those that have one."""
        values = await self._called(lambda: self._writing.hmget(ENTRIES, list(item_ids)))
        return [_entry(item_id, value) for item_id, value in zip(item_ids, values, strict=True) if value]

    async def close(self) -> None:
        """As `CatalogueLog.close`."""
        await self._calls.close()
        await self._replication.close()
        for client in (self._writing, self._following):
            await client.aclose()

    async def _refill(self, known: Contents, *, dropped_too: bool = False) -> str:
        """Bring back what the log lacks, some entries a call; returns its epoch."""
        flag = int(dropped_too)
        facts = (secrets.token_hex(8), known.passed_ms, STREAM_LENGTH, known.sequence, flag)
        epoch = b""
        for start in range(0, max(1, len(known.entries)), PER_CALL):
            some = known.entries[start : start + PER_CALL]
            parts = [part for entry in some for part in (entry.item_id, _value(entry))]
            call = partial(self._writing.eval, _REFILL, len(KEYS), *KEYS, *facts, *parts)
            epoch = await self._called(call)
        return epoch.decode()

    async def _scan(self) -> list[Entry]:
        found: dict[str, Entry] = {}  # an item may be on several pages
        cursor = 0
        while True:
            call = partial(self._following.hscan, ENTRIES, cursor, count=PER_CALL)
            cursor, page = await self._called(call)
            found.update((name := item_id.decode(), _entry(name, value)) for item_id, value in page.items())
            if not cursor:
                return list(found.values())

    async def _called(self, call: Any) -> Any:
        try:
            return await self._calls.make(call)
        except HistoryError as error:
            raise CatalogueUnavailableError(
                f"the log of changes in Redis cannot be used ({_reason(error)}): try again in a moment"
            ) from error


def _script(name: str) -> str:
    folder = files("service.catalogue")
    return "".join(folder.joinpath(part).read_text() for part in ("entry.lua", name))


_WRITE, _REFILL, _DROP = map(_script, ("write.lua", "refill.lua", "drop.lua"))


def _value(entry: Entry) -> bytes:
    """As entry.lua has it."""
    description, origin = encoded(entry.description) or b"", encoded(entry.origin) or b""
    numbers = (entry.sequence, int(entry.removed), entry.origin_sequence, len(description))
    return "".join(f"{number};" for number in numbers).encode() + description + origin


def _entry(item_id: str, value: bytes) -> Entry:
    """The entry of a value; one that is none counts as removed, and gives way to any that is one."""
    try:
        sequence, removed, given, length, rest = value.split(b";", 4)
        cut = int(length)
        parts = rest[:cut] or None, rest[cut:] or None
        return decoded(item_id, int(sequence), removed == b"1", int(given), *parts)
    except ValueError:
        return Entry(item_id, 0, removed=True)


def _reason(error: HistoryError) -> str:
    """Without the names of hosts, which a client's own words may hold."""
    cause = error.__cause__
    if isinstance(cause, ResponseError) and "EPOCH" in str(cause):
        return "this process has not read it again since it was lost"
    return "it is gone, slow or refuses"
