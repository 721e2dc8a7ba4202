"""Counts with a half-life in Redis, for any number of processes.

| key                                     | value              | lifetime                             |
|-----------------------------------------|--------------------|--------------------------------------|
| `dimerec:{trending}:1:<half-life, ms>`  | see exchange.lua   | 20 half-lives from the latest counts |
"""

import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis, RedisCluster

from files.clock import now_ms
from service.history.redis_calls import RedisCalls
from service.redis_client import connect
from service.trending.decay import MAX_ITEMS, MIN_COUNT, SLACK, coarse

MAX_CONNECTIONS = 1
"""One call after another."""
TIMEOUT_S = 2.0
"""Of a call. Chosen: nobody waits for it."""
PER_CALL = 500
"""Items counted in one call, so that Redis answers others in between. Chosen."""
_SCRIPT = files("service.trending").joinpath("exchange.lua").read_text()
_LIFE = -math.log2(MIN_COUNT)
_MAX_LOG = 64
"""More events than there ever are: those from before Redis' clock was set far back."""


class SharedCounts:
    """Counts of all processes, by the clock of Redis. Methods raise HistoryUnavailableError.

    `clock`: this process's own, ms since the epoch.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        half_life_ms: float,
        max_items: int = MAX_ITEMS,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._client: Any = client
        self._half_life_ms = half_life_ms
        self._max_items = max_items
        self._clock = clock
        self._behind_ms = 0
        self._calls = RedisCalls(TIMEOUT_S, TIMEOUT_S, MAX_CONNECTIONS)
        self.key = f"dimerec:{{trending}}:1:{half_life_ms:.0f}"

    @classmethod
    def from_url(cls, url: str, half_life_ms: float) -> "SharedCounts":
        """The counts at an address; raises HistoryUrlError. Nothing is connected yet."""
        return cls(connect(url, TIMEOUT_S, MAX_CONNECTIONS), half_life_ms)

    def now_ms(self) -> int:
        """The moment by the clock of Redis, as far as it was heard of."""
        return self._clock() + self._behind_ms

    async def exchange(self, changes: Mapping[str, float]) -> dict[str, float]:
        """Add to the counts, as of now, and return all of them, greatest first."""
        given = [(item_id, count) for item_id, count in changes.items() if count]
        for start in range(0, max(1, len(given)), PER_CALL):
            items, scores, redis_ms = await self._exchange(given[start : start + PER_CALL])
        self._behind_ms = redis_ms - self._clock()
        moment = coarse(redis_ms, self._half_life_ms) / self._half_life_ms
        counts = [2.0 ** min(float(score) - moment, _MAX_LOG) for score in scores.split()]
        return dict(zip(items.decode(errors="replace").split("\0")[:-1], counts, strict=True))

    async def close(self) -> None:
        """Close the connection."""
        await self._calls.close()
        await self._client.aclose()

    async def _exchange(self, given: list[tuple[str, float]]) -> tuple[bytes, bytes, int]:
        bounds = (self._max_items, SLACK, int(_LIFE * self._half_life_ms), self._half_life_ms, _LIFE)
        pairs = [part for item_id, count in given for part in (item_id, repr(count))]
        answer: tuple[bytes, bytes, int] = await self._calls.make(
            lambda: self._client.eval(_SCRIPT, 1, self.key, *bounds, *pairs)
        )
        return answer
