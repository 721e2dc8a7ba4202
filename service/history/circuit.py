"""A circuit breaker around a history store, so that a store that is gone costs requests nothing.

    closed ──N failures in a row──▶ open ──reset_s──▶ half open ──one call tried──▶ closed, or open again

While the circuit is open every call raises HistoryUnavailable at once. When it's half open, one call goes
through as the probe, and others still fail at once until the probe has ended.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from service.history.errors import HistoryBusy, HistoryUnavailable, HistoryUnreadable
from service.history.protocol import AppendResult, Event, HistoryStore

DEFAULT_FAILURES = 5
DEFAULT_RESET_S = 2.0

_REFUSAL = "the history store failed lately and is tried again in a moment"

Answer = TypeVar("Answer")


class CircuitState(StrEnum):
    """Whether calls reach the store."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """A HistoryStore that gives calls to another one as long as that one answers.

    `failures` in a row open the circuit for `reset_s` seconds of `clock`. Only HistoryUnavailable counts;
    a refused argument, a cancelled call, or one that never reached the store (HistoryBusy) says nothing about
    it, nor does listing users: a scan may be slow where all else is quick.
    """

    def __init__(
        self,
        store: HistoryStore,
        *,
        failures: int = DEFAULT_FAILURES,
        reset_s: float = DEFAULT_RESET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._tolerated = failures
        self._reset_s = reset_s
        self._clock = clock
        self._failed = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> CircuitState:
        """Whether the next call reaches the store (half open: as the probe)."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        rested = self._clock() - self._opened_at >= self._reset_s
        return CircuitState.HALF_OPEN if rested else CircuitState.OPEN

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """As the store's, or HistoryUnavailable at once."""
        return await self._call(lambda: self._store.append(user_id, events))

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """As the store's, or HistoryUnavailable at once."""
        return await self._call(lambda: self._store.append_many(events))

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """As the store's, or HistoryUnavailable at once."""
        return await self._call(lambda: self._store.read(user_id, limit))

    async def remove(self, user_id: str, event_id: str) -> int:
        """As the store's, or HistoryUnavailable at once."""
        return await self._call(lambda: self._store.remove(user_id, event_id))

    async def forget(self, user_id: str) -> int:
        """As the store's, or HistoryUnavailable at once."""
        return await self._call(lambda: self._store.forget(user_id))

    async def users(self, limit: int) -> list[str]:
        """As the store's, or HistoryUnavailable at once; whatever comes of it does not count."""
        if self.state is CircuitState.OPEN:
            raise HistoryUnavailable(_REFUSAL)
        return await self._store.users(limit)

    async def ping(self) -> None:
        """As the store's, or HistoryUnavailable at once."""
        await self._call(self._store.ping)

    async def close(self) -> None:
        """Close the store, whatever the circuit's state."""
        await self._store.close()

    async def _call(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        state = self.state
        probe = state is CircuitState.HALF_OPEN
        if state is CircuitState.OPEN or (probe and self._probing):
            raise HistoryUnavailable(_REFUSAL)
        self._probing = self._probing or probe
        try:
            answer = await call()
        except HistoryBusy:
            raise
        except HistoryUnreadable:
            self._note_answer(probe)
            raise
        except HistoryUnavailable:
            self._note_failure(probe)
            raise
        finally:
            if probe:
                self._probing = False
        self._note_answer(probe)
        return answer

    # Calls that began before the circuit opened may end while it's open: only the probe's end counts then.

    def _note_answer(self, probe: bool) -> None:
        if probe or self._opened_at is None:
            self._failed = 0
            self._opened_at = None

    def _note_failure(self, probe: bool) -> None:
        if probe:
            self._opened_at = self._clock()
        elif self._opened_at is None:
            self._failed += 1
            if self._failed >= self._tolerated:
                self._opened_at = self._clock()
