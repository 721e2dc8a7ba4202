"""Gauges of the parts of one app, and what has to be asked for now and then to have them."""

import asyncio
from typing import get_args

import structlog

from service.batch import Job, JobAnswer
from service.batcher import MicroBatcher
from service.catalogue.following import Follower
from service.catalogue.live import LiveCatalogue
from service.circuit import CircuitState
from service.engines import Engines
from service.history.errors import HistoryUnavailableError
from service.history.guarded import GuardedHistory, Kind
from service.history.redis import RedisHistory
from service.telemetry import Metrics
from service.trending.trending import Trending

REDIS_EVERY_S = 15.0
"""A choice: as often as Prometheus asks."""

log = structlog.get_logger("dimerec.history")


def watch_parts(metrics: Metrics, engines: Engines, batcher: MicroBatcher[Job, JobAnswer]) -> None:
    """Show the bundle in service and the queue."""
    metrics.watch(metrics.queue_length, lambda: batcher.queue_length)
    metrics.watch(metrics.bundle_created, lambda: engines.engine.manifest.created.timestamp())
    metrics.watch(metrics.catalogue_items, lambda: len(engines.engine))


def watch_catalogue(metrics: Metrics, catalogue: LiveCatalogue, follower: Follower | None) -> None:
    """Show the changes of the catalogue that count."""
    metrics.watch(metrics.catalogue_overlay, lambda: catalogue.added_items)
    metrics.watch(metrics.catalogue_removed, lambda: catalogue.removed_items)
    metrics.watch(metrics.catalogue_sequence, lambda: catalogue.sequence)
    if follower is not None:
        metrics.watch(metrics.catalogue_lag, lambda: follower.silence_s)


def watch_trending(metrics: Metrics, trending: Trending) -> None:
    """Show the recent events that count."""
    metrics.watch(metrics.trending_items, lambda: trending.items)
    metrics.watch(metrics.trending_age, lambda: trending.age_s)


def watch_redis(metrics: Metrics, store: RedisHistory, guarded: GuardedHistory) -> None:
    """Show the circuits and connections of a store in Redis."""

    def watch_circuit(kind: Kind) -> None:
        gauge = metrics.history_circuit_open.labels(kind)
        metrics.watch(gauge, lambda: guarded.state(kind) is not CircuitState.CLOSED)

    for kind in get_args(Kind):
        watch_circuit(kind)
    metrics.watch(metrics.history_connections, lambda: store.connections_in_use)
    metrics.watch(metrics.history_connections_max, lambda: store.max_connections)


async def keep_redis_memory(metrics: Metrics, store: RedisHistory) -> None:
    """Ask Redis for its memory again and again; never returns. What it does not tell stays as it was."""
    while True:
        try:
            memory = await store.memory()
        except HistoryUnavailableError as error:
            log.warning("the memory of Redis is not known", reason=str(error))
        else:
            metrics.redis_memory.set(memory.used_bytes)
            metrics.redis_memory_limit.set(memory.limit_bytes)
            metrics.redis_evicted.set(memory.evicted_keys)
        await asyncio.sleep(REDIS_EVERY_S)
