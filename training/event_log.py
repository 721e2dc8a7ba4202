"""Reading an event log: columns to one shape, unusable rows out, every one of them counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from files.ids import MAX_ID_LENGTH, PRINTABLE
from training.data_card import Dropped
from training.dataset import WINDOWS, TimestampUnit
from training.errors import DataError
from training.prepare_options import PrepareOptions
from training.reading.sources import Paths
from training.reading.table import FAULT, ORIGIN, Table, Wanted, read_table
from training.tables import number_expression, text_expression, time_expression

_LARGEST_TIMESTAMP = 2.0**53
"""Beyond this, whole numbers are no longer exact in a float64, and no sane clock counts that far."""

REPEATS = "repeats an event (same user, item and timestamp)"

_KEYS = ("user_id", "item_id", "timestamp")


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
    table: Table
    """Where it was read from."""
    left_out: pl.DataFrame
    """`origin` and `reason` of each record that is no event, if that was asked for."""

    def newest(self, most: int) -> pl.DataFrame:
        """A row a user, by id: lists `item_id` and `timestamp` of the newest `most` events, oldest first."""
        return self.events.group_by("user_id").agg(pl.col("item_id", "timestamp").tail(most)).sort("user_id")


@dataclass(frozen=True)
class _Column:
    """A column to read: its name here, in the file and on the command line, and what makes a row unusable."""

    name: str
    source: str
    option: str
    read: Callable[[str, pl.Schema, str], pl.Expr]
    problems: dict[str, pl.Expr]


def read_event_log(paths: Paths, options: PrepareOptions) -> EventLog:
    """Read the events of a log, one or more files, that `options` ask for.

    Raises DataError if a file cannot be read, lacks a column or has one of a wrong type, or if no event is
    usable.
    """
    with open_event_log(paths, options) as log:
        return log


@contextmanager
def open_event_log(paths: Paths, options: PrepareOptions, *, origins: bool = False) -> Iterator[EventLog]:
    """Read an event log as `read_event_log` does; its table can be asked for records within this context.

    `origins`: keep the origin of each event and of each record that is left out.
    """
    columns = _columns(options)
    wanted = Wanted({column.source: column.option for column in columns})
    with read_table(paths, wanted, separator=options.separator, quote=options.quote) as table:
        yield _event_log(table, columns, options, origins=origins)


def _event_log(table: Table, columns: list[_Column], options: PrepareOptions, *, origins: bool) -> EventLog:
    problems = {reason: unusable for column in columns for reason, unusable in column.problems.items()}
    kept = [column.name for column in columns if column.name in (*_KEYS, "window")]
    schema = table.rows.collect_schema()
    in_one_shape = {column.name: column.read(table.name, schema, column.source) for column in columns}
    labelled = table.rows.select(**in_one_shape, origin=ORIGIN, fault=FAULT).with_columns(
        problem=pl.coalesce("fault", _first_of(problems))
    )
    counts, events, left_out = pl.collect_all(
        [
            labelled.group_by("problem").len(),
            labelled.filter(pl.col("problem").is_null()).select(*kept, *(["origin"] if origins else [])),
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

    events, unit = _in_milliseconds(table.name, events, schema, options)
    once = events.group_by(_KEYS).agg(pl.exclude(_KEYS).min())
    if once.height < events.height:
        repeats = events.height - once.height
        dropped.append(Dropped(reason=REPEATS, events=repeats))
        if origins:
            again = events.join(once, on="origin", how="anti").select("origin", reason=pl.lit(REPEATS))
            left_out = pl.concat([left_out, again])
    ignored = sorted(set(table.names) - _known_columns(options))
    return EventLog(_oldest_first(once), rows, unit, dropped, ignored, table, left_out)


def _columns(options: PrepareOptions) -> list[_Column]:
    columns = [
        _id_column("user_id", options.user_column, "--user-column"),
        _id_column("item_id", options.item_column, "--item-column"),
        _time_column(options.timestamp_column),
    ]
    if options.event_types:
        source, types = options.event_type_column, options.event_types
        other = {f"{source} is not {' or '.join(types)}": ~_one_of("event_type", types)}
        columns.append(_Column("event_type", source, "--event-type-column", text_expression, other))
    if options.min_weight is not None:
        source, least = options.weight_column, options.min_weight
        light = {
            f"{source} is not a number": _no_number("weight"),
            f"{source} is below {least:g}": pl.col("weight") < least,
        }
        columns.append(_Column("weight", source, "--weight-column", number_expression, light))
    if options.window_column is not None:
        source = options.window_column
        other = {f"{source} is none of {', '.join(WINDOWS)}": ~_one_of("window", WINDOWS)}
        columns.append(_Column("window", source, "--window-column", text_expression, other))
    return columns


def _id_column(name: str, source: str, option: str) -> _Column:
    problems = {
        f"{source} is missing": pl.col(name).is_null(),
        f"{source} is longer than {MAX_ID_LENGTH} characters": pl.col(name).str.len_chars() > MAX_ID_LENGTH,
        f"{source} has control characters": ~pl.col(name).str.contains(PRINTABLE),
    }
    return _Column(name, source, option, text_expression, problems)


def _time_column(source: str) -> _Column:
    problems = {
        f"{source} is not a number of s or ms, nor an order": _no_number("timestamp"),
        f"{source} is out of range": pl.col("timestamp").abs() > _LARGEST_TIMESTAMP,
    }
    return _Column("timestamp", source, "--timestamp-column", time_expression, problems)


def _no_number(name: str) -> pl.Expr:
    return pl.col(name).is_null() | pl.col(name).is_nan()


def _one_of(name: str, values: tuple[str, ...]) -> pl.Expr:
    return pl.col(name).is_in(list(values)).fill_null(value=False)


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


def _in_milliseconds(
    path: str, events: pl.DataFrame, schema: pl.Schema, options: PrepareOptions
) -> tuple[pl.DataFrame, TimestampUnit]:
    """Timestamps as int64, seconds scaled to milliseconds, and the unit they came in."""
    timestamps = events["timestamp"]
    unit = options.timestamp_unit
    if unit != "order" and schema[options.timestamp_column].is_temporal():
        unit = "ms"
    if unit == "auto":
        unit = _unit_of(path, float(np.median(timestamps.to_numpy())), options.timestamp_column)
    if unit == "order" and not timestamps.equals(timestamps.round()):
        raise DataError(
            f"{path}: column {options.timestamp_column!r} has fractions, so it is no order; "
            "say --timestamp-unit s or ms, or make it whole"
        )
    scaled = timestamps * 1000 if unit == "s" else timestamps
    return events.with_columns(scaled.round().cast(pl.Int64)), unit


def _unit_of(path: str, median: float, column: str) -> TimestampUnit:
    magnitude = abs(median)
    if magnitude < 1e8:
        return "order"
    if magnitude < 1e11:
        return "s"
    if magnitude < 1e14:
        return "ms"
    raise DataError(
        f"{path}: column {column!r} looks like micro- or nanoseconds; divide it to milliseconds, "
        "or say --timestamp-unit"
    )


def _known_columns(options: PrepareOptions) -> set[str]:
    known = {options.user_column, options.item_column, options.timestamp_column}
    known |= {options.event_type_column, options.weight_column}
    return known if options.window_column is None else known | {options.window_column}
