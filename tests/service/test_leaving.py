"""Watching callers that wait: nothing of it outlives the answer."""

import asyncio
import gc
import weakref

from fastapi import Request
from starlette.types import Message

from service.leaving import WATCH_AFTER_S, unless_caller_leaves


async def _silent() -> Message:
    return await asyncio.Future()


async def test_a_request_that_waited_is_gone_with_its_answer_and_is_no_garbage() -> None:
    """Forty objects of each that held one another made collections of 60 ms, in which nobody was answered."""
    request = Request({"type": "http"}, _silent)
    gone = weakref.ref(request)
    gc.disable()
    try:
        await unless_caller_leaves(request, asyncio.sleep(2 * WATCH_AFTER_S))
        del request
        await asyncio.sleep(WATCH_AFTER_S)  # for the watcher to end
        assert gone() is None
    finally:
        gc.enable()
