"""One call for all who ask at once, where its answer must not be older than the question."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Outcome = TypeVar("Outcome")


class SharedCall(Generic[Outcome]):
    """Calls of `make`, one at a time."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Outcome]]) -> None:
        self._make = make
        self._running: asyncio.Task[Outcome] | None = None

    async def outcome(self) -> Outcome:
        """The outcome of a call that begins from now on; it goes on where the caller leaves."""
        if self._running is not None and not self._running.done():
            await asyncio.wait({self._running})  # it may have begun before what is asked about
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._make())
            self._running.add_done_callback(_forget)
        return await asyncio.shield(self._running)


def _forget(call: asyncio.Task[Any]) -> None:
    """Take note of a failure: it may be that nobody waits for it any more."""
    if not call.cancelled():
        call.exception()
