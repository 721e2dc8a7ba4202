"""Histories in this process's memory: for a laptop, the demo and tests. They end with the process."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from operator import attrgetter

from files.clock import now_ms
from service.history.errors import HistoryUnavailableError
from service.history.forgetting import hashed
from service.history.protocol import (
    DEFAULT_MAX_EVENTS,
    AppendResult,
    Event,
    HistoryListener,
    by_user,
    check_event_id,
    check_events,
    check_limit,
    check_user,
)

DEFAULT_MAX_USERS = 100_000
"""A bound on memory; more users than a trial has, and in earnest Redis keeps them."""


DEFAULT_MAX_BYTES = 256 * 2**20
"""A quarter of the gigabyte that a small machine has to spare."""

_USER_BYTES = 400
"""Of CPython, measured by `sys.getsizeof`: id, list and entry of the table."""

_EVENT_BYTES = 200
"""Of CPython, measured by `sys.getsizeof`: tuple, timestamp and the heads of two strings."""


class InProcessHistory:
    """A HistoryStore in memory.

    Keeps `max_events` a user, and so many users as fit into `max_users` and into `max_bytes`, about: the
    least recently used, by reading or adding, go first. `on_eviction` is called for each. A `listener`
    hears of what `load` adds as well.
    """

    def __init__(
        self,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        max_users: int = DEFAULT_MAX_USERS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._max_events = max_events
        self._max_users = max_users
        self._max_bytes = max_bytes
        self._bytes = 0
        self.on_eviction: Callable[[], object] = lambda: None
        self.listener: HistoryListener | None = None
        self._clock = clock
        self._histories: OrderedDict[str, list[Event]] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._forgotten: OrderedDict[str, int] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Never: nothing waits."""
        return False

    @property
    def takes_events(self) -> bool:
        """Always."""
        return True

    def load(self, events: Iterable[tuple[str, Event]]) -> AppendResult:
        """Add events of many users, given as (user id, event), as before serving starts."""
        grouped = by_user(events)
        for user_id, of_user in grouped.items():
            check_user(user_id)
            check_events(of_user)
        return sum((self._append(user_id, of_user) for user_id, of_user in grouped.items()), AppendResult())

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """Add events to one user's history, all or none of them."""
        check_user(user_id)
        check_events(events)
        return self._append(user_id, events)

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        """As `append` for each in turn."""
        return [await self.append(user_id, events) for user_id, events in appends]

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """Add events of many users, given as (user id, event)."""
        return self.load(events)

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """The newest `limit` events of a user, oldest first; empty for an unknown user."""
        check_user(user_id)
        check_limit(limit)
        history = self._histories.get(user_id, [])
        if history:
            self._histories.move_to_end(user_id)
        oldest = max(0, len(history) - limit)
        return list(map(_unnamed, history[oldest:]))

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        """As `read`, for many users."""
        return [await self.read(user_id, limit) for user_id in user_ids]

    async def remove(self, user_id: str, event_id: str) -> int:
        """Take back the event that was added under this `event_id`; the number of events removed, 0 or 1."""
        check_user(user_id)
        check_event_id(event_id)
        history = self._histories.get(user_id, [])
        named = [event for event in history if event.event_id == event_id]
        for event in named:  # there is one at most
            self._keep(user_id, [other for other in history if other is not event])
            if self.listener is not None:
                self.listener.removed(_unnamed(event))
        return len(named)

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """Delete all that is kept of a user, and keep events away that are not after `at_ms`, or now."""
        check_user(user_id)
        mark = hashed(self._secret, user_id)
        now = self._clock() if at_ms is None else at_ms
        self._forgotten[mark] = max(now, self._forgotten.get(mark, now))
        self._forgotten.move_to_end(mark)
        if len(self._forgotten) > self._max_users:
            self._forgotten.popitem(last=False)
        events = len(self._histories.get(user_id, []))
        self._keep(user_id, [])
        return events

    async def users(self, limit: int) -> list[str]:
        """Up to `limit` ids of users who have a history, those used last first."""
        check_limit(limit)
        return list(islice(reversed(self._histories), limit))

    async def ping(self) -> None:
        """Nothing to do: memory is always there."""

    async def close(self) -> None:
        """Drop all histories."""
        self._histories.clear()
        self._bytes = 0
        self._forgotten.clear()

    def _append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        if not events:
            return AppendResult()
        history = self._histories.get(user_id, [])
        known = {_identity(event) for event in history}
        new: dict[Hashable, Event] = {}
        for event in events:
            if _identity(event) not in known:
                new.setdefault(_identity(event), event)

        merged = sorted((*history, *new.values()), key=attrgetter("timestamp"))
        excess = max(0, len(merged) - self._max_events)
        if (
            self._forgotten
            and (forgotten_ms := self._forgotten.get(hashed(self._secret, user_id))) is not None
        ):
            excess = max(excess, bisect_right(merged, forgotten_ms, key=attrgetter("timestamp")))
        outdated = sum(_identity(event) in new for event in merged[:excess])
        if merged[excess:]:
            self._keep(user_id, merged[excess:])
        if self.listener is not None and len(new) > outdated:
            kept = (event for event in merged[excess:] if _identity(event) in new)
            self.listener.added(list(map(_unnamed, kept)))
        while len(self._histories) > self._max_users or self._bytes > self._max_bytes:
            self._keep(next(iter(self._histories)), [])
            self.on_eviction()
        return AppendResult(len(new) - outdated, len(events) - len(new), outdated)

    def _keep(self, user_id: str, history: list[Event]) -> None:
        """Let this be the user's history; an empty one is none."""
        self._bytes -= _size(user_id, self._histories.pop(user_id, []))
        self._bytes += _size(user_id, history)
        if history:
            self._histories[user_id] = history


def _size(user_id: str, history: Sequence[Event]) -> int:
    """Bytes that a history takes, about."""
    if not history:
        return 0
    texts = sum(len(text) for event in history for text in event if isinstance(text, str))
    return _USER_BYTES + len(user_id) + _EVENT_BYTES * len(history) + texts


def _identity(event: Event) -> Hashable:
    if event.event_id is not None:
        return event.event_id
    return (event.item_id, event.timestamp, event.event_type)


def _unnamed(event: Event) -> Event:
    item_id, timestamp, _, event_type, request_id = event
    return Event(item_id, timestamp, None, event_type, request_id)
