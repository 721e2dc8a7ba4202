"""Histories for recommendations: read within a deadline, in one call for many users, and never a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Literal, NamedTuple

from service.history.errors import HistoryBusyError, HistoryUnavailableError
from service.history.protocol import Event, HistoryStore
from service.telemetry import Metrics

HistoryFault = Literal["history_unavailable", "history_busy"]
"""The store did not answer; or all our connections to it were in use, which says nothing of the store."""


class Known(NamedTuple):
    """Facts about a user: items watched, oldest first, and the fault that kept them from being read."""

    stored: list[str]
    fault: HistoryFault | None = None


NOBODY = Known([])


class HistoryReader:
    """Reads the newest `max_events` of users from a store; its trouble becomes a fault of the users' own."""

    def __init__(self, store: HistoryStore, metrics: Metrics, max_events: int) -> None:
        self._store = store
        self._metrics = metrics
        self._max_events = max_events

    async def read(self, user_ids: Collection[str], within_s: float) -> dict[str, Known]:
        """The knowledge of each user after `within_s` at most; no call where nobody is asked for."""
        if not user_ids:
            return {}
        started = time.perf_counter()
        reading = asyncio.ensure_future(self._store.read_many(list(user_ids), self._max_events))
        # Its end is waited for by nobody where the deadline comes first, or the caller leaves.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({reading}, timeout=max(0.0, within_s))
        finally:
            self._metrics.observe_stage("history", 1000 * (time.perf_counter() - started))
        if not reading.done():
            fault: HistoryFault = "history_busy" if self._store.busy else "history_unavailable"
            return dict.fromkeys(user_ids, Known([], fault))
        try:
            return dict(zip(user_ids, map(_known, reading.result()), strict=True))
        except HistoryUnavailableError as error:
            return dict.fromkeys(user_ids, _known(error))


def _known(answer: list[Event] | HistoryUnavailableError) -> Known:
    if isinstance(answer, HistoryBusyError):
        return Known([], "history_busy")
    if isinstance(answer, HistoryUnavailableError):
        return Known([], "history_unavailable")
    return Known([event.item_id for event in answer])
