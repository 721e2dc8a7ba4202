"""The edge of Redis: calls bounded in time and number, and whatever they raise made one of our errors.

Nobody waits for a call longer than its timeout. Yet the call goes on for `LINGER_S` more: a connection is
then made that the next calls use, or an answer comes late and is thrown away. To give up a call in the
middle would cost the connection that it uses, and making another takes longer than any call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from service.history.errors import (
    HistoryBusyError,
    HistoryError,
    HistoryUnavailableError,
    HistoryUnreadableError,
)

LINGER_S = 2.0
"""Time for connecting, and for an answer that nobody waits for any more."""

GRACE_TURNS = 4
"""Of the event loop, after the time of a call has passed; counted: an answer that has come is read in two."""

Answer = TypeVar("Answer")


class RedisCalls:
    """Calls of which at most `max_connections` go on at once.

    One is waited for `timeout_s`; before that, for its turn, `busy_s`.
    """

    def __init__(self, timeout_s: float, busy_s: float, max_connections: int) -> None:
        self._timeout_s = timeout_s
        self._busy_s = busy_s
        self._connections = asyncio.Semaphore(max_connections)
        self._working: set[asyncio.Future[Any]] = set()

    @property
    def in_use(self) -> int:
        """Connections that calls are using, those included that nobody waits for any more."""
        return len(self._working)

    @property
    def busy(self) -> bool:
        """True where all connections are in use."""
        return self._connections.locked()

    async def make(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call, which has a connection's turn at Redis and goes on by itself if it is late.

        Raises HistoryBusyError where no turn came, else whatever `edge` does.
        """
        await self._turn()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        working = asyncio.ensure_future(self._work(call, waiting))
        self._working.add(working)
        working.add_done_callback(self._end)
        late = loop.call_later(self._timeout_s, self._give_up, waiting)
        try:
            return await waiting
        finally:
            late.cancel()

    async def _turn(self) -> None:
        """Wait for a connection's turn. Raises HistoryBusyError."""
        if not self._connections.locked():
            await self._connections.acquire()
            return
        try:
            async with asyncio.timeout(self._busy_s):
                await self._connections.acquire()
        except TimeoutError as error:
            raise HistoryBusyError(
                f"all connections are in use for longer than {self._busy_s * 1000:.0f} ms"
            ) from error

    async def _work(self, call: Callable[[], Awaitable[Answer]], waiting: asyncio.Future[Answer]) -> None:
        """Make the call, and tell who waits for it still."""
        try:
            answer = await self.edge(call)
        except HistoryError as error:
            if not waiting.done():
                waiting.set_exception(error)
        else:
            if not waiting.done():
                waiting.set_result(answer)
        finally:
            waiting.cancel()  # where the call itself was

    def _give_up(self, waiting: asyncio.Future[Answer], turns: int = GRACE_TURNS) -> None:
        """Wait no longer, but for turns of the event loop in which an answer that has come is read.

        Where the loop is late, the answer may have been there in time.
        """
        if waiting.done():
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._give_up, waiting, turns - 1)
        else:
            waiting.set_exception(self._late())

    def _end(self, call: asyncio.Future[Any]) -> None:
        self._connections.release()
        self._working.discard(call)

    async def edge(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of the call, whose time is bounded, and which raises nothing but our errors.

        In the call are the client's calls and the reading of what they gave. The checks of arguments, and the
        making of keys and values, stay outside: a mistake there is ours and is not to look like Redis' fault.
        """
        try:
            async with asyncio.timeout(self._timeout_s + LINGER_S):
                return await call()
        except HistoryError:
            raise
        except TimeoutError as error:
            raise self._late() from error
        except (AuthenticationError, AuthorizationError) as error:
            raise HistoryUnavailableError(
                f"Redis refuses the user or password of its address, or needs one: {_one_line(error)}"
            ) from error
        except ResponseError as error:
            raise refusal(error) from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise HistoryUnavailableError(f"Redis is gone: {_one_line(error)}") from error
        # The client, its event loop and its parser raise more than they declare (TypeError, RuntimeError of a
        # closed transport, UnicodeDecodeError …), and none of it may fail a request that can do without.
        except Exception as error:
            fault = f"{type(error).__name__}: {_one_line(error)}"
            raise HistoryUnavailableError(f"the Redis client failed: {fault}") from error

    async def close(self) -> None:
        """End the calls that go on."""
        for call in self._working:
            call.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    def _late(self) -> HistoryUnavailableError:
        return HistoryUnavailableError(f"Redis did not answer within {self._timeout_s * 1000:.0f} ms")


def refusal(error: ResponseError) -> HistoryUnavailableError:
    """Our error for what Redis answers instead of doing it."""
    if is_of_another_type(error) or "UNREADABLE" in str(error):
        return HistoryUnreadableError("Redis holds something else under this user's key")
    return HistoryUnavailableError(f"Redis refuses: {_one_line(error)}")


def is_of_another_type(error: Exception) -> bool:
    """True where Redis says that the key holds another type of value."""
    return "WRONGTYPE" in str(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
