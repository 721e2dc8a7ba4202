"""Fitting and measuring every recommender on every data set, each combination once."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from training.benchmark.data import Data
from training.benchmark.diversity_curve import Curve, Point, diversity_curve
from training.benchmark.machine import hardware
from training.benchmark.probing import ProbeRow, probe
from training.benchmark.recipe import Budget, Fitted, Recipe, Variant
from training.benchmark.rows import Fit, Found, Identity, Row, make_row
from training.benchmark.store import Ranks, Store, ranks_name
from training.data.splits import Histories
from training.errors import BenchmarkError, DataError
from training.evaluation.metrics import Scores
from training.evaluation.ranking import evaluate, evaluate_both
from training.trainer import Observer

_FORMAT = 1
"""Part of every key; a change to what is measured counts it up, and everything is measured again."""
_KEY_DIGITS = 20
"""Of a SHA-256: 80 bits, in which a thousand runs do not meet by chance."""


@dataclass(frozen=True, eq=False)
class Job:
    """One recommender to be fitted on one data set with one seed."""

    data: Data
    model: str
    recipe: Recipe
    seed: int
    minutes: float | None = None

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.data.name} {self.data.split.name}  {self.model}  seed {self.seed}"

    @cached_property
    def settings(self) -> str:
        """Hash of the recipe's settings."""
        return _hash(self.recipe.settings)

    @cached_property
    def training(self) -> str:
        """Key of what is learned: the same for all variants, whatever they are called."""
        settings = {key: value for key, value in self.recipe.settings.items() if key != "variants"}
        budget = {"seed": self.seed, "minutes": self.minutes}
        data = {"data": self.data.dataset.fingerprint, "split": self.data.split.name}
        return _hash({"settings": settings, **budget, **data})

    @cached_property
    def key(self) -> str:
        """Key of the result."""
        return _hash(
            {
                "training": self.training,
                "model": self.model,
                "settings": self.settings,
                "data": self.data.name,
                "format": _FORMAT,
            }
        )

    @cached_property
    def fit(self) -> Fit:
        """The fit that its results are of."""
        return Fit(
            data=self.data.name,
            split=self.data.split.name,
            model=self.model,
            seed=self.seed,
            run=self.key,
        )


class Watcher(Protocol):
    """Who watches the benchmark: the command line, or a test."""

    def fitting(self, job: Job) -> Observer:
        """A job begins; the observer follows its training."""

    def measuring(self, job: Job, targets: int) -> None:
        """A job has learned; it will be asked for so many rankings."""

    def measured(self, targets: int) -> None:
        """So many rankings more are done."""

    def finished(self, job: Job, rows: list[Row], *, cached: bool) -> None:
        """A job is done, now or long ago."""

    def failed(self, job: Job, error: Exception) -> None:
        """A job has failed; the others go on."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of the jobs."""

    rows: list[Row]
    """Of all that did not fail, in the order of the jobs."""
    failures: dict[Job, Exception]

    def check(self) -> None:
        """Raise BenchmarkError, naming each failure, if there was any."""
        failures = [f"{job.label}: {str(error) or repr(error)}" for job, error in self.failures.items()]
        if failures:
            raise BenchmarkError(f"failed, while all others are kept: {'; '.join(failures)}")


def run(
    jobs: Sequence[Job], store: Store, watcher: Watcher, commit: str | None = None, *, curves: bool = False
) -> Outcome:
    """Do the jobs that are not done yet; one that fails does not keep the others from it.

    A job that another process is at is left for later and then waited for. `commit`: the revision of the
    source, to be noted. `curves`: where items have categories, draw curves of diversity and probe the item
    vectors as well.
    """
    rows: dict[Job, list[Row]] = {}
    failures: dict[Job, Exception] = {}
    waiting = list(jobs)
    for wait in (False, True):
        for job in waiting:
            try:
                with store.locked(job.training, wait=wait) as ours:
                    if ours:
                        rows[job] = _done(job, store, watcher, commit, curves)
            except Exception as error:  # noqa: BLE001 - whatever one recommender does, the others go on
                failures[job] = error
                watcher.failed(job, error)
        waiting = [job for job in waiting if job not in rows and job not in failures]
    store.collect()
    return Outcome([row for job in jobs if job in rows for row in rows[job]], failures)


def _done(job: Job, store: Store, watcher: Watcher, commit: str | None, curves: bool) -> list[Row]:
    rows = store.rows(job.key)
    has_categories = bool(job.data.dataset.catalogue.category_names)
    curves = curves and has_categories and not store.has_curves(job.key)
    if rows is not None and not curves:
        watcher.finished(job, rows, cached=True)
        return rows
    budget = Budget(job.seed, job.minutes, store.training(job.training), watcher.fitting(job))
    fitted = job.recipe.fit(job.data.dataset, job.data.split, budget)
    if rows is None:
        rows, ranks = _measure(job, fitted, watcher, commit)
        store.write(job.key, rows, ranks)
    if curves:
        store.write_curves(job.key, _curves(job, fitted, watcher), _probes(job, fitted))
    watcher.finished(job, rows, cached=False)
    return rows


def _measure(job: Job, fitted: Fitted, watcher: Watcher, commit: str | None) -> tuple[list[Row], Ranks]:
    split = job.data.split
    watcher.measuring(job, len(fitted.variants) * (len(split.validation) + len(split.test)))
    identity = Identity(
        **dict(job.fit),
        data_fingerprint=job.data.dataset.fingerprint,
        settings=job.settings,
        minutes=job.minutes,
        commit=commit,
        hardware=hardware(),
    )
    rows: list[Row] = []
    ranks: Ranks = {"users": split.test.users}
    for index, variant in enumerate(fitted.variants):
        for found in _ask(variant, job.data, watcher):
            rows.append(make_row(identity, index, variant, fitted, found))
            if found.part == "test":
                ranks[ranks_name(index, found.exclude_seen)] = found.evaluation.ranks.astype(np.float32)
    return rows, ranks


def _curves(job: Job, fitted: Fitted, watcher: Watcher) -> list[Point]:
    test, catalogue = job.data.split.test, job.data.dataset.catalogue
    watcher.measuring(job, len(fitted.curved) * len(test))
    curves = [
        diversity_curve(
            variant.scorer,
            test,
            catalogue,
            Curve(**dict(job.fit), variant=index),
            on_progress=watcher.measured,
        )
        for index, variant in fitted.curved.items()
    ]
    return [point for curve in curves for point in curve]


def _probes(job: Job, fitted: Fitted) -> list[ProbeRow]:
    """One; none where items have no vectors, or too few of them take part."""
    if fitted.item_vectors is None:
        return []
    try:
        found = probe(fitted.item_vectors, job.data.dataset.catalogue, job.data.split.train)
    except DataError:
        return []
    return [ProbeRow(**dict(job.fit), **dict(found))]


def _ask(variant: Variant, data: Data, watcher: Watcher) -> Iterator[Found]:
    """Results of one variant on validation, where choices are made, and on test."""
    catalogue = data.dataset.catalogue
    timed = _Timed(variant)
    chosen = evaluate(
        timed, data.split.validation, catalogue, exclude_seen=True, on_progress=watcher.measured
    )
    yield Found("validation", True, chosen, timed.ms_per_user)
    timed = _Timed(variant)
    removed, kept = evaluate_both(timed, data.split.test, catalogue, on_progress=watcher.measured)
    yield Found("test", True, removed, timed.ms_per_user)
    yield Found("test", False, kept, timed.ms_per_user)


class _Timed:
    """A scorer with a stopwatch."""

    def __init__(self, variant: Variant) -> None:
        self._scorer = variant.scorer
        self._known = variant.ms_per_user
        self._seconds = 0.0
        self._users = 0

    @property
    def items(self) -> int:
        return self._scorer.items

    @property
    def ms_per_user(self) -> float:
        return 1000 * self._seconds / self._users if self._known is None else self._known

    def score(self, histories: Histories) -> Scores:
        started = time.perf_counter()
        scores = self._scorer.score(histories)
        self._seconds += time.perf_counter() - started
        self._users += len(histories)
        return scores


def _hash(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
