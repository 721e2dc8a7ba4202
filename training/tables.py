"""Columns of the caller's tables in one shape, and telling what is wrong with them."""

from collections.abc import Mapping, Sequence

import polars as pl

from training.errors import DataError

_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_LISTED_COLUMNS = 12
"""Most columns that an error message names."""


def require_columns(path: str, names: Sequence[str], columns: Mapping[str, str]) -> None:
    """Raise DataError unless every wanted column is in `names`; `columns` maps each to its option's name."""
    for column, option in columns.items():
        if column not in names:
            there = ", ".join(repr(name) for name in names[:_LISTED_COLUMNS])
            raise DataError(
                f"{path} has no column {column!r}, only {there}; name the right one with {option}"
            )


def text_expression(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Ids and names as strings, the empty one as null; raises DataError unless text or integers."""
    dtype = schema[column]
    if not (dtype.is_integer() or isinstance(dtype, _TEXT)):
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold strings or integers, cast it")
    text = pl.col(column).cast(pl.String)
    return pl.when(text != "").then(text)


def number_expression(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Numbers as float64, null where it is none; raises DataError for other types than numbers and text."""
    dtype = schema[column]
    if isinstance(dtype, _TEXT):
        return pl.col(column).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    if not dtype.is_numeric():
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold numbers, cast it")
    return pl.col(column).cast(pl.Float64)


def time_expression(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Timestamps as float64 in the column's own unit; dates in milliseconds since the epoch."""
    if isinstance(schema[column], pl.Date | pl.Datetime):
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("ms").cast(pl.Float64)
    return number_expression(path, schema, column)
