"""Histories in Redis: one key per user, every command one round trip.

Keys and lifetimes, all of them:

| key                          | value                   | lifetime                          |
|------------------------------|-------------------------|-----------------------------------|
| `dimerec:history:1:{<user>}` | events, see encoding.py | `ttl_s` from the latest append    |
| `dimerec:import:1:{<job>}`   | users imported          | a week from the latest step       |

The user id is percent-encoded, so that nothing a caller sends can leave the hash tag `{…}`, which places the
key in a cluster. The 1 is the version of the value's form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha1
from importlib.resources import files
from itertools import starmap
from typing import Any, Self
from urllib.parse import quote, unquote

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from service.history.encoding import decode, encode, encoded_count, named_identity
from service.history.errors import (
    HistoryBusyError,
    HistoryError,
    HistoryUnavailableError,
    HistoryUnreadableError,
)
from service.history.protocol import (
    DEFAULT_MAX_EVENTS,
    AppendResult,
    Event,
    by_user,
    check_event_id,
    check_events,
    check_limit,
    check_user,
)
from service.redis_client import connect

DEFAULT_TTL_S = 90 * 24 * 3600
DEFAULT_TIMEOUT_S = 0.25
DEFAULT_MAX_CONNECTIONS = 64

_KEY_PREFIX = "dimerec:history:1:"
_IMPORT_PREFIX = "dimerec:import:1:"
_IMPORT_TTL_S = 7 * 24 * 3600
_SCAN_KEYS = 1_000


class _Script:
    """A Lua script that Redis runs as one step, known to it by the digest of its text."""

    def __init__(self, name: str) -> None:
        parts = (files("service.history").joinpath(part) for part in ("columns.lua", name))
        self.text = "".join(part.read_text() for part in parts)
        self.sha1 = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_APPEND = _Script("append.lua")
_REMOVE = _Script("remove.lua")


class RedisHistory:
    """A HistoryStore in Redis.

    `max_events` are kept a user; a history that gets no event for `ttl_s` seconds disappears. A call to Redis
    that takes longer than `timeout_s` seconds raises HistoryUnavailableError; one that waits as long before
    that, for one of `max_connections`, raises HistoryBusyError.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        ttl_s: float = DEFAULT_TTL_S,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ) -> None:
        self._client: Any = client
        self._max_events = max_events
        self._ttl_ms = int(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._connections = asyncio.Semaphore(max_connections)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        ttl_s: float = DEFAULT_TTL_S,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ) -> Self:
        """A store at an address; address.py lists the schemes. Nothing is connected yet.

        Raises HistoryUrlError.
        """
        return cls(
            connect(url, timeout_s, max_connections),
            max_events=max_events,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """Add events to one user's history, all or none of them."""
        call = self._append_call(user_id, events)
        if not events:
            return AppendResult()
        async with self._bounded():
            counts = await self._run(_APPEND, *call)
            return _result(counts, len(events))

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """Add events of many users in one round trip; each user gets all or none of theirs."""
        grouped = by_user(events)
        calls = list(starmap(self._append_call, grouped.items()))
        async with self._bounded():
            replies = await self._pipeline("EVALSHA", _APPEND.sha1, calls)
            unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            again = await self._pipeline("EVAL", _APPEND.text, [calls[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            counted = zip(replies, grouped.values(), strict=True)
            return sum((_result(reply, len(of_user)) for reply, of_user in counted), AppendResult())

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """The newest `limit` events of a user, oldest first; empty for an unknown user."""
        check_user(user_id)
        check_limit(limit)
        key = _key(user_id)
        async with self._bounded():
            history = await self._client.get(key)
            return decode(history, min(limit, self._max_events)) if history is not None else []

    async def remove(self, user_id: str, event_id: str) -> int:
        """Take back the event that was added under this `event_id`; the number of events removed, 0 or 1."""
        check_user(user_id)
        check_event_id(event_id)
        key, identity = _key(user_id), named_identity(event_id)
        async with self._bounded():
            return int(await self._run(_REMOVE, 1, key, identity))

    async def forget(self, user_id: str) -> int:
        """Delete all that is kept of a user; the number of events that were deleted.

        What cannot be read, of whatever type, goes as well, and counts as no event.
        """
        check_user(user_id)
        key = _key(user_id)
        async with self._bounded():
            try:
                history = await self._client.getdel(key)
            except ResponseError as error:
                if not _is_of_another_type(error):
                    raise
                await self._client.delete(key)
                return 0
            with suppress(HistoryUnreadableError):
                return encoded_count(history) if history is not None else 0
            return 0

    async def users(self, limit: int) -> list[str]:
        """Up to `limit` ids of users who have a history, found by a scan that ends when they are."""
        check_limit(limit)
        found: set[str] = set()
        async with self._bounded(), aclosing(self._client.scan_iter(f"{_KEY_PREFIX}*", _SCAN_KEYS)) as keys:
            while len(found) < limit and (key := await anext(keys, None)) is not None:
                if (user_id := _user(key)) is not None:
                    found.add(user_id)
        return sorted(found)

    async def import_progress(self, job: str) -> int:
        """Number of users of an import that are done; 0 for one that is new or complete."""
        key = _key(job, _IMPORT_PREFIX)
        async with self._bounded():
            return int(await self._client.get(key) or 0)

    async def note_import_progress(self, job: str, users: int | None) -> None:
        """Note how many users of an import are done; None: it is complete."""
        key = _key(job, _IMPORT_PREFIX)
        async with self._bounded():
            if users is None:
                await self._client.delete(key)
            else:
                await self._client.set(key, users, ex=_IMPORT_TTL_S)

    async def ping(self) -> None:
        """A check that Redis answers."""
        async with self._bounded():
            await self._client.ping()

    async def close(self) -> None:
        """Close all connections; trouble with one that is gone already is none."""
        with suppress(HistoryUnavailableError):
            async with self._edge():
                await self._client.aclose()

    def _append_call(self, user_id: str, events: Sequence[Event]) -> tuple[int, str, int, int, bytes]:
        check_user(user_id)
        check_events(events)
        return 1, _key(user_id), self._max_events, self._ttl_ms, encode(events)

    async def _run(self, script: _Script, *call: Any) -> Any:
        try:
            return await self._client.evalsha(script.sha1, *call)
        except NoScriptError:
            return await self._client.eval(script.text, *call)

    async def _pipeline(self, command: str, script: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not calls:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(command, script, *call)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """One connection's turn at Redis, whose trouble is one of our errors."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connections.acquire()
        except TimeoutError as error:
            raise HistoryBusyError(
                f"all connections are in use for longer than {self._timeout_s * 1000:.0f} ms"
            ) from error
        try:
            async with self._edge():
                yield
        finally:
            self._connections.release()

    @asynccontextmanager
    async def _edge(self) -> AsyncIterator[None]:
        """Bound the time of what is inside, and map whatever it raises to our errors.

        Inside are the client's calls and the reading of what they gave. The checks of arguments, and the
        making of keys and values, stay outside: a mistake there is ours and is not to look like Redis' fault.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except HistoryError:
            raise
        except TimeoutError as error:
            raise HistoryUnavailableError(
                f"Redis did not answer within {self._timeout_s * 1000:.0f} ms"
            ) from error
        except (AuthenticationError, AuthorizationError) as error:
            raise HistoryUnavailableError(
                f"Redis refuses the user or password of its address, or needs one: {_one_line(error)}"
            ) from error
        except ResponseError as error:
            if _is_of_another_type(error) or "UNREADABLE" in str(error):
                raise HistoryUnreadableError("Redis holds something else under this user's key") from error
            raise HistoryUnavailableError(f"Redis refuses: {_one_line(error)}") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise HistoryUnavailableError(f"Redis is gone: {_one_line(error)}") from error
        # The client, its event loop and its parser raise more than they declare (TypeError, RuntimeError of a
        # closed transport, UnicodeDecodeError …), and none of it may fail a request that can do without.
        except Exception as error:
            fault = f"{type(error).__name__}: {_one_line(error)}"
            raise HistoryUnavailableError(f"the Redis client failed: {fault}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _key(user_or_job: str, prefix: str = _KEY_PREFIX) -> str:
    return f"{prefix}{{{quote(user_or_job, safe='')}}}"


def _user(key: bytes) -> str | None:
    """The user whose key it is; None for one that we never write, whoever does."""
    quoted = key[len(_KEY_PREFIX) + 1 : -1].decode(errors="replace")
    user_id = unquote(quoted)
    return user_id if user_id and _key(user_id).encode() == key else None


def _is_of_another_type(error: Exception) -> bool:
    return "WRONGTYPE" in str(error)


def _result(counts: Sequence[int], given: int) -> AppendResult:
    added, outdated = counts
    return AppendResult(added, given - added - outdated, outdated)
