"""Callers that hang up before their answer: what they asked for is dropped, wherever it waits."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from service.errors import ClientLeftError

WATCH_AFTER_S = 0.05
"""Nobody is watched before: most answers are there by then, and a watcher is a task more for each request."""

Result = TypeVar("Result")


async def unless_caller_leaves(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled, and so leaves the queue, when the caller hangs up.

    Raises ClientLeftError then.
    """
    watch = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.caller_left:
            raise ClientLeftError("the caller closed the connection") from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels the task in which it was made when the caller of `request` hangs up, until its end."""

    def __init__(self, request: Request) -> None:
        self.caller_left = False
        self._request = request
        self._working = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._start = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch)

    def end(self) -> None:
        """Watch no longer, and hold nothing: what holds itself waits for a full collection of garbage."""
        self._start.cancel()
        del self._start
        self._working = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _watch(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if self._working is not None:
            self.caller_left = True
            self._working.cancel()
