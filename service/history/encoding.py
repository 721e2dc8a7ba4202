"""The encoding of a history in Redis: one string of columns.

    count (4 bytes) | day (4) | timestamps (8 each) | identities (8 each) | items, each ended by NUL

An item is its id, and where the event has them, its type and the id of its request after U+0001 each, which
no id has: so what was written before there were types is read as it is.
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
_APART = "\1"


def identity(event: Event) -> bytes:
    """Eight bytes that tell an event from others of the same user: a digest of what makes it a repeat."""
    if event.event_id is not None:
        return named_identity(event.event_id)
    name = event.item_id if event.event_type is None else f"{event.item_id}{_APART}{event.event_type}"
    return _digest(b"i" + _TIMESTAMP.pack(event.timestamp) + name.encode())


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
            *(_item(event).encode() + b"\0" for _, event in ordered),
        )
    )


def decode(history: bytes, limit: int) -> list[Event]:
    """The newest `limit` events of an encoded history, oldest first.

    Raises HistoryUnreadableError for anything that isn't an encoded history.
    """
    count = encoded_count(history)
    timestamps = struct.unpack_from(f">{count}q", history, _HEAD.size)
    text = history[_HEAD.size + 2 * _WIDTH * count :].decode(errors="replace")
    items = text.split("\0")
    if len(items) != count + 1 or items[count]:
        raise HistoryUnreadableError("the store holds an incomplete history under this user's key")
    oldest = max(0, count - limit)
    if _APART not in text:
        return list(map(Event, items[oldest:count], timestamps[oldest:]))
    return list(map(read_event, items[oldest:count], timestamps[oldest:]))


def read_event(item: str, timestamp: int) -> Event:
    """The event of an item of a history."""
    item_id, _, names = item.partition(_APART)
    event_type, _, request_id = names.partition(_APART)
    return Event(item_id, timestamp, None, event_type or None, request_id or None)


def encoded_count(history: bytes) -> int:
    """Number of events of an encoded history.

    Raises HistoryUnreadableError for what is too short to be one.
    """
    count: int = _HEAD.unpack_from(history)[0] if len(history) >= _HEAD.size else -1
    if not 0 <= count <= (len(history) - _HEAD.size) // (2 * _WIDTH):
        raise HistoryUnreadableError("the store holds something else than a history under this user's key")
    return count


def _item(event: Event) -> str:
    if event.event_type is None and event.request_id is None:
        return event.item_id
    return _APART.join((event.item_id, event.event_type or "", event.request_id or ""))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_WIDTH).digest()
