"""Histories for recommendations: read within a deadline, in one call for many users, and never a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from service.history.errors import HistoryBusyError, HistoryUnavailableError
from service.history.meanings import Meanings
from service.history.protocol import Event, HistoryStore
from service.telemetry import Metrics

HistoryFault = Literal["history_unavailable", "history_busy"]
"""The store did not answer; or all our connections to it were in use, which says nothing of the store."""


class Known(NamedTuple):
    """Facts about a user: items watched, oldest first, and those not wanted; the fault that hid them."""

    stored: list[str]
    fault: HistoryFault | None = None
    negative: Sequence[str] = ()


NOBODY = Known([])


Answers = Mapping[str, list[Event] | HistoryUnavailableError]

MAX_TOGETHER = 64
"""Users of one call that others asked for; as many as the largest batch has requests."""


class _Call(NamedTuple):
    """A call for some users, and those who wait for it; None for who waited long enough."""

    user_ids: dict[str, None]
    waiting: list[asyncio.Future[Answers | None]]


class HistoryReader:
    """Reads the newest `max_events` of users from a store; its trouble becomes a fault of the users' own.

    Histories that are wanted in the same turn of the event loop are read in one call: it costs the loop
    hardly more than that of one of them, and the more there is to do, the more come together.
    """

    def __init__(self, store: HistoryStore, metrics: Metrics, max_events: int, meanings: Meanings) -> None:
        self._store = store
        self._meanings = meanings
        self._metrics = metrics
        self._max_events = max_events
        self._gathered: _Call | None = None
        self._calls: set[asyncio.Future[None]] = set()

    async def read(self, user_ids: Collection[str], within_s: float) -> dict[str, Known]:
        """The knowledge of each user after `within_s` at most; no call where nobody is asked for."""
        if not user_ids:
            return {}
        started = time.perf_counter()
        call = self._gather(next(iter(user_ids))) if len(user_ids) == 1 else self._begin(user_ids)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answers | None] = loop.create_future()
        call.waiting.append(waiting)
        late = loop.call_later(max(0.0, within_s), _settle, waiting, None)
        try:
            answers = await waiting
        finally:
            late.cancel()
            self._metrics.observe_stage("history", 1000 * (time.perf_counter() - started))
        if answers is None:
            fault: HistoryFault = "history_busy" if self._store.busy else "history_unavailable"
            return dict.fromkeys(user_ids, Known([], fault))
        return {user_id: self._known(answers[user_id]) for user_id in user_ids}

    def _known(self, answer: list[Event] | HistoryUnavailableError) -> Known:
        if isinstance(answer, HistoryBusyError):
            return Known([], "history_busy")
        if isinstance(answer, HistoryUnavailableError):
            return Known([], "history_unavailable")
        positive, negative = self._meanings.judge(answer)
        return Known(positive, None, negative)

    def _gather(self, user_id: str) -> _Call:
        """A call for this user and those that others ask for before it is made."""
        if self._gathered is None or len(self._gathered.user_ids) >= MAX_TOGETHER:
            self._gathered = self._begin(())
        self._gathered.user_ids[user_id] = None
        return self._gathered

    def _begin(self, user_ids: Iterable[str]) -> _Call:
        """A call that is made in the next turn of the event loop, waited for or not."""
        call = _Call(dict.fromkeys(user_ids), [])
        making = asyncio.ensure_future(self._make(call))
        self._calls.add(making)
        making.add_done_callback(partial(self._end, call))
        return call

    async def _make(self, call: _Call) -> None:
        if self._gathered is call:
            self._gathered = None
        user_ids = list(call.user_ids)
        answers: Answers
        try:
            read = await self._store.read_many(user_ids, self._max_events)
            answers = dict(zip(user_ids, read, strict=True))
        except HistoryUnavailableError as error:
            answers = dict.fromkeys(user_ids, error)
        for waiting in call.waiting:
            _settle(waiting, answers)

    def _end(self, call: _Call, making: asyncio.Future[None]) -> None:
        """Tell what was not expected to who still waits."""
        self._calls.discard(making)
        error = None if making.cancelled() else making.exception()
        for waiting in call.waiting:
            if error is None:
                waiting.cancel()  # no more than that where it is answered
            elif not waiting.done():
                waiting.set_exception(error)


def _settle(waiting: asyncio.Future[Answers | None], answers: Answers | None) -> None:
    if not waiting.done():
        waiting.set_result(answers)
