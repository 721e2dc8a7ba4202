"""Appending to histories in Redis, where what is older than a user's forgetting stays away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from service.history.encoding import decode, encode
from service.history.errors import HistoryUnavailableError
from service.history.forgetting import Reading, RedisMarks
from service.history.protocol import (
    MAX_TIMESTAMP,
    AppendResult,
    Event,
    HistoryListener,
    check_events,
    check_user,
)
from service.history.redis_calls import refusal
from service.history.redis_keys import history_key
from service.history.scripts import APPEND, DROP_OLDER

_ADDED = ord("+")
"""As append.lua says it."""


class Append(NamedTuple):
    """New events of a user, checked and encoded."""

    user_id: str
    events: Sequence[Event]
    encoded: bytes


def prepared(appends: Iterable[tuple[str, Sequence[Event]]], today: int) -> list[Append]:
    """Appends, encoded for a day since the epoch, 0: no user is new. Raises HistoryInputError."""
    encoded = []
    for user_id, events in appends:
        check_user(user_id)
        check_events(events)
        encoded.append(Append(user_id, events, encode(events, today)))
    return encoded


class RedisAppends:
    """Appends of up to `max_events` a user to histories that live `ttl_ms`, those of new users `new_ttl_ms`.

    Errors that are no append's own are the client's.
    """

    def __init__(
        self,
        client: Any,
        max_events: int,
        ttl_ms: int,
        new_ttl_ms: int,
        marks: RedisMarks,
        listener: HistoryListener | None = None,
    ) -> None:
        self._client = client
        self._max_events, self._ttl_ms, self._new_ttl_ms = max_events, ttl_ms, new_ttl_ms
        self._marks = marks
        self._listener = listener

    async def make(self, appends: Sequence[Append]) -> list[AppendResult | HistoryUnavailableError]:
        """Append in one round trip and in this order; each of them all or nothing.

        In the place of one that Redis refuses is the error.
        """
        marked = [(append, self._marks.reading(append.user_id)) for append in appends]
        replies = await self._append("EVALSHA", APPEND.sha1, marked)
        unknown = [index for index, (counts, _) in enumerate(replies) if isinstance(counts, NoScriptError)]
        if unknown:
            again = await self._append("EVAL", APPEND.text, [marked[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        # What Redis took is settled even where others fail: what is older than a forgetting must go.
        taken = {
            index: Reading(append.user_id, key, value)
            for index, ((append, key), (counts, value)) in enumerate(zip(marked, replies, strict=True))
            if not isinstance(counts, Exception) and not isinstance(value, Exception)
        }
        moments = await self._marks.forgotten_ms([*taken.values()])
        settled = {
            index: await self._settled(appends[index], replies[index][0], forgotten_ms)
            for index, forgotten_ms in zip(taken, moments, strict=True)
        }
        return [settled[index] if index in settled else _error(*reply) for index, reply in enumerate(replies)]

    async def _settled(
        self, append: Append, counts: tuple[int, int, bytes], forgotten_ms: int | None
    ) -> AppendResult:
        """The result of an append; takes back what is from before the user was forgotten."""
        added, outdated, fates = counts
        if added and self._listener is not None:
            events = zip(decode(append.encoded, len(fates)), fates, strict=True)
            since = -MAX_TIMESTAMP if forgotten_ms is None else forgotten_ms + 1
            self._listener.added(
                [event for event, fate in events if fate == _ADDED and event.timestamp >= since]
            )
        result = AppendResult(added, len(append.events) - added - outdated, outdated)
        if forgotten_ms is None:
            return result
        old = sum(event.timestamp <= forgotten_ms for event in append.events)
        if not old:
            return result
        dropped = int(await DROP_OLDER.run(self._client, history_key(append.user_id), forgotten_ms))
        # Another append may have dropped ours, or we its.
        taken_back = old if added == len(append.events) else min(old, dropped, added)
        return AppendResult(added - taken_back, result.repeated, outdated + taken_back)

    async def _append(
        self, command: str, script: str, marked: Sequence[tuple[Append, str]]
    ) -> list[tuple[Any, Any]]:
        """The reply to each append, and the value that tells of the user's mark, read after it.

        So a user who is forgotten meanwhile is either seen here, or comes later and deletes what was done.
        The nodes of a cluster keep no order between them: there, marks are read in a second round trip.
        """
        scripts = self._client.pipeline(transaction=False)
        for append, _ in marked:
            key, lives = history_key(append.user_id), (self._ttl_ms, append.encoded, self._new_ttl_ms)
            scripts.execute_command(command, script, 1, key, self._max_events, *lives)
        apart = isinstance(self._client, RedisCluster)
        readings = self._client.pipeline(transaction=False) if apart else scripts
        for _, mark in marked:
            readings.execute_command("GET", mark)
        replies: list[Any] = await scripts.execute(raise_on_error=False)
        if apart:
            replies += await readings.execute(raise_on_error=False)
        return list(zip(replies[: len(marked)], replies[len(marked) :], strict=True))


def _error(*replies: object) -> HistoryUnavailableError:
    """Ours for the first of these that is one of Redis. Raises those that are no single append's own."""
    error = next(reply for reply in replies if isinstance(reply, Exception))
    if not isinstance(error, ResponseError):
        raise error
    return refusal(error)
