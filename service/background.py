"""Tasks that go on beside requests."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("dimerec.service")

Task = Callable[[], Coroutine[Any, Any, None]]


def begun(task: Task) -> asyncio.Task[None]:
    """A task in the background; the log says so if it ends by an error."""
    running = asyncio.create_task(task())
    running.add_done_callback(_tell_failure)
    return running


def _tell_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("a task in the background failed", exc_info=error)
