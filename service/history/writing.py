"""Changes of histories by callers: events of one turn of the event loop are appended in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from service.history.errors import HistoryUnavailableError
from service.history.protocol import AppendResult, Event, HistoryStore, check_events, check_user

MAX_TOGETHER = 64
"""Events of one call that others sent; as many as histories are read together (`reading`)."""

Outcome = AppendResult | HistoryUnavailableError


class _Sent(NamedTuple):
    """An event on its way, and what becomes of it."""

    user_id: str
    event: Event
    outcome: asyncio.Future[AppendResult]


class HistoryWriter:
    """Changes histories in a store.

    Single events that come in the same turn of the event loop are appended in one call, in their order: it
    costs the loop hardly more than that of one of them. Each has an outcome of its own; a call that fails is
    one failure to the store's circuit, and told to all whose it was. An event whose caller has left is stored
    all the same.
    """

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._gathered: list[_Sent] | None = None

    @property
    def takes_events(self) -> bool:
        """As the store."""
        return self._store.takes_events

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """As the store's."""
        if len(events) != 1:
            return await self._store.append_many(events)
        [(user_id, event)] = events
        check_user(user_id)  # here, since a bad argument would fail the events of others, too
        check_events([event])
        gathered = self._gathered
        loop = asyncio.get_running_loop()
        if gathered is None or len(gathered) >= MAX_TOGETHER:
            gathered = self._gathered = []
            loop.call_soon(self._append, gathered)
        outcome: asyncio.Future[AppendResult] = loop.create_future()
        gathered.append(_Sent(user_id, event, outcome))
        return await outcome

    async def remove(self, user_id: str, event_id: str) -> int:
        """As the store's."""
        return await self._store.remove(user_id, event_id)

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """As the store's."""
        return await self._store.forget(user_id, at_ms)

    def _append(self, gathered: list[_Sent]) -> None:
        if self._gathered is gathered:
            self._gathered = None

        async def append() -> Sequence[Outcome]:
            return await self._store.append_each([(one.user_id, [one.event]) for one in gathered])

        def hand_on(appending: asyncio.Future[Sequence[Outcome]]) -> None:
            error = None if appending.cancelled() else appending.exception()  # even where all have left
            for index, one in enumerate(gathered):
                if one.outcome.done():  # its caller has left
                    continue
                if appending.cancelled():
                    one.outcome.cancel()
                    continue
                outcome = error or appending.result()[index]
                if isinstance(outcome, AppendResult):
                    one.outcome.set_result(outcome)
                else:
                    one.outcome.set_exception(outcome)

        asyncio.ensure_future(append()).add_done_callback(hand_on)
