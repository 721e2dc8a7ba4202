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

from collections.abc import Sequence
from contextlib import aclosing, suppress
from hashlib import sha1
from importlib.resources import files
from itertools import starmap
from typing import Any, Self
from urllib.parse import quote, unquote

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    NoScriptError,
    ResponseError,
)

from service.history.encoding import decode, encode, encoded_count, named_identity
from service.history.errors import (
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
from service.history.redis_calls import LINGER_S, RedisCalls, is_of_another_type, refusal
from service.redis_client import connect

DEFAULT_TTL_S = 90 * 24 * 3600
"""Chosen: a user who comes back within a season finds the history."""
DEFAULT_TIMEOUT_S = 0.25
"""Of a call. Chosen: a request that waits longer is better answered without its history."""
DEFAULT_MAX_CONNECTIONS = 64
"""As many as the largest batch has requests."""
DEFAULT_BUSY_S = 2.0
"""Longest wait for one of our connections; a recommendation waits as long as its deadline allows."""


_KEY_PREFIX = "dimerec:history:1:"
_IMPORT_PREFIX = "dimerec:import:1:"
_IMPORT_TTL_S = 7 * 24 * 3600
"""In which a broken import may go on; what it began is then forgotten."""
_SCAN_KEYS = 1_000
"""A step of SCAN; Redis answers others between two of them."""


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
    that takes longer than `timeout_s` seconds raises HistoryUnavailableError; one that waits `busy_s` before
    that, for one of `max_connections`, raises HistoryBusyError.

    Nobody waits longer than that, but what was begun goes on (`service.history.redis_calls`).
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        ttl_s: float = DEFAULT_TTL_S,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        busy_s: float = DEFAULT_BUSY_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ) -> None:
        self._client: Any = client
        self._max_events = max_events
        self._ttl_ms = int(ttl_s * 1000)
        self._calls = RedisCalls(timeout_s, busy_s, max_connections)

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
            connect(url, timeout_s + LINGER_S, max_connections),
            max_events=max_events,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    @property
    def busy(self) -> bool:
        """True where all connections are in use."""
        return self._calls.busy

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """Add events to one user's history, all or none of them."""
        arguments = self._append_call(user_id, events)
        if not events:
            return AppendResult()

        async def call() -> AppendResult:
            return _result(await self._run(_APPEND, *arguments), len(events))

        return await self._calls.make(call)

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """Add events of many users in one round trip; each user gets all or none of theirs."""
        grouped = by_user(events)
        arguments = list(starmap(self._append_call, grouped.items()))

        async def call() -> AppendResult:
            replies = await self._pipeline("EVALSHA", [(_APPEND.sha1, *one) for one in arguments])
            unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            again = await self._pipeline("EVAL", [(_APPEND.text, *arguments[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            counted = zip(replies, grouped.values(), strict=True)
            return sum((_result(reply, len(of_user)) for reply, of_user in counted), AppendResult())

        return await self._calls.make(call)

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """The newest `limit` events of a user, oldest first; empty for an unknown user."""
        check_user(user_id)
        check_limit(limit)
        key = _key(user_id)

        async def call() -> list[Event]:
            return self._decoded(await self._client.get(key), limit)

        return await self._calls.make(call)

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        """As `read` for many users in one round trip; an error in the place of a user whose own it is."""
        check_limit(limit)
        for user_id in user_ids:
            check_user(user_id)
        keys = [(_key(user_id),) for user_id in user_ids]

        async def call() -> list[list[Event] | HistoryUnavailableError]:
            replies = await self._pipeline("GET", keys)
            return [self._of_one(reply, limit) for reply in replies]

        return await self._calls.make(call)

    async def remove(self, user_id: str, event_id: str) -> int:
        """Take back the event that was added under this `event_id`; the number of events removed, 0 or 1."""
        check_user(user_id)
        check_event_id(event_id)
        key, identity = _key(user_id), named_identity(event_id)

        async def call() -> int:
            return int(await self._run(_REMOVE, 1, key, identity))

        return await self._calls.make(call)

    async def forget(self, user_id: str) -> int:
        """Delete all that is kept of a user; the number of events that were deleted.

        What cannot be read, of whatever type, goes as well, and counts as no event.
        """
        check_user(user_id)
        key = _key(user_id)

        async def call() -> int:
            try:
                history = await self._client.getdel(key)
            except ResponseError as error:
                if not is_of_another_type(error):
                    raise
                await self._client.delete(key)
                return 0
            with suppress(HistoryUnreadableError):
                return encoded_count(history) if history is not None else 0
            return 0

        return await self._calls.make(call)

    async def users(self, limit: int) -> list[str]:
        """Up to `limit` ids of users who have a history, found by a scan that ends when they are."""
        check_limit(limit)

        async def call() -> list[str]:
            found: set[str] = set()
            async with aclosing(self._client.scan_iter(f"{_KEY_PREFIX}*", _SCAN_KEYS)) as keys:
                while len(found) < limit and (key := await anext(keys, None)) is not None:
                    if (user_id := _user(key)) is not None:
                        found.add(user_id)
            return sorted(found)

        return await self._calls.make(call)

    async def import_progress(self, job: str) -> int:
        """Number of users of an import that are done; 0 for one that is new or complete."""
        key = _key(job, _IMPORT_PREFIX)

        async def call() -> int:
            return int(await self._client.get(key) or 0)

        return await self._calls.make(call)

    async def note_import_progress(self, job: str, users: int | None) -> None:
        """Note how many users of an import are done; None: it is complete."""
        key = _key(job, _IMPORT_PREFIX)

        async def call() -> None:
            if users is None:
                await self._client.delete(key)
            else:
                await self._client.set(key, users, ex=_IMPORT_TTL_S)

        await self._calls.make(call)

    async def ping(self) -> None:
        """A check that Redis answers."""
        await self._calls.make(self._client.ping)

    async def close(self) -> None:
        """Close all connections; trouble with one that is gone already is none."""
        await self._calls.close()
        with suppress(HistoryUnavailableError):
            await self._calls.edge(self._client.aclose)

    def _append_call(self, user_id: str, events: Sequence[Event]) -> tuple[int, str, int, int, bytes]:
        check_user(user_id)
        check_events(events)
        return 1, _key(user_id), self._max_events, self._ttl_ms, encode(events)

    async def _run(self, script: _Script, *call: Any) -> Any:
        try:
            return await self._client.evalsha(script.sha1, *call)
        except NoScriptError:
            return await self._client.eval(script.text, *call)

    async def _pipeline(self, command: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not calls:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(command, *call)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    def _decoded(self, history: Any, limit: int) -> list[Event]:
        return decode(history, min(limit, self._max_events)) if history is not None else []

    def _of_one(self, reply: Any, limit: int) -> list[Event] | HistoryUnavailableError:
        """The history of one user among many, or what is wrong with it alone."""
        try:
            if isinstance(reply, Exception):
                raise reply
            return self._decoded(reply, limit)
        except HistoryUnreadableError as error:
            return error
        except ResponseError as error:
            return refusal(error)


def _key(user_or_job: str, prefix: str = _KEY_PREFIX) -> str:
    return f"{prefix}{{{quote(user_or_job, safe='')}}}"


def _user(key: bytes) -> str | None:
    """The user whose key it is; None for one that we never write, whoever does."""
    quoted = key[len(_KEY_PREFIX) + 1 : -1].decode(errors="replace")
    user_id = unquote(quoted)
    return user_id if user_id and _key(user_id).encode() == key else None


def _result(counts: Sequence[int], given: int) -> AppendResult:
    added, outdated = counts
    return AppendResult(added, given - added - outdated, outdated)
