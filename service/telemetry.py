"""Telemetry: Prometheus metrics, one registry an app, without user data."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from service.errors import RequestRefusedError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets of a time: Prometheus' usual ones, from a millisecond on."""
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper ends of the buckets of a batch's size: the doublings."""
_VARIETY = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
"""Upper ends of the buckets of an answer's distinct categories. A choice: fine where most answers lie."""
_REFUSALS = frozenset({503, 504})
"""Statuses from 500 on by which a request is turned away and may come back."""

Stage = Literal["history", "queue", "model", "search"]
Mode = Literal["livesum", "livemostrecent", "livemax", "livemin"]
"""The way in which the gauges of several processes become one."""


_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_SAMPLE_EVERY_S = 1.0
"""A choice: Prometheus asks every 15 s or so."""


def share_metrics(directory: str, process: str) -> None:
    """Keep the metrics of this process in `directory`, beside those of others: they are read together.

    `process`: its name there; one that takes the place of another goes on counting where that one ended.
    Call it before any metric is made. A gauge needs a mode then, which says how processes add up.
    """
    os.environ[_DIRECTORY] = directory
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


class Metrics:
    """Counters and histograms of one app; of all that share a directory, where `share_metrics` was called."""

    def __init__(self) -> None:
        self._shared = _DIRECTORY in os.environ
        self._sampled: list[tuple[Gauge, Callable[[], float]]] = []
        self._version: str | None = None
        self.registry = CollectorRegistry(auto_describe=True)
        self._children: dict[tuple[object, ...], Any] = {}
        self.requests = Counter(
            "dimerec_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "dimerec_request_seconds",
            "Time from the first byte to the answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = Counter(
            "dimerec_errors",
            "Requests that failed by a fault of our own, those inside of batches too; refusals do not count",
            ["route"],
            registry=self.registry,
        )
        self.batch_requests = Counter(
            "dimerec_batch_requests",
            "Requests inside of batches, by the status that each would have had alone",
            ["status"],
            registry=self.registry,
        )
        self.stages = Histogram(
            "dimerec_stage_seconds",
            "Time of a recommendation spent in each stage",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "dimerec_batch_size", "Requests computed together", buckets=_SIZES, registry=self.registry
        )
        self.queue_length = self._gauge("dimerec_queue_length", "Requests waiting for a batch", "livesum")
        self.answers = Counter(
            "dimerec_answers", "Recommendations by source", ["source"], registry=self.registry
        )
        self.degraded = Counter(
            "dimerec_degraded", "Recommendations weakened by a fault", ["reason"], registry=self.registry
        )
        self.refused = Counter(
            "dimerec_refused", "Requests refused before computation", ["reason"], registry=self.registry
        )
        self.answer_categories = Histogram(
            "dimerec_answer_categories",
            "Distinct categories of the items of a recommendation",
            buckets=_VARIETY,
            registry=self.registry,
        )
        self.key_requests = Counter(
            "dimerec_key_requests",
            "Requests answered, by the name of the caller's key",
            ["key", "status"],
            registry=self.registry,
        )
        self.cost = Counter(
            "dimerec_cost",
            "Computation spent on answers, about ms of a core, by the name of the caller's key",
            ["key"],
            registry=self.registry,
        )
        self.wrong_keys = Counter(
            "dimerec_wrong_keys", "Requests with a key that is not known", registry=self.registry
        )
        self.history_evictions = Counter(
            "dimerec_history_evictions",
            "Histories that made room for others in this process's memory",
            registry=self.registry,
        )
        self.history_errors = Counter(
            "dimerec_history_errors",
            "Failed calls of the history store",
            ["operation"],
            registry=self.registry,
        )
        self.history_calls = Histogram(
            "dimerec_history_seconds",
            "Time of a call of the history store, failed ones included",
            ["operation"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.history_circuit_open = self._gauge(
            "dimerec_history_circuit_open",
            "Processes that do not ask the history store for this, since it failed lately",
            "livesum",
            ["operation"],
        )
        self.history_connections = self._gauge(
            "dimerec_history_connections_in_use", "Connections to Redis that a call is using", "livesum"
        )
        self.history_connections_max = self._gauge(
            "dimerec_history_connections_max", "Bound on connections to Redis in use at once", "livesum"
        )
        self.redis_memory = self._gauge(
            "dimerec_redis_memory_bytes", "Memory that Redis uses", "livemostrecent"
        )
        self.redis_memory_limit = self._gauge(
            "dimerec_redis_memory_limit_bytes", "Memory that Redis may use; 0: no limit", "livemostrecent"
        )
        self.redis_evicted = self._gauge(
            "dimerec_redis_evicted_keys",
            "Keys that Redis has dropped for want of memory since its start",
            "livemostrecent",
        )
        self.spool_pending = self._gauge(
            "dimerec_spool_pending", "Changes of histories in the spool, which wait for the store", "livemax"
        )
        self.spool_oldest_seconds = self._gauge(
            "dimerec_spool_oldest_seconds", "Age of the oldest change in the spool", "livemax"
        )
        self.spool_records = Counter(
            "dimerec_spool_records",
            "Changes of histories taken into the spool, delivered from it, or refused by it",
            ["outcome"],
            registry=self.registry,
        )
        self.connections_ended = Counter(
            "dimerec_connections_ended",
            "Connections ended because they broke a bound",
            ["reason"],
            registry=self.registry,
        )
        self.log_lines_dropped = Counter(
            "dimerec_log_lines_dropped", "Log lines that nobody read", registry=self.registry
        )
        self.bundle = self._gauge(
            "dimerec_bundle_info", "Processes that serve a bundle, by its version", "livesum", ["version"]
        )
        self.bundle_created = self._gauge(
            "dimerec_bundle_created_timestamp_seconds",
            "Time at which the bundle in service was made, seconds since the epoch",
            "livemostrecent",
        )
        self.catalogue_items = self._gauge(
            "dimerec_catalogue_items", "Items of the catalogue in service", "livemostrecent"
        )
        self.catalogue_overlay = self._gauge(
            "dimerec_catalogue_overlay_items", "Items that are new or changed beside the bundle", "livemax"
        )
        self.catalogue_removed = self._gauge(
            "dimerec_catalogue_removed_items",
            "Items that are in no answer: removed, or past their time",
            "livemax",
        )
        self.catalogue_sequence = self._gauge(
            "dimerec_catalogue_sequence",
            "Newest change of the catalogue that counts in every process",
            "livemin",
        )
        self.catalogue_lag = self._gauge(
            "dimerec_catalogue_lag_seconds",
            "Time since the log of changes in Redis was heard; 0 without Redis",
            "livemax",
        )
        self.trending_items = self._gauge(
            "dimerec_trending_items", "Items whose recent events count in answers by popularity", "livemax"
        )
        self.trending_age = self._gauge(
            "dimerec_trending_age_seconds",
            "Time since the recent events were read from Redis; 0 without Redis",
            "livemax",
        )
        self.swaps = Counter(
            "dimerec_bundle_swaps",
            "Reloads and rollbacks",
            ["operation", "outcome"],
            registry=self.registry,
        )

    def _gauge(
        self,
        name: str,
        about: str,
        mode: Mode,
        labels: Sequence[str] = (),
    ) -> Gauge:
        """A gauge; `mode`: what it is for several processes."""
        return Gauge(name, about, labels, registry=self.registry, multiprocess_mode=mode)

    def watch(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Read a gauge from `value` whenever the metrics are asked for, or every second."""
        if self._shared:
            self._sampled.append((gauge, value))
        else:
            gauge.set_function(value)

    def refuse(self, refusal: RequestRefusedError) -> None:
        """Count a request that was turned away."""
        self._child(self.refused, refusal.reason).inc()

    def history_failed(self, operation: str) -> None:
        """Count a call of the history store that failed, or was not made because others had."""
        self._child(self.history_errors, operation).inc()

    def count_request(self, method: str, route: str, status: int, seconds: float, key: str) -> None:
        """Count and time a request that was answered; `key`: name of the caller's."""
        self._child(self.requests, method, route, status).inc()
        self._child(self.latency, method, route).observe(seconds)
        self._child(self.key_requests, key, status).inc()
        self._count_error(route, status)

    def count_batch(self, route: str, statuses: Iterable[int]) -> None:
        """Count the requests inside of a batch that was answered."""
        for status in statuses:
            self._child(self.batch_requests, status).inc()
            self._count_error(route, status)

    def _count_error(self, route: str, status: int) -> None:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _REFUSALS:
            self._child(self.errors, route).inc()

    def spend(self, key: str, cost: float) -> None:
        """Count the cost of something that was computed for the caller with that key."""
        self._child(self.cost, key).inc(cost)

    def observe_stage(self, stage: Stage, milliseconds: float) -> None:
        """Count the time that one recommendation spent in `stage`."""
        self._child(self.stages, stage).observe(milliseconds / 1000)

    def count_answer(self, source: str, fault: str | None, categories: int) -> None:
        """Count a recommendation, the fault that weakened it, and the distinct `categories` of its items."""
        self.answer_categories.observe(categories)
        self._child(self.answers, source).inc()
        if fault is not None:
            self._child(self.degraded, fault).inc()

    def _child(self, metric: Any, *labels: object) -> Any:
        """As `metric.labels(*labels)`, which takes a lock and makes texts of them each time."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def serve_bundle(self, version: str) -> None:
        """Name the bundle in service, and no other."""
        if self._version is not None:
            if self._shared:
                self.bundle.labels(self._version).set(0)  # what is shared cannot be taken away again
            else:
                self.bundle.remove(self._version)
        self._version = version
        self.bundle.labels(version).set(1)

    async def keep_sampled(self) -> None:
        """Set what is only known when asked, again and again, for other processes to read; never returns."""
        while True:
            self._sample()
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def _sample(self) -> None:
        for gauge, value in self._sampled:
            gauge.set(value())

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if not self._shared:
            return generate_latest(self.registry)
        self._sample()
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
