"""Histories for recommendations: read within a deadline, in one call for many users, and never a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
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


class _Gathered(NamedTuple):
    """A call that is about to be made: whose histories, and what comes of it."""

    user_ids: dict[str, None]
    answers: asyncio.Future[Answers]


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
        self._gathered: _Gathered | None = None

    async def read(self, user_ids: Collection[str], within_s: float) -> dict[str, Known]:
        """The knowledge of each user after `within_s` at most; no call where nobody is asked for."""
        if not user_ids:
            return {}
        started = time.perf_counter()
        reading = self._gather(next(iter(user_ids))) if len(user_ids) == 1 else self._call(list(user_ids))
        try:
            await asyncio.wait({reading}, timeout=max(0.0, within_s))
        finally:
            self._metrics.observe_stage("history", 1000 * (time.perf_counter() - started))
        if not reading.done():
            fault: HistoryFault = "history_busy" if self._store.busy else "history_unavailable"
            return dict.fromkeys(user_ids, Known([], fault))
        try:
            answers = reading.result()
            return {user_id: self._known(answers[user_id]) for user_id in user_ids}
        except HistoryUnavailableError as error:
            return dict.fromkeys(user_ids, self._known(error))

    def _known(self, answer: list[Event] | HistoryUnavailableError) -> Known:
        if isinstance(answer, HistoryBusyError):
            return Known([], "history_busy")
        if isinstance(answer, HistoryUnavailableError):
            return Known([], "history_unavailable")
        positive, negative = self._meanings.judge(answer)
        return Known(positive, None, negative)

    def _gather(self, user_id: str) -> asyncio.Future[Answers]:
        """A call for this user and those that others ask for before it is made."""
        gathered = self._gathered
        if gathered is None or len(gathered.user_ids) >= MAX_TOGETHER:
            loop = asyncio.get_running_loop()
            gathered = self._gathered = _Gathered({}, loop.create_future())
            loop.call_soon(self._read_gathered, gathered)
        gathered.user_ids[user_id] = None
        return gathered.answers

    def _read_gathered(self, gathered: _Gathered) -> None:
        if self._gathered is gathered:
            self._gathered = None
        self._call(list(gathered.user_ids)).add_done_callback(partial(_hand_on, gathered.answers))

    def _call(self, user_ids: Sequence[str]) -> asyncio.Future[Answers]:
        async def read() -> Answers:
            return dict(zip(user_ids, await self._store.read_many(user_ids, self._max_events), strict=True))

        reading = asyncio.ensure_future(read())
        reading.add_done_callback(_see)
        return reading


def _see(reading: asyncio.Future[Answers]) -> None:
    """Its end is waited for by nobody where the deadline comes first, or the caller leaves."""
    if not reading.cancelled():
        reading.exception()


def _hand_on(answers: asyncio.Future[Answers], reading: asyncio.Future[Answers]) -> None:
    answers.add_done_callback(_see)
    if reading.cancelled():
        answers.cancel()
    elif (fault := reading.exception()) is not None:
        answers.set_exception(fault)
    else:
        answers.set_result(reading.result())
