"""A history store whose calls are timed, and whose failures are counted and told."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog

from service.history.errors import HistoryUnavailableError
from service.history.protocol import AppendResult, Event, HistoryStore
from service.telemetry import Metrics

log = structlog.get_logger("dimerec.history")

Answer = TypeVar("Answer")


class ObservedHistory:
    """Any HistoryStore, observed; its errors go on as they are."""

    def __init__(self, store: HistoryStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    @property
    def busy(self) -> bool:
        """As the store."""
        return self._store.busy

    @property
    def takes_events(self) -> bool:
        """As the store."""
        return self._store.takes_events

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """As the store's."""
        return await self._observed("append", self._store.append(user_id, events))

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        """As the store's."""
        outcomes = await self._observed("append", self._store.append_each(appends))
        self._note_each("append", outcomes)
        return outcomes

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """As the store's."""
        return await self._observed("append", self._store.append_many(events))

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """As the store's."""
        return await self._observed("read", self._store.read(user_id, limit))

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        """As the store's."""
        answers = await self._observed("read", self._store.read_many(user_ids, limit))
        self._note_each("read", answers)
        return answers

    async def remove(self, user_id: str, event_id: str) -> int:
        """As the store's."""
        return await self._observed("remove", self._store.remove(user_id, event_id))

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """As the store's."""
        return await self._observed("forget", self._store.forget(user_id, at_ms))

    async def users(self, limit: int) -> list[str]:
        """As the store's."""
        return await self._observed("users", self._store.users(limit))

    async def ping(self) -> None:
        """As the store's."""
        await self._observed("ping", self._store.ping())

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    async def _observed(self, operation: str, call: Awaitable[Answer]) -> Answer:
        started = time.perf_counter()
        try:
            return await call
        except HistoryUnavailableError as error:
            self._note(operation, error)
            raise
        finally:
            self._metrics.history_calls.labels(operation).observe(time.perf_counter() - started)

    def _note_each(self, operation: str, outcomes: Sequence[object]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, HistoryUnavailableError):
                self._note(operation, outcome)

    def _note(self, operation: str, error: HistoryUnavailableError) -> None:
        self._metrics.history_failed(operation)
        log.warning("history unavailable", operation=operation, reason=str(error))
