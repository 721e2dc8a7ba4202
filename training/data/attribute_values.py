"""Attributes of items out of the columns of an items file, each read as the type that it is to have."""

from collections.abc import Iterator
from typing import TypeVar

import polars as pl

from files.ids import PADDING, PRINTABLE
from index.attributes import EARLIEST_DATE_MS, LATEST_DATE_MS, MAX_TEXT_LENGTH, MAX_TEXTS, AttributeType
from training.data.list_columns import MAX_EXAMPLE_LENGTH, raw_lists, read_lists
from training.data.prepare_options import PrepareOptions
from training.data.tables import TEXT, number_expression, text_expression
from training.data.time_column import time_column
from training.errors import DataError

Column = TypeVar("Column", pl.Expr, pl.Series)

PREFIX = "attribute:"
_UNREAD = "unread:"
_SPELLED: dict[AttributeType, str] = {
    "number": "a finite number",
    "date": "a date or date-time of ISO 8601",
    "text": f"a text of at most {MAX_TEXT_LENGTH} characters without control characters",
    "boolean": "true, false, 1 or 0",
    "texts": f"a list of at most {MAX_TEXTS} texts, each of at most {MAX_TEXT_LENGTH} characters",
}


def attribute_columns(path: str, schema: pl.Schema, options: PrepareOptions) -> Iterator[pl.Expr]:
    """For each attribute its values, null for none, and beside them the text that is none of its type.

    Lists are as the file has them, for `with_lists`. Raises DataError for columns of a wrong type.
    """
    for name, kind in options.attributes.items():
        value, unread = _read(path, schema, name, kind, options)
        yield value.alias(PREFIX + name)
        yield unread.alias(_UNREAD + name)


def with_attributes(path: str, rows: pl.DataFrame, options: PrepareOptions) -> pl.DataFrame:
    """The rows with what `attribute_columns` read, lists as such; raises DataError for what is none."""
    for name, kind in options.attributes.items():
        if kind == "texts":
            names, _ = read_lists(f"{path}: column {name!r}", rows[PREFIX + name], options)
            having = pl.when(names.list.len() > 0).then(names)
            rows = rows.with_columns(having.alias(PREFIX + name))
            texts = names.explode().drop_nulls()
            long = names.filter(names.list.len() > MAX_TEXTS).list.join("|")
            unread = pl.concat([texts.filter(~_is_text(texts)), long])
        else:
            unread = rows[_UNREAD + name].drop_nulls()
        if len(unread):
            more = f" and {len(unread) - 1:,} such values" if len(unread) > 1 else ""
            raise DataError(
                f"{path}: column {name!r} holds {unread[0][:MAX_EXAMPLE_LENGTH]!r}{more}, which is not "
                f"{_SPELLED[kind]}; write it so, give --attribute another type, or say --missing for a word "
                "that means none"
            )
    return rows.drop(_UNREAD + name for name in options.attributes)


def _read(
    path: str, schema: pl.Schema, name: str, kind: AttributeType, options: PrepareOptions
) -> tuple[pl.Expr, pl.Expr]:
    dtype, no_text = schema[name], pl.lit(None, pl.String)
    if kind == "texts":
        return raw_lists(path, schema, name), no_text
    if kind == "text":
        text = text_expression(path, schema, name, options.missing)
        return text, pl.when(~_is_text(text)).then(text)
    if kind == "date":
        return _date(path, schema, name, options)
    if kind == "boolean" and isinstance(dtype, pl.Boolean):
        return pl.col(name), no_text
    if kind == "number" and isinstance(dtype, pl.Boolean):
        raise DataError(f"{path}: column {name!r} is {dtype}; say --attribute {name}:boolean")
    if not isinstance(dtype, TEXT):
        number = number_expression(path, schema, name)
        if kind == "number":
            return number, no_text
        return number == 1, pl.when(~number.is_in([0.0, 1.0])).then(number.cast(pl.String))
    text = pl.col(name).cast(pl.String).str.strip_chars(PADDING)
    text = pl.when(~text.is_in(["", *options.missing])).then(text)
    if kind == "number":
        number = number_expression(path, schema, name)
        return pl.when(text.is_not_null()).then(number), pl.when(number.is_null()).then(text)
    lower = text.str.to_lowercase()
    known = lower.is_in(["true", "false", "1", "0"])
    return pl.when(known).then(lower.is_in(["true", "1"])), pl.when(~known).then(text)


def _date(path: str, schema: pl.Schema, name: str, options: PrepareOptions) -> tuple[pl.Expr, pl.Expr]:
    column = time_column(path, schema, name, options.missing)
    date = column.moment // 1000
    of_calendar = date.is_between(EARLIEST_DATE_MS, LATEST_DATE_MS)
    unread = pl.when(~column.missing & ~of_calendar.fill_null(value=False)).then(pl.col(name).cast(pl.String))
    return pl.when(of_calendar).then(date).cast(pl.Datetime("ms", "UTC")), unread


def _is_text(text: Column) -> Column:
    return (text.str.len_chars() <= MAX_TEXT_LENGTH) & text.str.contains(PRINTABLE)
