"""Marks of users who were forgotten: the time, under a keyed hash of the id, to keep older events away.

The key of the hash is made once and kept where the marks are. A mark names nobody: who has the key too can
only test whether an id that is known already was forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from service.history.errors import HistoryUnavailableError
from service.history.redis_keys import SECRET, mark_key
from service.history.scripts import MARK

_TRUSTED_S = 60.0
"""A secret that was read is taken to be there for so long: Redis may come back empty, and get another."""

_TRIES = 3
"""Chosen: Redis comes back empty once in a while, never three times within a call."""


def hashed(secret: bytes, user_id: str) -> str:
    """A name for the user that tells nothing of the id without the secret."""
    return hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest()


class Reading(NamedTuple):
    """The value of the key that `RedisMarks.reading` named for a user."""

    user_id: str
    key: str
    value: Any


class RedisMarks:
    """The marks in Redis. Errors are the client's, and HistoryUnavailableError."""

    def __init__(self, client: Any, ttl_ms: int) -> None:
        self._client = client
        self._ttl_ms = ttl_ms
        self._secret = b""
        self._read_at = -_TRUSTED_S

    async def put(self, user_id: str, at_ms: int) -> None:
        """Note that a user was forgotten then, or later, under the secret that is there at this moment."""
        for _ in range(_TRIES):
            if (secret := self._known()) is None:
                await self._client.set(SECRET, secrets.token_hex(32), nx=True)
                secret = self._learn(await self._client.get(SECRET))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.execute_command("EVAL", MARK, 1, mark_key(hashed(secret, user_id)), at_ms, self._ttl_ms)
            pipeline.execute_command("GET", SECRET)
            _, current = await pipeline.execute()
            if current == secret:
                return
            self._read_at = -_TRUSTED_S
        raise HistoryUnavailableError("Redis loses what it is given: it comes back empty again and again")

    def reading(self, user_id: str) -> str:
        """The key to read for a `Reading`: a user's mark, or the secret while that is not known."""
        secret = self._known()
        return SECRET if secret is None else mark_key(hashed(secret, user_id))

    async def forgotten_ms(self, readings: Sequence[Reading]) -> list[int | None]:
        """The moments that users were forgotten, by what was read; None for who was not.

        Those who were asked for while the secret was not known are asked for again, all in one round trip.
        """
        late = [index for index, read in enumerate(readings) if read.key == SECRET and read.value is not None]
        values = [None if read.key == SECRET else read.value for read in readings]
        if late:
            pipeline = self._client.pipeline(transaction=False)
            for index in late:
                secret = self._learn(readings[index].value)
                pipeline.execute_command("GET", mark_key(hashed(secret, readings[index].user_id)))
            for index, value in zip(late, await pipeline.execute(), strict=True):
                values[index] = value
        return [None if value is None else int(value) for value in values]

    def _known(self) -> bytes | None:
        return self._secret if time.monotonic() - self._read_at < _TRUSTED_S else None

    def _learn(self, value: Any) -> bytes:
        self._secret = bytes(value)
        self._read_at = time.monotonic()
        return self._secret
