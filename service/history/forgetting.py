"""Marks of users who were forgotten: the time, under a keyed hash of the id, to keep older events away.

The key of the hash is made once and kept where the marks are. A mark names nobody: who has the key too can
only test whether an id that is known already was forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any

from service.history.errors import HistoryUnavailableError
from service.history.redis_keys import SECRET, mark_key

_TRUSTED_S = 60.0
"""A secret that was read is taken to be there for so long: Redis may come back empty, and get another."""

_TRIES = 3
"""Chosen: Redis comes back empty once in a while, never three times within a call."""


def hashed(secret: bytes, user_id: str) -> str:
    """A name for the user that tells nothing of the id without the secret."""
    return hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest()


class RedisMarks:
    """The marks in Redis. Errors are the client's, and HistoryUnavailableError."""

    def __init__(self, client: Any, ttl_ms: int) -> None:
        self._client = client
        self._ttl_ms = ttl_ms
        self._secret = b""
        self._read_at = -_TRUSTED_S

    async def put(self, user_id: str, now_ms: int) -> None:
        """Note that a user is forgotten now, under the secret that is there at this moment."""
        for _ in range(_TRIES):
            if (secret := self._known()) is None:
                await self._client.set(SECRET, secrets.token_hex(32), nx=True)
                secret = self._learn(await self._client.get(SECRET))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.execute_command("SET", mark_key(hashed(secret, user_id)), now_ms, "PX", self._ttl_ms)
            pipeline.execute_command("GET", SECRET)
            _, current = await pipeline.execute()
            if current == secret:
                return
            self._read_at = -_TRUSTED_S
        raise HistoryUnavailableError("Redis loses what it is given: it comes back empty again and again")

    def reading(self, user_id: str) -> str:
        """The key to read for `forgotten_ms`: a user's mark, or the secret while that is not known."""
        secret = self._known()
        return SECRET if secret is None else mark_key(hashed(secret, user_id))

    async def forgotten_ms(self, user_id: str, key: str, value: Any) -> int | None:
        """The moment that a user was forgotten, by the value of the key that `reading` named."""
        if key == SECRET and value is not None:
            secret = self._learn(value)
            value = await self._client.get(mark_key(hashed(secret, user_id)))
        return None if value is None else int(value)

    def _known(self) -> bytes | None:
        return self._secret if time.monotonic() - self._read_at < _TRUSTED_S else None

    def _learn(self, value: Any) -> bytes:
        self._secret = bytes(value)
        self._read_at = time.monotonic()
        return self._secret
