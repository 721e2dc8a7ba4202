"""The requests that are inside, and how long the event loop takes to get round to one of them.

A queue of the engine says nothing where the event loop has too much to do: then requests wait in the loop,
for each of their turns, and the engine idles. So those whose body is whole are counted until they are
answered, and it is measured how long one waits for its first turn beside so many others. Both is time of the
loop alone: none of it passes while Redis or the engine is waited for.
"""

import time

from starlette.types import ASGIApp, Receive, Scope, Send

TURNS = 12
"""Of the event loop from a request that is whole to its answer; counted, with a history in Redis."""

MAX_S = 0.2
"""Of the event loop for an answer, whatever the deadline. Chosen: to wait there gains nothing, and calls of
Redis, which have half of these turns, would take longer than they may (`DIMEREC_HISTORY_TIMEOUT_S`)."""

FADE = 0.98
"""Chosen, for a request: the last hundred count for most of what is known."""

COMPANY = 32
"""Chosen: with so few, a wait says more of the machine than of how many there are."""

WHOLE = "whole"
"""In a request's state: the moment at which its body was whole (`time.perf_counter`, s)."""


class Inside:
    """Counts requests that are inside, and predicts what the event loop takes for one more."""

    def __init__(self) -> None:
        self.count = 0
        self._waited_s = 0.0
        self._beside = COMPANY / (1 - FADE)  # as if many had come who did not wait: a start is slow

    def enter(self, state: dict[str, object]) -> None:
        """A request of this state is whole."""
        state[WHOLE] = time.perf_counter()
        self.count += 1

    def leave(self) -> None:
        """It has been answered."""
        self.count -= 1

    def note(self, waited_s: float) -> None:
        """One waited so long for its first turn, beside those that are inside now."""
        self._waited_s = FADE * self._waited_s + waited_s
        self._beside = FADE * self._beside + COMPANY + self.count

    def predicted_s(self) -> float:
        """The time that the event loop takes to answer one request beside those that are inside."""
        if self.count <= 1:
            return 0.0
        return TURNS * (COMPANY + self.count) * self._waited_s / self._beside


class Entered:
    """Around an app: notes the first turn of requests that are inside, and when they are answered."""

    def __init__(self, app: ASGIApp, inside: Inside) -> None:
        self._app = app
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        state = scope.get("state", {})
        if WHOLE in state:
            self._inside.note(time.perf_counter() - state[WHOLE])
        try:
            await self._app(scope, receive, send)
        finally:
            if WHOLE in state:
                self._inside.leave()
