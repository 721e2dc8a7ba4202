"""The encoding of a history in Redis: one string of columns.

    count (4 bytes) | day (4) | timestamps (8 each) | identities (8 each) | item ids, each ended by NUL

Integers are big-endian. The day, counted from the epoch, is that of a new user's first event by the server's
clock, and 0 once an event came on a later one. `append.lua` merges two such strings inside Redis,
`remove.lua` takes an event out. Columns keep a history small (17 bytes and the item id an event), let Redis
find an event with one search, and need no loop over bytes here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b

from service.history.errors import HistoryUnreadableError
from service.history.protocol import Event

_HEAD = struct.Struct(">II")
_TIMESTAMP = struct.Struct(">q")
_WIDTH = 8
"""Bytes of a timestamp."""


def identity(event: Event) -> bytes:
    """Eight bytes that tell an event from others of the same user: a digest of what makes it a repeat."""
    if event.event_id is not None:
        return named_identity(event.event_id)
    return _digest(b"i" + _TIMESTAMP.pack(event.timestamp) + event.item_id.encode())


def named_identity(event_id: str) -> bytes:
    """The identity of the event that its caller named `event_id`; no event without a name has the same."""
    return _digest(b"e" + event_id.encode())


def encode(events: Sequence[Event], day: int = 0) -> bytes:
    """The events without repeats among themselves (the first counts), sorted by time.

    `day`: that of a new user's first one.
    """
    distinct: dict[bytes, Event] = {}
    for event in events:
        distinct.setdefault(identity(event), event)
    ordered = sorted(distinct.items(), key=lambda pair: pair[1].timestamp)
    return b"".join(
        (
            _HEAD.pack(len(ordered), day),
            *(_TIMESTAMP.pack(event.timestamp) for _, event in ordered),
            *(digest for digest, _ in ordered),
            *(event.item_id.encode() + b"\0" for _, event in ordered),
        )
    )


def decode(history: bytes, limit: int) -> list[Event]:
    """The newest `limit` events of an encoded history, oldest first.

    Raises HistoryUnreadableError for anything that isn't an encoded history.
    """
    count = encoded_count(history)
    timestamps = struct.unpack_from(f">{count}q", history, _HEAD.size)
    items = history[_HEAD.size + 2 * _WIDTH * count :].decode(errors="replace").split("\0")
    if len(items) != count + 1 or items[count]:
        raise HistoryUnreadableError("the store holds an incomplete history under this user's key")
    oldest = max(0, count - limit)
    return list(map(Event, items[oldest:count], timestamps[oldest:]))


def encoded_count(history: bytes) -> int:
    """Number of events of an encoded history.

    Raises HistoryUnreadableError for what is too short to be one.
    """
    count: int = _HEAD.unpack_from(history)[0] if len(history) >= _HEAD.size else -1
    if not 0 <= count <= (len(history) - _HEAD.size) // (2 * _WIDTH):
        raise HistoryUnreadableError("the store holds something else than a history under this user's key")
    return count


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_WIDTH).digest()
