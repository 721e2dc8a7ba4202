"""Reading an event log: columns to one shape, unusable rows out, every one of them counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from files import clock
from files.ids import MAX_ID_LENGTH, PADDING, PRINTABLE
from training.data.data_card import Dropped, EventTypesCard
from training.data.dataset import WINDOWS, TimestampUnit
from training.data.event_types import count_of, described
from training.data.prepare_options import PrepareOptions
from training.data.reading.sources import Paths
from training.data.reading.table import FAULT, ORIGIN, Table, Wanted, read_table
from training.data.tables import (
    number_expression,
    refuse_one_for_two,
    refuse_spoilt_id,
    spoilt_id,
    text_expression,
)
from training.data.time_column import time_column
from training.data.timestamps import LogClock, clock_of, survey_of
from training.errors import DataError

REPEATS = "repeats an event (same user, item and timestamp)"

_KEYS = ("user_id", "item_id", "timestamp")
_KEPT = (*_KEYS, "window")


@dataclass(frozen=True)
class EventLog:
    """The usable events of a log and the account of the others."""

    events: pl.DataFrame
    """`user_id` string, `item_id` string, `timestamp` int64 (ms or order), `window` string where asked for;
    each (user, item, timestamp) once, oldest first.

    Events of one instant come in an order given by a hash of user and item. The order of rows in the file
    cannot, or whatever is made of the log would depend on it; nor can the item's id or popularity, which
    would teach a model that within an instant some items come first.
    """
    rows: int
    timestamp_unit: TimestampUnit
    dropped: list[Dropped]
    ignored_columns: list[str]
    event_types: EventTypesCard | None
    table: Table
    """The source of the reading."""
    left_out: pl.DataFrame
    """`origin` and `reason` of each record that is no event, if that was asked for."""

    def newest(self, most: int) -> pl.DataFrame:
        """A row a user, by id: lists `item_id` and `timestamp` of the newest `most` events, oldest first."""
        return self.events.group_by("user_id").agg(pl.col("item_id", "timestamp").tail(most)).sort("user_id")


@dataclass(frozen=True)
class _Column:
    """A column to read: its name here, its values, and what makes a row unusable."""

    name: str
    values: pl.Expr
    problems: dict[str, pl.Expr]


def read_event_log(paths: Paths, options: PrepareOptions, now_ms: int | None = None) -> EventLog:
    """Read the events of a log, one or more files, that `options` ask for.

    `now_ms` is the moment that times are judged by, by default that of the system's clock. Raises DataError
    if a file cannot be read, lacks a column or has one of a wrong type, if its ids or timestamps are not what
    they should be throughout, or if no event is usable.
    """
    with open_event_log(paths, options, now_ms) as log:
        return log


@contextmanager
def open_event_log(
    paths: Paths, options: PrepareOptions, now_ms: int | None = None, *, origins: bool = False
) -> Iterator[EventLog]:
    """Read an event log as `read_event_log` does; its table can be asked for records within this context.

    `origins`: keep the origin of each event and of each record that is left out.
    """
    now_ms = clock.now_ms() if now_ms is None else now_ms
    with read_table(paths, _wanted(options), separator=options.separator, quote=options.quote) as table:
        yield _event_log(table, options, now_ms, origins=origins)


def _wanted(options: PrepareOptions) -> Wanted:
    required = [
        (options.user_column, "--user-column"),
        (options.item_column, "--item-column"),
        (options.timestamp_column, "--timestamp-column"),
    ]
    if options.event_types:
        required.append((options.event_type_column, "--event-type-column"))
    if options.min_weight is not None:
        required.append((options.weight_column, "--weight-column"))
    if options.window_column is not None:
        required.append((options.window_column, "--window-column"))
    refuse_one_for_two(required)
    ids, types = (options.user_column, options.item_column), (options.event_type_column,)
    return Wanted(
        dict(required),
        optional=types,
        ids=ids,
        spare=tuple(column for column in types if column not in dict(required)),
    )


def _event_log(table: Table, options: PrepareOptions, now_ms: int, *, origins: bool) -> EventLog:
    schema = table.rows.collect_schema()
    log_clock, event_types = _surveyed(table, schema, options, now_ms)
    columns = _columns(table.name, schema, options, log_clock)
    problems = {reason: unusable for column in columns for reason, unusable in column.problems.items()}
    values = {column.name: column.values for column in columns}
    labelled = table.rows.select(**values, origin=ORIGIN, problem=pl.coalesce(FAULT, _first_of(problems)))
    kept = [*(name for name in values if name in _KEPT), *(["origin"] if origins else [])]
    counts, events, left_out = pl.collect_all(
        [
            labelled.group_by("problem").len(),
            labelled.filter(pl.col("problem").is_null()).select(kept),
            labelled.filter(pl.col("problem").is_not_null() & origins).select("origin", reason="problem"),
        ],
        engine="streaming",
    )
    rows_by_problem = dict(counts.iter_rows())
    rows = sum(rows_by_problem.values())
    faults = sorted(reason for reason in rows_by_problem if reason is not None and reason not in problems)
    dropped = [
        Dropped(reason=reason, events=rows_by_problem[reason])
        for reason in (*faults, *problems)
        if reason in rows_by_problem
    ]
    if events.is_empty():
        raise DataError(f"{table.name} holds no usable event: {_why_empty(rows, dropped)}")

    once = events.group_by(_KEYS).agg(pl.exclude(_KEYS).min())
    if once.height < events.height:
        repeats = events.height - once.height
        dropped.append(Dropped(reason=REPEATS, events=repeats))
        if origins:
            again = events.join(once, on="origin", how="anti").select("origin", reason=pl.lit(REPEATS))
            left_out = pl.concat([left_out, again])
    table.balance(once.height, sum(drop.events for drop in dropped))
    ignored = sorted(set(table.names) - _known_columns(options, schema))
    return EventLog(_oldest_first(once), rows, log_clock.unit, dropped, ignored, event_types, table, left_out)


def _surveyed(
    table: Table, schema: pl.Schema, options: PrepareOptions, now_ms: int
) -> tuple[LogClock, EventTypesCard | None]:
    """The log's clock and its types of events, from a first pass over the records; its ids are judged too."""
    rows = table.rows.filter(pl.col(FAULT).is_null())
    times = time_column(table.name, schema, options.timestamp_column, options.missing)
    ids = {
        column: spoilt_id(
            text_expression(table.name, schema, column, options.missing), literal=options.quote == "none"
        )
        for column in (options.user_column, options.item_column)
    }
    surveys = [survey_of(times, rows, now_ms), rows.select(times.unread.min()), rows.select(**ids)]
    if options.event_type_column in schema:
        by, count = count_of(_event_type(table.name, schema, options))
        surveys.append(rows.group_by(by).agg(count))
    kinds, unread, spoilt, *counts = pl.collect_all(surveys, engine="streaming")
    for column, example in spoilt.row(0, named=True).items():
        refuse_spoilt_id(table.name, column, example)
    types = dict(counts[0].iter_rows()) if counts else {}
    log_clock = clock_of(table.name, times, kinds, unread.item(), options.timestamp_unit, now_ms)
    return log_clock, described(table.name, types, table.names, options)


def _columns(path: str, schema: pl.Schema, options: PrepareOptions, log_clock: LogClock) -> list[_Column]:
    def text(source: str) -> pl.Expr:
        return text_expression(path, schema, source, options.missing)

    columns = [
        _id_column("user_id", options.user_column, text(options.user_column)),
        _id_column("item_id", options.item_column, text(options.item_column)),
        _Column("timestamp", log_clock.value, log_clock.problems),
    ]
    if options.event_types:
        source, types = options.event_type_column, options.event_types
        values = _event_type(path, schema, options)
        other = {f"{source} is not {' or '.join(types)}": _none_of(values, types)}
        columns.append(_Column("event_type", values, other))
    if options.min_weight is not None:
        source, least = options.weight_column, options.min_weight
        weight = number_expression(path, schema, source)
        light = {
            f"{source} is not a number": weight.is_null(),
            f"{source} is below {least:g}": weight < least,
        }
        columns.append(_Column("weight", weight, light))
    if options.window_column is not None:
        source, values = options.window_column, text(options.window_column)
        other = {f"{source} is none of {', '.join(WINDOWS)}": _none_of(values, WINDOWS)}
        columns.append(_Column("window", values, other))
    return columns


def _id_column(name: str, source: str, text: pl.Expr) -> _Column:
    problems = {
        f"{source} is missing": text.is_null(),
        f"{source} is longer than {MAX_ID_LENGTH} characters": text.str.len_chars() > MAX_ID_LENGTH,
        f"{source} has control characters": ~text.str.contains(PRINTABLE),
    }
    return _Column(name, text, problems)


def _none_of(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    return ~text.is_in(list(values)).fill_null(value=False)


def _event_type(path: str, schema: pl.Schema, options: PrepareOptions) -> pl.Expr:
    """The types of events: whatever there is where none was asked for."""
    column = options.event_type_column
    if options.event_types:
        return text_expression(path, schema, column, options.missing)
    return pl.col(column).cast(pl.String).str.strip_chars(PADDING)


def _first_of(problems: dict[str, pl.Expr]) -> pl.Expr:
    """The reason of the first condition that holds for a row; null where none does."""
    none = pl.lit(None, dtype=pl.String)
    return reduce(
        lambda otherwise, problem: pl.when(problem[1]).then(pl.lit(problem[0])).otherwise(otherwise),
        reversed(problems.items()),
        none,
    )


def _oldest_first(events: pl.DataFrame) -> pl.DataFrame:
    """The events by time, those of one instant by a hash that depends on nothing but the two ids."""
    ties = _mixed(_mixed(_digests(events["user_id"])) ^ _digests(events["item_id"]))
    return events.with_columns(tie=ties).sort("timestamp", "tie").drop("tie")


def _digests(ids: pl.Series) -> npt.NDArray[np.uint64]:
    """A 64-bit digest `(ids,)` of each id; polars' own hash differs between its versions."""
    distinct = ids.unique()
    digests = b"".join(blake2b(id_.encode(), digest_size=8).digest() for id_ in distinct)
    numbers = pl.Series(np.frombuffer(digests, "<u8").astype(np.uint64))
    return ids.replace_strict(distinct, numbers).to_numpy()


def _mixed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit depends on every other."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


def _why_empty(rows: int, dropped: list[Dropped]) -> str:
    if rows == 0:
        return "it has a header but no rows"
    reasons = "; ".join(f"in {drop.events:,} of {rows:,} rows {drop.reason}" for drop in dropped)
    return f"{reasons}; correct the column or the option that names it"


def _known_columns(options: PrepareOptions, schema: pl.Schema) -> set[str]:
    return {*schema.names(), options.weight_column}
