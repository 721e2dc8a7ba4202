"""A log's timestamp column as expressions: numbers of a clock or an order, and date-times of any spelling."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from files.clock import TICKS_PER_SECOND, ClockUnit
from files.ids import PADDING
from training.data.tables import TEXT
from training.errors import DataError

_MICROSECONDS = 1_000_000
"""In a second."""
_DATE = r"^(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)"
_TIME = r"(?<hour>\d\d):?(?<minute>\d\d)(?::?(?<second>\d\d)(?:[.,](?<fraction>\d+))?)?"
_OFFSET = r"(?:[Zz]|UTC|GMT|(?<sign>[+-])(?<hours>[01]\d)(?::?(?<minutes>[0-5]\d))?)?"
_DATE_TIME = rf"{_DATE}(?:[Tt ]\s*{_TIME}\s*{_OFFSET})?$"
"""ISO 8601 and SQL: 2023-11-14, 2023-11-14T22:13:20Z, 2023-11-14 22:13:20.5+05:30; no offset means UTC."""
_BASIC_DATE = r"^(\d{4})(\d\d)(\d\d)[Tt]"


@dataclass(frozen=True)
class TimeColumn:
    """A timestamp column: every row is a number, a moment, missing, or none of these."""

    source: str
    """Its name in the file."""
    dtype: pl.DataType
    number: pl.Expr
    """float64, as written; null where there is none."""
    moment: pl.Expr
    """int64, µs since the epoch, of a date-time; null where there is none."""
    missing: pl.Expr
    """Boolean."""
    scientific: pl.Expr
    """Boolean: a number written with an exponent, which may have cost it digits."""
    unread: pl.Expr
    """Text that is none of these; else null."""

    def milliseconds(self, unit: ClockUnit) -> pl.Expr:
        """int64, ms since the epoch, rounded down whatever the spelling; `unit`: that of the numbers."""
        ticks = TICKS_PER_SECOND[unit]
        number = self.number * (_MICROSECONDS // ticks) if ticks <= _MICROSECONDS else self.number / 1000
        return pl.coalesce(self.moment, number.round().cast(pl.Int64, strict=False)) // 1000

    def order(self) -> pl.Expr:
        """int64: the whole numbers, or ms since the epoch of date-times."""
        return pl.coalesce(self.moment // 1000, self.number.round().cast(pl.Int64, strict=False))


def time_column(path: str, schema: pl.Schema, source: str, missing: Iterable[str]) -> TimeColumn:
    """Read the column `source`; raises DataError if its type can hold no timestamps."""
    dtype, column = schema[source], pl.col(source)
    no_number, no_moment = pl.lit(None, pl.Float64), pl.lit(None, pl.Int64)
    never, no_text = pl.lit(value=False), pl.lit(None, pl.String)
    if isinstance(dtype, pl.Date | pl.Datetime):
        moment = _physical_moment(column, dtype)
        return TimeColumn(source, dtype, no_number, moment, column.is_null(), never, no_text)
    if isinstance(dtype, TEXT):
        text = column.cast(pl.String).str.strip_chars(PADDING)
        number = _finite(text.cast(pl.Float64, strict=False))
        moment = pl.when(number.is_null()).then(_moment(text))
        empty = text.is_null() | text.is_in(["", *missing])
        exponent = text.str.contains("[eE]") & number.is_not_null()
        unread = pl.when(number.is_null() & moment.is_null() & ~empty).then(text)
        return TimeColumn(source, dtype, number, moment, empty, exponent, unread)
    if dtype.is_numeric():
        number = _finite(column.cast(pl.Float64))
        return TimeColumn(source, dtype, number, no_moment, number.is_null(), never, no_text)
    raise DataError(f"{path}: column {source!r} is {dtype}; it must hold numbers or date-times, cast it")


def _finite(number: pl.Expr) -> pl.Expr:
    return pl.when(number.is_finite()).then(number)


def _physical_moment(column: pl.Expr, dtype: pl.Date | pl.Datetime) -> pl.Expr:
    """µs since the epoch, by way of the stored numbers: no time zone is looked up."""
    stored = column.to_physical().cast(pl.Int64)
    if isinstance(dtype, pl.Date):
        return stored * (24 * 3600 * _MICROSECONDS)
    return {"ms": stored * 1000, "us": stored, "ns": stored // 1000}[dtype.time_unit]


def _moment(text: pl.Expr) -> pl.Expr:
    """µs since the epoch of a date-time in `text`, whatever its offset; null where it is none."""
    parts = text.str.replace(_BASIC_DATE, "${1}-${2}-${3}T").str.extract_groups(_DATE_TIME).struct
    clock = [parts.field(name).fill_null("00") for name in ("hour", "minute", "second")]
    local = pl.concat_str(
        pl.concat_str(*(parts.field(name) for name in ("year", "month", "day")), separator="-"),
        pl.concat_str(*clock, separator=":"),
        separator="T",
    ).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    fraction = (parts.field("fraction").fill_null("") + "000000").str.slice(0, 6).cast(pl.Int64, strict=False)
    hours, minutes = (
        parts.field(name).fill_null("0").cast(pl.Int64, strict=False) for name in ("hours", "minutes")
    )
    ahead = (hours * 60 + minutes) * 60 * _MICROSECONDS
    offset = pl.when(parts.field("sign") == "-").then(-ahead).otherwise(ahead)
    return local.dt.epoch("us") + fraction - offset
