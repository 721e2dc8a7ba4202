"""The history stores that the settings name: that of requests, and that of what was in the spool."""

from __future__ import annotations

from functools import partial

from pydantic import SecretStr

from service.background import Task
from service.history.guarded import GuardedHistory
from service.history.in_process import InProcessHistory
from service.history.protocol import HistoryListener, HistoryStore
from service.history.redis import RedisHistory
from service.settings import HistorySettings
from service.spool.delivery import Delivery
from service.spool.spool import Spool
from service.telemetry import Metrics
from service.vitals import keep_redis_memory, watch_redis

DELIVERY_TIMEOUT_S = 5.0
"""Longest wait of a delivery for Redis. Chosen: nobody waits for it, and a slow Redis takes it, too."""


def open_history(
    settings: HistorySettings, metrics: Metrics, tasks: list[Task], listener: HistoryListener | None
) -> HistoryStore:
    """The store of requests; to `tasks` is added what goes on beside its calls. Raises HistoryUrlError."""
    if settings.redis_url is None:
        return InProcessHistory(
            max_events=settings.history_max_events,
            max_users=settings.history_max_users,
            max_bytes=settings.history_max_bytes,
        )
    redis = _open_redis(settings.redis_url, settings, settings.history_timeout_s, listener)
    guarded = GuardedHistory(redis)
    watch_redis(metrics, redis, guarded)
    tasks.append(partial(keep_redis_memory, metrics, redis))
    return guarded


def open_delivery(
    settings: HistorySettings, spool: Spool, history: HistoryStore | None, listener: HistoryListener | None
) -> Delivery | None:
    """Delivery to `history`, else to a store of its own, which takes no connection that requests need."""
    if history is not None or settings.redis_url is None:
        return None if history is None else Delivery(spool, history)
    return Delivery(spool, _open_redis(settings.redis_url, settings, DELIVERY_TIMEOUT_S, listener))


def _open_redis(
    address: SecretStr, settings: HistorySettings, timeout_s: float, listener: HistoryListener | None
) -> RedisHistory:
    return RedisHistory.from_url(
        address.get_secret_value(),
        max_events=settings.history_max_events,
        ttl_s=settings.history_ttl_s,
        new_ttl_s=settings.history_new_ttl_s,
        timeout_s=timeout_s,
        listener=listener,
    )
