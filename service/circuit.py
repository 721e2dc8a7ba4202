"""A circuit breaker, so that a neighbour that is gone costs requests nothing.

    closed ──N failures in a row──▶ open ──reset_s──▶ half open ──one call tried──▶ closed, or open again

While the circuit is open every call is refused at once. When it is half open, one call goes through as the
probe, and others are still refused until the probe has ended.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Literal, TypeVar

from service.errors import ServiceError

DEFAULT_FAILURES = 5
"""In a row. Chosen: one lost connection is no outage, and five waits of .25 s are soon over."""
DEFAULT_RESET_S = 2.0
"""Until the next try. Chosen: soon enough for a restart, seldom enough to spare who is down."""

Answer = TypeVar("Answer")
Verdict = Literal["failure", "answer", "nothing"]
"""Of an exception: the neighbour failed; it answered, if only to refuse; or it says nothing of it."""


class CircuitState(StrEnum):
    """State of a circuit: closed, calls reach the neighbour; open, they do not."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitOpenError(ServiceError):
    """The neighbour failed lately and is tried again in a moment."""


class Circuit:
    """Lets calls through as long as they do not fail.

    `failures` in a row open the circuit for `reset_s` seconds of `clock`. `judge` says what an exception of a
    call means; a cancelled call says nothing.
    """

    def __init__(
        self,
        judge: Callable[[Exception], Verdict],
        *,
        failures: int = DEFAULT_FAILURES,
        reset_s: float = DEFAULT_RESET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge = judge
        self._tolerated = failures
        self._reset_s = reset_s
        self._clock = clock
        self._failed = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> CircuitState:
        """State of the circuit; where it is half open, the next call is the probe."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        rested = self._clock() - self._opened_at >= self._reset_s
        return CircuitState.HALF_OPEN if rested else CircuitState.OPEN

    @property
    def lets_through(self) -> bool:
        """False where a call would be refused now."""
        state = self.state
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self._probing)

    async def call(self, function: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `function`, or what it raises; CircuitOpenError at once while the circuit is open."""
        probe = self.state is CircuitState.HALF_OPEN
        if not self.lets_through:
            raise CircuitOpenError("it failed lately and is tried again in a moment")
        self._probing = self._probing or probe
        verdict: Verdict = "nothing"
        try:
            answer = await function()
            verdict = "answer"
        except Exception as error:
            verdict = self._judge(error)
            raise
        finally:
            if probe:
                self._probing = False
            self._note(verdict, probe)
        return answer

    def _note(self, verdict: Verdict, probe: bool) -> None:
        # Calls that began before the circuit opened may end while it's open: only the probe's end counts
        # then.
        if verdict == "nothing" or not (probe or self._opened_at is None):
            return
        if verdict == "answer":
            self._failed = 0
            self._opened_at = None
            return
        self._failed += 1
        if probe or self._failed >= self._tolerated:
            self._failed = 0
            self._opened_at = self._clock()
