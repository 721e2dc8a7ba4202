"""`dimerec import-history`: an event log in, everybody's newest events in Redis."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.log_options import (
    DEFAULTS,
    EventsFiles,
    EventTypeColumn,
    EventTypes,
    ItemColumn,
    MinWeight,
    Missing,
    QuoteOption,
    Separator,
    TimestampColumn,
    TimeUnit,
    UserColumn,
    WeightColumn,
    as_prepared,
    prepare_options,
)
from service.errors import StartupError
from service.history.errors import HistoryUnavailable
from service.history.importing import History, Imported, import_histories
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.settings import read_settings
from training.event_log import open_event_log
from training.prepare_options import PrepareOptions

_STEP_TIMEOUT_S = 30.0


def command(
    context: typer.Context,
    events: EventsFiles,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where to, e.g. redis://localhost:6379/0. [default: DIMEREC_REDIS_URL, the place for a URL "
            "with a password: others can see this line]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Read the log as `dimerec prepare` did that wrote this directory: its columns, filters and "
            "unit of time. Options given here go before them."
        ),
    ] = None,
    separator: Separator = None,
    quote: QuoteOption = DEFAULTS.quote,
    user_column: UserColumn = DEFAULTS.user_column,
    item_column: ItemColumn = DEFAULTS.item_column,
    timestamp_column: TimestampColumn = DEFAULTS.timestamp_column,
    event_type_column: EventTypeColumn = DEFAULTS.event_type_column,
    weight_column: WeightColumn = DEFAULTS.weight_column,
    timestamp_unit: TimeUnit = DEFAULTS.timestamp_unit,
    event_types: EventTypes = None,
    min_weight: MinWeight = None,
    missing: Missing = None,
) -> None:
    """Load an event log into Redis, so that the service knows everybody's history from the start.

        dimerec import-history --events watches.parquet --data data --redis redis://localhost:6379/0

    Of every user the newest events are kept, as many and as long as the service does
    (DIMEREC_HISTORY_MAX_EVENTS, DIMEREC_HISTORY_TTL_S). The import adds to what is there, also while the
    service is running. An interrupted import goes on where it was when the same command is given again, and
    a complete one may be repeated: an item at an instant counts once. (Events that the service was sent with
    an event_id are told apart by that, so leave them out of the log.)
    """
    options = prepare_options(
        user_column=user_column,
        item_column=item_column,
        timestamp_column=timestamp_column,
        event_type_column=event_type_column,
        weight_column=weight_column,
        timestamp_unit=timestamp_unit,
        event_types=event_types,
        separator=separator,
        quote=quote,
        min_weight=min_weight,
        missing=missing,
    )
    if data is not None:
        options = as_prepared(data, options, context)
    import_log(events, redis, options)


def import_log(events: list[Path], redis: str | None, options: PrepareOptions) -> None:
    """Import an event log, read as `options` say, into the Redis at `redis` or at the URL of the settings."""
    settings = read_settings(redis_url=redis)
    if settings.redis_url is None:
        raise StartupError("import-history needs a Redis: give --redis URL or set DIMEREC_REDIS_URL")
    store = RedisHistory.from_url(
        settings.redis_url.get_secret_value(),
        max_events=settings.history_max_events,
        ttl_s=settings.history_ttl_s,
        timeout_s=_STEP_TIMEOUT_S,
    )
    typer.echo(asyncio.run(_import(store, events, options, settings.history_max_events)))


async def _import(store: RedisHistory, paths: list[Path], options: PrepareOptions, most: int) -> str:
    """Import the newest `most` events of every user in the log `paths`; what was done, in one line."""
    try:
        await store.ping()
        with open_event_log(paths, options) as log:
            newest, job = log.newest(most), _job(log.table.digest(), options, most)
        done = await store.import_progress(job)
        with _Report(newest.height, done) as report:
            for drop in log.dropped:
                report.say(f"left out {drop.events:,} events: {drop.reason}")
            if log.event_types is not None and log.event_types.note is not None:
                report.say(log.event_types.note)
            async for step in import_histories(store, job, _histories(newest[done:]), done):
                report.add(step)
        return report.summary()
    except HistoryUnavailable as error:
        raise HistoryUnavailable(f"{error}; give the same command again to go on from here") from error
    finally:
        await store.close()


def _job(content: str, options: PrepareOptions, most: int) -> str:
    """A name for importing what has this digest in this way."""
    return hashlib.sha256(f"{content}{options.model_dump_json()}{most}".encode()).hexdigest()


def _histories(newest: pl.DataFrame) -> Iterator[History]:
    for user_id, items, timestamps in newest.iter_rows():
        yield user_id, list(map(Event, items, timestamps))


class _Report:
    """A progress bar over users with the rate of events, and the counts."""

    def __init__(self, users: int, done: int) -> None:
        self._skipped = done
        self._users = self._events = 0
        self._result = AppendResult()
        self._began = time.monotonic()
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("importing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("users, {task.fields[rate]:,.0f} events/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("", total=users, completed=done, rate=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)

    def add(self, step: Imported) -> None:
        """Count a step and move the bar."""
        self._users += step.users
        self._events += step.events
        self._result += step.result
        self._progress.update(self._bar, advance=step.users, rate=self._rate())

    def summary(self) -> str:
        """What was done, in one line."""
        skipped = f", after {self._skipped:,} done earlier" if self._skipped else ""
        return (
            f"Imported {self._users:,} users{skipped}: {self._result.added:,} events added,"
            f" {self._result.repeated:,} known already, {self._result.outdated:,} too old to keep"
            f" ({self._rate():,.0f} events/s)"
        )

    def _rate(self) -> float:
        return self._events / max(time.monotonic() - self._began, 1e-9)
