"""Columns of the caller's tables in one shape, and telling what is wrong with them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from files.ids import PADDING
from training.errors import DataError

TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_LISTED_COLUMNS = 12
"""Most columns that an error message names."""
_WHOLE = r"^[+-]?\d+$"
_FLOAT = r"^[+-]?\d+\.0+$|^[+-]?\d(\.\d+)?[eE]\+\d+$"
"""A whole number as a data frame writes it whose column has become one of floats: 7.0, 1.2345e+17."""


def require_columns(path: str, names: Sequence[str], columns: Mapping[str, str]) -> None:
    """Raise DataError that says every column that `names` lacks; `columns` maps each to its option."""
    lacking = {column: option for column, option in columns.items() if column not in names}
    if lacking:
        named, there = (", ".join(map(repr, some)) for some in (lacking, names[:_LISTED_COLUMNS]))
        options = ", ".join(lacking.values())
        raise DataError(f"{path} has no column {named}, only {there}; name the right one with {options}")


def refuse_one_for_two(columns: Iterable[tuple[str, str]]) -> None:
    """Raise DataError if two options name one column; `columns`: pairs of column and option."""
    options: dict[str, str] = {}
    for column, option in columns:
        if column in options:
            raise DataError(f"{options[column]} and {option} both name the column {column!r}; name two")
        options[column] = option


def refuse_repeated(path: str, names: Iterable[str]) -> None:
    """Raise DataError if two columns of a header have one name; those without a name are nobody's."""
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        named = ", ".join(map(repr, repeated))
        raise DataError(
            f"{path} has several columns of one name, {named}; rename or drop all but one of each"
        )


def text_expression(path: str, schema: pl.Schema, column: str, missing: Iterable[str] = ()) -> pl.Expr:
    """Ids and names as strings without blanks around them; the empty one and those of `missing` as null.

    Raises DataError unless the column holds text or integers.
    """
    dtype = schema[column]
    if dtype.is_float():
        raise DataError(f"{path}: column {column!r} is {dtype}; {_cast_to_integers(column)}")
    if not (dtype.is_integer() or isinstance(dtype, TEXT) or _is_whole_decimal(dtype)):
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold strings or integers, cast it")
    text = pl.col(column).cast(pl.String).str.strip_chars(PADDING)
    return pl.when(~text.is_in(["", *missing])).then(text)


def _cast_to_integers(column: str) -> str:
    """The remedy for a column of ids that has become one of floats."""
    return (
        "an id is a string or an integer, and 7.0 is not the id 7; cast it before it is written, "
        f"with pandas by df[{column!r}].astype('Int64')"
    )


def float_id(text: pl.Expr) -> pl.Expr:
    """One of a column's ids if all are numbers and some are written as floats, else null: one string."""
    floats = text.str.contains(_FLOAT)
    return pl.when((floats | text.str.contains(_WHOLE)).all()).then(text.filter(floats).min())


def refuse_float_id(path: str, column: str, example: str | None) -> None:
    """Raise DataError if `float_id` found one in the column."""
    if example is not None:
        raise DataError(f"{path}: column {column!r} holds {example!r}; {_cast_to_integers(column)}")


def number_expression(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Numbers as float64, null where it is none; raises DataError for other types than numbers and text."""
    dtype = schema[column]
    if isinstance(dtype, TEXT):
        text = pl.col(column).cast(pl.String).str.strip_chars(PADDING)
        number = text.cast(pl.Float64, strict=False)
    elif dtype.is_numeric():
        number = pl.col(column).cast(pl.Float64)
    else:
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold numbers, cast it")
    return pl.when(number.is_finite()).then(number)


def _is_whole_decimal(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Decimal) and dtype.scale == 0
