"""The clock of a log: the unit of its timestamps, judged row by row, and the rows that are no time of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, cast

import polars as pl

from files.clock import EARLIEST_MS, MAX_AHEAD_MS, TICKS_PER_SECOND, calendar_spans, span
from training.data.dataset import TimestampUnit
from training.data.time_column import TimeColumn
from training.errors import DataError

UnitOption: TypeAlias = TimestampUnit | Literal["auto"]

MAX_ORDER = 10**8
"""A number below this is no clock's: in seconds it lies before 1973. Many logs have just an order."""
ROWS_PER_STRANGER = 1000
"""Rows that are no time of the log's clock: one in so many is dropped, more and the log is refused."""

_MAX_ORDER = 2**53
"""Beyond this, whole numbers are no longer exact in a float64."""
_MAX_FLOAT32 = 2**24
"""Beyond this, whole numbers are no longer exact in a float32."""
_ROUND_S = (10, 100, 1000, 10_000)
"""Seconds that cut times are multiples of: one to four digits lost."""
_MIN_ROWS = 10
"""Rows of which not all can be at one time by chance."""
_MAX_EXAMPLE_LENGTH = 40
"""Characters of a value that a message quotes: the longest of ISO 8601 has 35."""
_MOMENT, _ORDER = "date-time", "order"
_ODD_MOMENT, _ODD_NUMBER = "odd date-time", "odd number"
_NAMES: dict[str, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    _MOMENT: "date-times",
    _ORDER: "an order",
    _ODD_MOMENT: "date-times before 1995 or more than a day ahead",
    _ODD_NUMBER: "numbers that are no time between 1995 and tomorrow in any unit",
}
_AS_ORDER = "or say --timestamp-unit order if only their order counts"


@dataclass(frozen=True)
class KindSurvey:
    """The rows of one kind: a clock's unit, an order, date-times, a calendar's digits, or none of these."""

    kind: str
    rows: int
    first: float
    """The smallest number, or µs since the epoch of a date-time."""
    last: float
    distinct: int
    whole: bool
    """None has a fraction."""
    days: int
    """Rows whose number reads as YYYYMMDD."""
    float32: bool
    """All are numbers that 32 bits hold, in their own unit or in seconds."""
    hourly: bool
    """All are whole hours apart, as days are."""
    by_minutes: bool
    """All are whole minutes apart."""
    round_s: int
    """The largest of 10,000, 1,000, 100, 10 and 1 s of which all are multiples."""
    scientific: bool
    """Some were written with an exponent."""


@dataclass(frozen=True)
class LogClock:
    """The reading of the timestamps of one log."""

    unit: TimestampUnit
    value: pl.Expr
    """int64: ms since the epoch, or an order."""
    problems: dict[str, pl.Expr]
    """By reason, the condition that makes a row unusable."""


def survey_of(column: TimeColumn, table: pl.LazyFrame, now_ms: int) -> pl.LazyFrame:
    """A row a kind of timestamp in `table`, with the fields of `KindSurvey`."""
    number, moment, ticks = pl.col("number"), pl.col("moment"), pl.col("ticks")
    ticks_by_unit = {unit: float(per_second) for unit, per_second in TICKS_PER_SECOND.items()}
    rows = (
        table.select(number=column.number, moment=column.moment, scientific=column.scientific)
        .with_columns(kind=_kind(number, moment, now_ms))
        .filter(pl.col("kind").is_not_null())
        .with_columns(ticks=pl.col("kind").replace_strict(ticks_by_unit, default=1.0))
    )
    position = number.fill_null(moment)
    sizes = (pl.when((number % (size * ticks) == 0).all()).then(size).otherwise(1) for size in _ROUND_S)
    return rows.group_by("kind").agg(
        rows=pl.len(),
        first=position.min(),
        last=position.max(),
        distinct=position.n_unique(),
        whole=(number == number.round()).all(),
        days=_is_day(number, now_ms).sum(),
        float32=_is_float32(number).all() | _is_float32(number / ticks).all(),
        hourly=((number - number.min()) % (3600 * ticks) == 0).all(),
        by_minutes=((number - number.min()) % (60 * ticks) == 0).all(),
        round_s=pl.max_horizontal(sizes),
        scientific=pl.col("scientific").any(),
    )


def clock_of(
    path: str,
    column: TimeColumn,
    survey: pl.DataFrame,
    unread: str | None,
    option: UnitOption,
    now_ms: int,
) -> LogClock:
    """The clock of a log from the `survey_of` its timestamps and what its owner says, `option`.

    `unread`: an example of those that are no time, if there are any.

    Raises DataError, naming the column, an example and the remedy, if more than one row in a thousand is no
    time of that clock, if units are mixed, or if the numbers are a calendar's digits or have been rounded.
    """
    kinds = {row["kind"]: KindSurvey(**row) for row in survey.iter_rows(named=True)}
    unit = _unit(f"{path}: column {column.source!r}", column, kinds, option)
    problems = {
        f"{column.source} is missing": column.missing,
        f"{column.source} is neither a number nor an ISO 8601 date-time{_quoted(unread)}": (
            column.number.is_null() & column.moment.is_null()
        ),
    }
    if unit == "order":
        value = column.order()
        problems[f"{column.source} is out of range"] = column.number.abs() > _MAX_ORDER
    else:
        value = column.milliseconds(unit)
        position = pl.coalesce(column.moment / 1000, column.number * (1000 / TICKS_PER_SECOND[unit]))
        before, ahead = _examples(kinds, 1000 / TICKS_PER_SECOND[unit])
        problems[f"{column.source} lies before 1995, e.g. {before}"] = position < EARLIEST_MS
        problems[f"{column.source} is more than a day ahead, e.g. {ahead}"] = position > now_ms + MAX_AHEAD_MS
    return LogClock(unit, value, problems)


def _kind(number: pl.Expr, moment: pl.Expr, now_ms: int) -> pl.Expr:
    spans = {unit: span(unit, now_ms) for unit in TICKS_PER_SECOND} | calendar_spans(now_ms)
    kinds = {
        _MOMENT: moment.is_between(*span("us", now_ms)),
        _ODD_MOMENT: moment.is_not_null(),
        **{kind: number.is_between(*bounds) for kind, bounds in spans.items()},
        _ORDER: number.abs() < MAX_ORDER,
        _ODD_NUMBER: number.is_not_null(),
    }
    return pl.coalesce(pl.when(condition).then(pl.lit(kind)) for kind, condition in kinds.items())


def _is_float32(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.Float32).cast(pl.Float64) == number


def _is_day(number: pl.Expr, now_ms: int) -> pl.Expr:
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    years = (_utc(EARLIEST_MS * 1000).year, _utc(now_ms * 1000).year)
    return year.is_between(*years) & month.is_between(1, 12) & day.is_between(1, 31)


def _unit(
    where: str, column: TimeColumn, kinds: Mapping[str, KindSurvey], option: UnitOption
) -> TimestampUnit:
    if option == "order" or not kinds:
        return "order"
    leading = max(kinds.values(), key=lambda kind: (kind.rows, kind.kind))
    _refuse_odd(where, leading)
    if option not in ("auto", leading.kind) and leading.kind != _MOMENT:
        raise DataError(
            f"{where} looks like {_NAMES[leading.kind]} ({_example(leading)}), not {_NAMES[option]}; "
            f"say --timestamp-unit {leading.kind}"
        )
    _refuse_strangers(where, leading, kinds)
    if leading.distinct == 1 and leading.rows >= _MIN_ROWS:
        raise DataError(
            f"{where} is the same in all {leading.rows:,} rows ({_example(leading)}), so there is no order "
            f"to learn from; name another with --timestamp-column, {_AS_ORDER}"
        )
    if leading.kind == _MOMENT:
        return "ms"
    if leading.kind == _ORDER:
        _refuse_no_order(where, column, leading)
    else:
        _refuse_rounded(where, column, leading)
    return cast(TimestampUnit, leading.kind)


def _refuse_odd(where: str, leading: KindSurvey) -> None:
    if leading.kind not in _NAMES:
        raise DataError(
            f"{where} looks like {leading.kind} ({_example(leading)}), which is no count of anything; write "
            f"date-times, 2023-11-14 22:13:20, or seconds since the epoch, {_AS_ORDER}"
        )
    if leading.kind in (_ODD_MOMENT, _ODD_NUMBER):
        raise DataError(
            f"{where} holds {_NAMES[leading.kind]} ({_example(leading)}); correct it, {_AS_ORDER}"
        )


def _refuse_strangers(where: str, leading: KindSurvey, kinds: Mapping[str, KindSurvey]) -> None:
    """Refuse more rows of other kinds than can be a slip, and in an order any that looks like a clock."""
    others = [kind for kind in kinds.values() if kind is not leading]
    clocks = [kind for kind in others if leading.kind == _ORDER and kind.kind != _ODD_NUMBER]
    rows = sum(kind.rows for kind in kinds.values())
    if not clocks and sum(kind.rows for kind in others) * ROWS_PER_STRANGER <= rows:
        return
    other = max(clocks or others, key=lambda kind: (kind.rows, kind.kind))
    raise DataError(
        f"{where} mixes {_name(leading)} ({_example(leading)}) and {_name(other)} ({_example(other)}), "
        f"{other.rows:,} of {rows:,} rows; write all in one unit and leave out rows without a time"
        + (f", {_AS_ORDER}" if {leading.kind, other.kind} == {_ORDER, _ODD_NUMBER} else "")
    )


def _refuse_no_order(where: str, column: TimeColumn, order: KindSurvey) -> None:
    if not order.whole:
        raise DataError(
            f"{where} has fractions, so it is no order; make it whole, or write it as a clock's time"
        )
    if order.days * ROWS_PER_STRANGER >= order.rows * (ROWS_PER_STRANGER - 1):
        raise DataError(
            f"{where} looks like YYYYMMDD ({_example(order)}); write dates, 2023-11-14, {_AS_ORDER}"
        )
    if column.dtype == pl.Float32 and order.last > _MAX_FLOAT32:
        raise DataError(f"{where} is Float32, which cannot tell such numbers apart; write it as int64")


def _refuse_rounded(where: str, column: TimeColumn, clock: KindSurvey) -> None:
    """Refuse a clock whose times fell together: whole hours are a calendar's, other steps are not."""
    remedy = f"write it as int64 or float64 with all its digits, {_AS_ORDER}"
    narrow = clock.float32 and clock.distinct >= 3 and not clock.hourly
    if column.dtype == pl.Float32 or narrow:
        raise DataError(
            f"{where} has been a 32-bit float ({_example(clock)}), which tells times apart only every two "
            f"minutes; {remedy}"
        )
    coarse = clock.round_s == 10_000 and clock.distinct >= 10 and not clock.hourly
    shortened = clock.scientific and (clock.round_s >= 1000 or (clock.round_s > 1 and not clock.by_minutes))
    if coarse or shortened:
        raise DataError(
            f"{where} has been rounded to {clock.round_s:,} s ({_example(clock)}), so that most of the order "
            f"is lost; {remedy}"
        )


def _examples(kinds: Mapping[str, KindSurvey], ms_per_tick: float) -> tuple[str, str]:
    """The earliest and the latest timestamp of all kinds, as they were written."""

    def position(kind: KindSurvey, time: float) -> float:
        return time / 1000 if _is_moment(kind) else time * ms_per_tick

    earliest = min(kinds.values(), key=lambda kind: position(kind, kind.first))
    latest = max(kinds.values(), key=lambda kind: position(kind, kind.last))
    return _written(earliest, earliest.first), _written(latest, latest.last)


def _name(kind: KindSurvey) -> str:
    return _NAMES.get(kind.kind, kind.kind)


def _example(kind: KindSurvey) -> str:
    return f"e.g. {_written(kind, kind.first)}"


def _quoted(text: str | None) -> str:
    return "" if text is None else f", e.g. {text[:_MAX_EXAMPLE_LENGTH]!r}"


def _is_moment(kind: KindSurvey) -> bool:
    return kind.kind in (_MOMENT, _ODD_MOMENT)


def _written(kind: KindSurvey, time: float) -> str:
    if _is_moment(kind):
        return _utc(time).isoformat(timespec="seconds")
    return f"{time:.0f}" if time == round(time) and abs(time) < 1e21 else repr(time)


def _utc(microseconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
