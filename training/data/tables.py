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
_FLOAT = r"^[+-]?\d+[.,]0*$|^[+-]?\d([.,]\d+)?[eE]\+\d+$"
"""A whole number as a data frame or a sheet writes it whose column has become one of floats: 7.0, 1,2E+17."""
_NUMBER = r"^[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?$"
_QUOTED = r"""^(b?'.*'|[b=]".*")$"""
"""An id as a program spells it or as a spreadsheet keeps it: 'u1', b'u1', ="007"."""
_DOUBLE_QUOTED = r'^".*"$'


def require_columns(path: str, names: Sequence[str], columns: Mapping[str, str]) -> None:
    """Raise DataError that says every column that `names` lacks; `columns` maps each to its option."""
    lacking = {column: option for column, option in columns.items() if column not in names}
    if lacking:
        named, there = (", ".join(map(repr, some)) for some in (lacking, names[:_LISTED_COLUMNS]))
        options = ", ".join(lacking.values())
        remedy = f"name the right one with {options}"
        if len(names) == 1:
            remedy += ", or what stands between the columns with --separator"
        raise DataError(f"{path} has no column {named}, only {there}; {remedy}")


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


def spoilt_id(text: pl.Expr, *, literal: bool) -> pl.Expr:
    """One of a column's ids if something has changed them throughout, else null: one string.

    So it is if most are whole numbers as floats and no other number has a fraction, or if all are quoted;
    `literal`: double quotes belong to them.
    """
    floats, whole = text.str.contains(_FLOAT), text.str.contains(_WHOLE)
    other = ~(floats | whole)
    cast = (other.sum() < floats.sum()) & ~(other & text.str.contains(_NUMBER)).any()
    quoted = text.str.contains(_QUOTED if literal else f"{_QUOTED}|{_DOUBLE_QUOTED}")
    example = text.filter(floats).min()
    return pl.when(cast).then(example).when(quoted.all() & quoted.any()).then(text.min())


def refuse_spoilt_id(path: str, column: str, example: str | None) -> None:
    """Raise DataError if `spoilt_id` found one in the column."""
    if example is None:
        return
    if example[-1] in "'\"":
        raise DataError(
            f"{path}: column {column!r} holds {example} and the like, with the quotes; write ids without them"
        )
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
