"""The protocol of a history store: every user's newest events, oldest first.

The rules that every store keeps, whatever order events come in:

- A history holds the newest N events by timestamp; events of the same timestamp stay in order of arrival.
- An event is a repeat if the history holds one of the same identity: the same `event_id`, or, for events
  without one, the same item, timestamp and type. A repeat changes nothing: every call may be made again.
- An event older than a full history is outdated: it's accepted, counted, and not kept.
- A user who is forgotten stays so: events from before that are outdated, for as long as a history lives.
- An event that its caller named by an `event_id` can be removed again. Sent once more after that, it's new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.history.errors import HistoryInputError, HistoryUnavailableError

DEFAULT_MAX_EVENTS = 1_000
"""Events kept a user (the model reads the newest 50; the others are what the user has seen)."""

MAX_ID_BYTES = 1_024
"""Bound on user, item and event ids, in bytes of UTF-8."""

MAX_TIMESTAMP = 2**53 - 1
"""Bound on the magnitude of a timestamp: the largest integer that a double keeps."""

MAX_NAME_LENGTH = 128
"""Characters of an event's type, or of the id of its request: as many as the latter has at most."""

_UNSTORABLE = re.compile("[\0\1\ud800-\udfff]")
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME_LENGTH}}}")


class Event(NamedTuple):
    """One item that a user watched.

    `timestamp` is in ms since the epoch (or a plain order). `event_id` is the caller's name of the event and
    makes a repeat recognisable; stores keep only a digest of it, so that events read back have none.
    `event_type`: what kind of event it is, None for a watch; `request_id`: of the answer that it came from.
    """

    item_id: str
    timestamp: int
    event_id: str | None = None
    event_type: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Numbers of the events of one call: kept, known already, or older than a full history."""

    added: int = 0
    repeated: int = 0
    outdated: int = 0

    def __add__(self, other: AppendResult) -> AppendResult:
        """The counts of both calls together."""
        return AppendResult(
            self.added + other.added, self.repeated + other.repeated, self.outdated + other.outdated
        )


class HistoryListener(Protocol):
    """Hears of each change of a history by events, once: repeats and what is not kept are none."""

    def added(self, events: Sequence[Event]) -> None:
        """Note events that a history has from now on, without their `event_id`."""
        ...

    def removed(self, event: Event) -> None:
        """Note an event that was taken back."""
        ...


class HistoryStore(Protocol):
    """Keeps histories. Methods raise HistoryUnavailableError, and HistoryInputError for a bad argument."""

    @property
    def busy(self) -> bool:
        """True where a call would wait for another one of this process to end."""
        ...

    @property
    def takes_events(self) -> bool:
        """False where they would be refused at once, because the store failed lately."""
        ...

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """Add events to one user's history, all or none of them."""
        ...

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        """As `append` for each in turn, in one round trip; an error in the place of one whose own it is."""
        ...

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """Add events of many users, given as (user id, event); each user gets all or none of theirs."""
        ...

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """The newest `limit` events (≥ 0) of a user, oldest first; empty for an unknown user."""
        ...

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        """As `read` for many users in one round trip; an error in the place of a user whose own it is."""
        ...

    async def remove(self, user_id: str, event_id: str) -> int:
        """Take back the event that was added under this `event_id`; the number of events removed, 0 or 1."""
        ...

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """Delete all that is kept of a user, and keep events away that are not after `at_ms`, by default now.

        The number of events deleted.
        """
        ...

    async def users(self, limit: int) -> list[str]:
        """Up to `limit` (≥ 0) ids of users who have a history, in any order; for a picker, not a census."""
        ...

    async def ping(self) -> None:
        """A check that the store answers."""
        ...

    async def close(self) -> None:
        """Release connections; the store can't be used afterwards."""
        ...


def check_user(user_id: str) -> None:
    """Raise HistoryInputError unless `user_id` can be kept."""
    _check_id("user_id", user_id)


def check_event_id(event_id: str) -> None:
    """Raise HistoryInputError unless `event_id` can be kept."""
    _check_id("event_id", event_id)


def check_events(events: Sequence[Event]) -> None:
    """Raise HistoryInputError unless every event can be kept."""
    for event in events:
        _check_id("item_id", event.item_id)
        if event.event_id is not None:
            check_event_id(event.event_id)
        _check_name("event_type", event.event_type)
        _check_name("request_id", event.request_id)
        if not -MAX_TIMESTAMP <= event.timestamp <= MAX_TIMESTAMP:
            raise HistoryInputError("timestamp: must lie within ±(2^53 − 1), in ms since the epoch")


def check_limit(limit: int) -> None:
    """Raise HistoryInputError unless `limit` is a count."""
    if limit < 0:
        raise HistoryInputError("limit: must not be negative")


def by_user(events: Iterable[tuple[str, Event]]) -> dict[str, list[Event]]:
    """Events grouped by user, both in order of first appearance."""
    grouped: dict[str, list[Event]] = {}
    for user_id, event in events:
        grouped.setdefault(user_id, []).append(event)
    return grouped


def _check_id(field: str, value: str) -> None:
    if not value:
        raise HistoryInputError(f"{field}: must not be empty")
    if len(value) > MAX_ID_BYTES or (
        not value.isascii() and len(value.encode(errors="replace")) > MAX_ID_BYTES
    ):
        raise HistoryInputError(f"{field}: must be at most {MAX_ID_BYTES} bytes of UTF-8")
    if _UNSTORABLE.search(value):
        raise HistoryInputError(f"{field}: must be valid Unicode without the characters U+0000 and U+0001")


def _check_name(field: str, value: str | None) -> None:
    if value is not None and not _NAME.fullmatch(value):
        raise HistoryInputError(
            f"{field}: must be at most {MAX_NAME_LENGTH} of A-Z, a-z, 0-9, '.', '_' and '-'"
        )
