"""Histories in Redis: one key per user, every command one round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple, Self

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError

from files.clock import now_ms
from service.history.appending import RedisAppends, prepared
from service.history.encoding import decode, encoded_count, named_identity, read_event
from service.history.errors import HistoryUnavailableError, HistoryUnreadableError
from service.history.forgetting import RedisMarks
from service.history.protocol import (
    DEFAULT_MAX_EVENTS,
    AppendResult,
    Event,
    HistoryListener,
    by_user,
    check_event_id,
    check_limit,
    check_user,
)
from service.history.redis_calls import LINGER_S, RedisCalls, is_of_another_type, refusal
from service.history.redis_keys import HISTORIES, IMPORT_TTL_S, history_key, import_key, user_of
from service.history.scripts import REMOVE
from service.redis_client import connect, infos

DEFAULT_TTL_S = 90 * 24 * 3600
"""Chosen: a user who comes back within a season finds the history."""
DEFAULT_TIMEOUT_S = 0.25
"""Of a call. Chosen: a request that waits longer is better answered without its history."""
DEFAULT_MAX_CONNECTIONS = 64
"""As many as the largest batch has requests."""
DEFAULT_BUSY_S = 2.0
"""Longest wait for one of our connections; a recommendation waits as long as its deadline allows."""

DAY_MS = 86_400_000
"""By the server's clock, UTC."""

_SCAN_KEYS = 1_000
"""A step of SCAN; Redis answers others between two of them."""


class RedisMemory(NamedTuple):
    """Memory of a Redis; `limit_bytes` 0: it has none. `evicted_keys` were dropped since its start."""

    used_bytes: int
    limit_bytes: int
    evicted_keys: int


class RedisHistory:
    """A HistoryStore in Redis.

    `max_events` are kept a user; a history that gets no event for `ttl_s` seconds disappears. A user is new
    until an event comes on a later day by `clock`, and lives `new_ttl_s` till then (None: nobody is new). A
    call to Redis that takes longer than `timeout_s` seconds raises HistoryUnavailableError; one that waits
    `busy_s` before that, for one of `max_connections`, raises HistoryBusyError.

    Nobody waits longer than that, but what was begun goes on (`service.history.redis_calls`).
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        ttl_s: float = DEFAULT_TTL_S,
        new_ttl_s: float | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        busy_s: float = DEFAULT_BUSY_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        clock: Callable[[], int] = now_ms,
        listener: HistoryListener | None = None,
    ) -> None:
        self._client: Any = client
        self._clock = clock
        self._max_events = max_events
        self._marks = RedisMarks(client, int(ttl_s * 1000))
        self._tells_new_users = new_ttl_s is not None
        lives = (int(ttl_s * 1000), int(min(ttl_s, new_ttl_s or ttl_s) * 1000))
        self._appends = RedisAppends(client, max_events, *lives, self._marks, listener)
        self._listener = listener
        self._calls = RedisCalls(timeout_s, busy_s, max_connections)
        self.max_connections = max_connections

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        ttl_s: float = DEFAULT_TTL_S,
        new_ttl_s: float | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        clock: Callable[[], int] = now_ms,
        listener: HistoryListener | None = None,
    ) -> Self:
        """A store at an address; address.py lists the schemes. Nothing is connected yet.

        Raises HistoryUrlError.
        """
        return cls(
            connect(url, timeout_s + LINGER_S, max_connections),
            max_events=max_events,
            ttl_s=ttl_s,
            new_ttl_s=new_ttl_s,
            timeout_s=timeout_s,
            max_connections=max_connections,
            clock=clock,
            listener=listener,
        )

    @property
    def busy(self) -> bool:
        """True where all connections are in use."""
        return self._calls.busy

    @property
    def takes_events(self) -> bool:
        """Always; who fails is found out by trying."""
        return True

    @property
    def connections_in_use(self) -> int:
        """Connections that calls are using."""
        return self._calls.in_use

    async def memory(self) -> RedisMemory:
        """The memory of Redis, of all primaries of a cluster together."""
        servers = await self._calls.make(lambda: infos(self._client))
        return RedisMemory(
            used_bytes=sum(int(info["used_memory"]) for _, info in servers),
            limit_bytes=sum(int(info.get("maxmemory", 0)) for _, info in servers),
            evicted_keys=sum(int(info.get("evicted_keys", 0)) for _, info in servers),
        )

    async def append(self, user_id: str, events: Sequence[Event]) -> AppendResult:
        """Add events to one user's history, all or none of them."""
        return await self._append([(user_id, events)] if events else [])

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        """As `append` for each in turn, in one round trip; an error in the place of one whose own it is."""
        encoded = prepared(appends, self._clock() // DAY_MS if self._tells_new_users else 0)
        if not encoded:
            return []
        return await self._calls.make(lambda: self._appends.make(encoded))

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        """Add events of many users in one round trip; each user gets all or none of theirs."""
        return await self._append([*by_user(events).items()])

    async def read(self, user_id: str, limit: int) -> list[Event]:
        """The newest `limit` events of a user, oldest first; empty for an unknown user."""
        check_user(user_id)
        check_limit(limit)
        key = history_key(user_id)

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
        keys = [history_key(user_id) for user_id in user_ids]

        async def call() -> list[list[Event] | HistoryUnavailableError]:
            replies = await self._values(keys)
            return [self._of_one(reply, limit) for reply in replies]

        return await self._calls.make(call)

    async def remove(self, user_id: str, event_id: str) -> int:
        """Take back the event that was added under this `event_id`; the number of events removed, 0 or 1."""
        check_user(user_id)
        check_event_id(event_id)
        key, identity = history_key(user_id), named_identity(event_id)

        async def call() -> int:
            removed = await REMOVE.run(self._client, key, identity)
            if removed and self._listener is not None:
                timestamp, item_id = removed
                self._listener.removed(read_event(item_id.decode(errors="replace"), timestamp))
            return 1 if removed else 0

        return await self._calls.make(call)

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        """Delete all that is kept of a user, and keep events away that are not after `at_ms`, or now.

        The number of events deleted. What cannot be read, of whatever type, goes as well, and counts as none.
        """
        check_user(user_id)
        moment = self._clock() if at_ms is None else at_ms
        key = history_key(user_id)

        async def call() -> int:
            await self._marks.put(user_id, moment)
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
            async with aclosing(self._client.scan_iter(f"{HISTORIES}*", _SCAN_KEYS)) as keys:
                while len(found) < limit and (key := await anext(keys, None)) is not None:
                    if (user_id := user_of(key)) is not None:
                        found.add(user_id)
            return sorted(found)

        return await self._calls.make(call)

    async def import_progress(self, job: str) -> int:
        """Number of users of an import that are done; 0 for one that is new or complete."""
        key = import_key(job)

        async def call() -> int:
            return int(await self._client.get(key) or 0)

        return await self._calls.make(call)

    async def note_import_progress(self, job: str, users: int | None) -> None:
        """Note how many users of an import are done; None: it is complete."""
        key = import_key(job)

        async def call() -> None:
            if users is None:
                await self._client.delete(key)
            else:
                await self._client.set(key, users, ex=IMPORT_TTL_S)

        await self._calls.make(call)

    async def ping(self) -> None:
        """A check that Redis answers."""
        await self._calls.make(self._client.ping)

    async def close(self) -> None:
        """Close all connections; trouble with one that is gone already is none."""
        await self._calls.close()
        with suppress(HistoryUnavailableError):
            await self._calls.edge(self._client.aclose)

    async def _append(self, appends: Sequence[tuple[str, Sequence[Event]]]) -> AppendResult:
        """The results together. Raises the first error only at the end: events of others are stored then."""
        total = AppendResult()
        failures = []
        for outcome in await self.append_each(appends):
            if isinstance(outcome, AppendResult):
                total += outcome
            else:
                failures.append(outcome)
        if failures:
            raise failures[0]
        return total

    async def _values(self, keys: Sequence[str]) -> list[Any]:
        if not keys:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.execute_command("GET", key)
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
