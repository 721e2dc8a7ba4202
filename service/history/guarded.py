"""A history store behind circuit breakers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar, get_args

from service.circuit import (
    DEFAULT_FAILURES,
    DEFAULT_RESET_S,
    Circuit,
    CircuitOpenError,
    CircuitState,
    Verdict,
)
from service.history.errors import HistoryBusyError, HistoryUnavailableError, HistoryUnreadableError
from service.history.protocol import AppendResult, Event, HistoryStore

FAILED_LATELY = "the history store failed lately and is tried again in a moment"

Answer = TypeVar("Answer")
Kind = Literal["read", "append", "remove", "forget"]


class GuardedHistory:
    """A HistoryStore that gives calls to another one as long as that one answers.

    Each kind of call has a circuit of its own: a store that is full or read-only refuses events and still
    serves histories. Only HistoryUnavailableError counts as a failure; a refused argument, a cancelled call,
    or one that never reached the store (HistoryBusyError) says nothing about it, nor does listing users: a
    scan may be slow where all else is quick. While a circuit is open its calls raise HistoryUnavailableError
    at once.
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
        self._circuits: dict[Kind, Circuit] = {
            kind: Circuit(_verdict, failures=failures, reset_s=reset_s, clock=clock)
            for kind in get_args(Kind)
        }

    def state(self, kind: Kind) -> CircuitState:
        """State of the circuit of that kind of call; where it is half open, the next call is the probe."""
        return self._circuits[kind].state

    @property
    def busy(self) -> bool:
        """As the store."""
        return self._store.busy

    @property
    def takes_events(self) -> bool:
        """False while the circuit of appending is open."""
        return self._circuits["append"].lets_through and self._store.takes_events

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("append", lambda: self._store.append(user_id, events))

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        """As the store's, or HistoryUnavailableError at once; a call that fails for all is a failure."""

        async def call() -> list[AppendResult | HistoryUnavailableError]:
            outcomes = await self._store.append_each(appends)
            failures = [one for one in outcomes if isinstance(one, Exception) and _verdict(one) == "failure"]
            if failures and len(failures) == len(outcomes):
                raise failures[0]
            return outcomes

        return await self._call("append", call)

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("append", lambda: self._store.append_many(events))

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("read", lambda: self._store.read(user_id, limit))

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("read", lambda: self._store.read_many(user_ids, limit))

    async def remove(self, user_id: str, event_id: str) -> int:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("remove", lambda: self._store.remove(user_id, event_id))

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """As the store's, or HistoryUnavailableError at once."""
        return await self._call("forget", lambda: self._store.forget(user_id, at_ms))

    async def users(self, limit: int) -> list[str]:
        """As the store's, or HistoryUnavailableError at once; whatever comes of it does not count."""
        if self.state("read") is CircuitState.OPEN:
            raise HistoryUnavailableError(FAILED_LATELY)
        return await self._store.users(limit)

    async def ping(self) -> None:
        """As the store's, or HistoryUnavailableError at once."""
        await self._call("read", self._store.ping)

    async def close(self) -> None:
        """Close the store, whatever the circuit's state."""
        await self._store.close()

    async def _call(self, kind: Kind, call: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await self._circuits[kind].call(call)
        except CircuitOpenError as error:
            raise HistoryUnavailableError(FAILED_LATELY) from error


def _verdict(error: Exception) -> Verdict:
    match error:
        case HistoryBusyError():
            return "nothing"
        case HistoryUnreadableError():
            return "answer"
        case HistoryUnavailableError():
            return "failure"
    return "nothing"
