"""`dimerec import-history`: an event log in, everybody's newest events in Redis."""

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.interrupts import interruptible
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
from cli.output import Json, print_json
from service.errors import StartupError
from service.history.errors import HistoryUnavailableError
from service.history.importing import History, Imported, import_histories
from service.history.meanings import Meanings
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.settings import read_settings
from training.data.event_log import open_event_log
from training.data.prepare_options import PrepareOptions

_STEP_TIMEOUT_S = 30.0
"""Of a step of 20,000 events: nobody waits for an answer, so that a busy Redis may take its time."""


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
    written_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="TYPE",
            help="Write the events with this type, whose meaning DIMEREC_EVENT_TYPES says: with"
            " --event-type skip --as skip those of what users did not like. [default: none, a watch]",
        ),
    ] = None,
    as_json: Json = False,
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
    import_log(events, redis, options, written_as, as_json=as_json)


def import_log(
    events: list[Path],
    redis: str | None,
    options: PrepareOptions,
    written_as: str | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Import an event log, read as `options` say, into the Redis at `redis` or at the URL of the settings.

    `written_as`: the type of all its events, None for watches.
    """
    settings = read_settings(redis_url=redis)
    types = Meanings.parse(settings.event_types).types
    if written_as is not None and written_as not in types:
        raise StartupError(
            f"--as {written_as}: no type of events, DIMEREC_EVENT_TYPES names {', '.join(types)}"
        )
    if settings.redis_url is None:
        raise StartupError("import-history needs a Redis: give --redis URL or set DIMEREC_REDIS_URL")
    store = RedisHistory.from_url(
        settings.redis_url.get_secret_value(),
        max_events=settings.history_max_events,
        ttl_s=settings.history_ttl_s,
        timeout_s=_STEP_TIMEOUT_S,
    )
    report = _Report()
    importing = _import(store, events, options, settings.history_max_events, written_as, report)
    with interruptible(report.kept):
        asyncio.run(_apart(importing))
    if as_json:
        print_json(report.document())
    else:
        typer.echo(report.summary())


async def _apart(work: Coroutine[None, None, None]) -> None:
    """Do the work in a task of its own, so that Ctrl-C ends it wherever it is.

    The client looks for stray bytes with a timeout of 0, which swallows a cancellation that came just before.
    Here it reaches this task, that waits, and `asyncio.run` then cancels the other, that waits by then too.
    """
    await asyncio.shield(asyncio.ensure_future(work))


async def _import(
    store: RedisHistory,
    paths: list[Path],
    options: PrepareOptions,
    most: int,
    written_as: str | None,
    report: "_Report",
) -> None:
    """Import the newest `most` events of every user in the log `paths`."""
    try:
        await store.ping()
        with open_event_log(paths, options) as log:
            newest, job = log.newest(most), _job(log.table.digest(), options, most, written_as)
        done = await store.import_progress(job)
        with report.of(newest.height, done):
            for drop in log.dropped:
                report.say(f"left out {drop.events:,} events: {drop.reason}")
            if log.event_types is not None and log.event_types.note is not None:
                report.say(log.event_types.note)
            async for step in import_histories(store, job, _histories(newest[done:], written_as), done):
                report.add(step)
    except HistoryUnavailableError as error:
        raise HistoryUnavailableError(
            f"{error}; once that is mended, the same command goes on from here"
        ) from error
    finally:
        await store.close()


def _job(content: str, options: PrepareOptions, most: int, written_as: str | None) -> str:
    """A name for importing what has this digest in this way."""
    return hashlib.sha256(
        f"{content}{options.model_dump_json()}{most}{written_as or ''}".encode()
    ).hexdigest()


def _histories(newest: pl.DataFrame, written_as: str | None) -> Iterator[History]:
    for user_id, items, timestamps in newest.iter_rows():
        pairs = zip(items, timestamps, strict=True)
        yield user_id, [Event(item_id, moment, event_type=written_as) for item_id, moment in pairs]


class _Report:
    """A progress bar over users with the rate of events, and the counts."""

    def __init__(self) -> None:
        self._total = self._skipped = self._users = self._events = 0
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
        self._bar = self._progress.add_task("", rate=0)

    @contextmanager
    def of(self, users: int, done: int) -> Iterator[None]:
        """Show the bar over so many users, the first of them `done` earlier."""
        self._total, self._skipped, self._began = users, done, time.monotonic()
        self._progress.update(self._bar, total=users, completed=done)
        with self._progress:
            yield

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def add(self, step: Imported) -> None:
        """Count a step and move the bar."""
        self._users += step.users
        self._events += step.events
        self._result += step.result
        self._progress.update(self._bar, advance=step.users, rate=self._rate())

    def summary(self) -> str:
        """The work done, in one line."""
        skipped = f", after {self._skipped:,} done earlier" if self._skipped else ""
        return (
            f"Imported {self._users:,} users{skipped}: {self._result.added:,} events added,"
            f" {self._result.repeated:,} known already, {self._result.outdated:,} too old to keep"
            f" ({self._rate():,.0f} events/s)"
        )

    def document(self) -> dict[str, int]:
        """The same counts by name."""
        return {"users": self._users, "users_done_earlier": self._skipped, **asdict(self._result)}

    def kept(self) -> str:
        """Of an interrupted import."""
        return (
            f"{self._skipped + self._users:,} of {self._total:,} users are imported; give the same command"
            " again to go on from there"
            if self._total
            else "nothing was imported"
        )

    def _rate(self) -> float:
        return self._events / max(time.monotonic() - self._began, 1e-9)
