"""Bounds on the requests of a key, counted by the library `limits`: in Redis, else in this process."""

import asyncio
import math
import time
from functools import lru_cache

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from service.access.keys import ApiKey
from service.circuit import Circuit, CircuitOpenError
from service.errors import RateExceededError
from service.redis_client import connect
from service.telemetry import Metrics

_PREFIX = "dimerec:rate:1"
MAX_CONNECTIONS = 16
"""Chosen: a count takes a tenth of a millisecond of Redis, so that few connections serve many requests."""

log = structlog.get_logger("dimerec.access")

parsed = lru_cache(1024)(parse)


class Rates:
    """Counts the requests of keys that have a rate.

    While Redis does not answer within `timeout_s`, this process counts alone, so that nobody is refused.
    """

    def __init__(self, redis_url: str | None, timeout_s: float, metrics: Metrics) -> None:
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._client = None if redis_url is None else connect(redis_url, timeout_s, MAX_CONNECTIONS)
        self._shared = (
            None if self._client is None else SlidingWindowCounterRateLimiter(_SharedCounts(self._client))
        )
        self._circuit = Circuit(lambda _: "failure")

    async def count(self, key: ApiKey) -> None:
        """Count a request; raises RateExceededError for one too many."""
        if key.rate is None:
            return
        rate = parsed(key.rate)
        wait_s = await self._wait(rate, key.name)
        if wait_s is not None:
            self._metrics.refused.labels("rate").inc()
            raise RateExceededError(key.name, key.rate, max(1, math.ceil(wait_s)))

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._client is not None:
            try:
                await self._client.aclose()
            except (RedisError, RedisClusterException, OSError) as error:
                log.debug("connections of rates were gone", reason=str(error))

    async def _wait(self, rate: RateLimitItem, name: str) -> float | None:
        """Seconds until the next request may come, None where this one may."""
        shared = self._shared
        if shared is not None:
            try:
                return await self._circuit.call(lambda: self._bounded(shared, rate, name))
            except CircuitOpenError:
                pass
            except Exception as error:  # noqa: BLE001 - the client raises more than it declares
                log.warning("rates counted by this process alone", reason=" ".join(str(error).split()))
        return await _hit(self._own, rate, name)

    async def _bounded(
        self, limiter: SlidingWindowCounterRateLimiter, rate: RateLimitItem, name: str
    ) -> float | None:
        async with asyncio.timeout(self._timeout_s):
            return await _hit(limiter, rate, name)


async def _hit(limiter: SlidingWindowCounterRateLimiter, rate: RateLimitItem, name: str) -> float | None:
    if await limiter.hit(rate, name):
        return None
    return (await limiter.get_window_stats(rate, name)).reset_time - time.time()


class _SharedCounts(RedisStorage):
    """The library's counts in Redis, on a client of ours, which knows every form of address that we take."""

    STORAGE_SCHEME = []  # noqa: RUF012 - of the base class; made from a client, never from an address

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client = client
        super().__init__("redis://", implementation="redispy", key_prefix=_PREFIX)

    def configure_bridge(self) -> None:
        """Use the client."""
        self.bridge.connection_getter = lambda _: self._client  # type: ignore[attr-defined]
