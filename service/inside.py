"""The requests that are inside, and how long the event loop takes to get round to one of them.

A queue of the engine says nothing where the event loop has too much to do: then requests wait in the loop,
for each of their turns, and the engine idles. So those whose body is whole are counted until they are
answered, and it is measured how long one waits for its first turn beside so many others. Both is time of the
loop alone: none of it passes while Redis or the engine is waited for.
"""

import math
import time

from starlette.types import ASGIApp, Receive, Scope, Send

TURNS = 12
"""Of the event loop from a request that is whole to its answer; counted, with a history in Redis."""

MAX_S = 0.4
"""Of the event loop for an answer, whatever the deadline. Chosen: to wait there for longer gains nothing."""

MEMORY_S = 0.2
"""Chosen: what is older counts for little. A hundred waits or more under load, some batches."""

COMPANY = 128
"""Chosen: two batches, one that is computed and one that waits. They are always let in: what a few wait says
more of the machine than of how many they are (refusals, and other processes, make turns long by themselves),
and callers who come back at once after a refusal would keep the door shut while the engine idles."""

NOBODY = 10 * COMPANY
"""As if ten had come who did not wait: a few waits say little."""

WHOLE = "whole"
"""In a request's state: the moment at which its body was whole (`time.perf_counter`, s)."""


BEGUN = "begun"
"""In a request's state once it has had its first turn, perhaps before its body was whole."""


class Inside:
    """Counts requests that are inside, and predicts what the event loop takes for one more."""

    def __init__(self) -> None:
        self.count = 0
        self.coming = 0
        """Those of them that have not had their first turn."""
        self._waited_s = 0.0
        self._beside = 0.0
        self._noted_at = time.perf_counter()

    def enter(self, state: dict[str, object]) -> None:
        """A request of this state is whole."""
        state[WHOLE] = time.perf_counter()
        self.count += 1
        self.coming += BEGUN not in state

    def begin(self, waited_s: float) -> None:
        """One has its first turn after so long."""
        self.coming -= 1
        self.note(waited_s)

    def leave(self) -> None:
        """It has been answered."""
        self.count -= 1

    def note(self, waited_s: float) -> None:
        """One waited so long for its first turn, beside those that are inside now."""
        now = time.perf_counter()
        kept = math.exp((self._noted_at - now) / MEMORY_S)
        self._noted_at = now
        self._waited_s = kept * self._waited_s + waited_s
        self._beside = kept * self._beside + COMPANY + self.count

    @property
    def is_crowded(self) -> bool:
        """True where more are inside than are always let in."""
        return self.count > COMPANY

    @property
    def is_late(self) -> bool:
        """True where one more would wait too long, whatever its deadline."""
        return self.predicted_s() > MAX_S

    def predicted_s(self) -> float:
        """The time that the event loop takes to answer one request beside those that are inside."""
        if not self.is_crowded:
            return 0.0
        return TURNS * (COMPANY + self.count) * self._waited_s / (self._beside + NOBODY)


class Entered:
    """Around an app: notes the first turn of requests that are inside, and when they are answered."""

    def __init__(self, app: ASGIApp, inside: Inside) -> None:
        self._app = app
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        state = scope.get("state", {})
        if scope["type"] == "http":  # the state of a start is copied into that of every request
            state[BEGUN] = True
        if WHOLE in state:
            self._inside.begin(time.perf_counter() - state[WHOLE])
        try:
            await self._app(scope, receive, send)
        finally:
            if WHOLE in state:
                self._inside.leave()
