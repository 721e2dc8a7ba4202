"""Columns that hold several names a row: real lists, or text."""

import polars as pl

from files.ids import PADDING
from training.data.categories import LISTS, OPENS_A_LIST, UnreadableCategoriesError, categories_of
from training.data.prepare_options import PrepareOptions
from training.data.tables import text_expression
from training.errors import DataError

MAX_EXAMPLE_LENGTH = 80
"""Characters of a value that a message quotes: a line of a terminal."""


def raw_lists(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Lists of strings or one string a row, as the file has them; nulls where it lacks the column."""
    if column not in schema:
        return pl.lit(None, pl.String)
    dtype = schema[column]
    if isinstance(dtype, pl.List | pl.Array):
        text_expression(path, pl.Schema({column: dtype.inner}), column)
        return pl.col(column).cast(pl.List(pl.String))
    return text_expression(path, schema, column)


def read_lists(where: str, raw: pl.Series, options: PrepareOptions) -> tuple[pl.Series, dict[str, int]]:
    """The names in each row of `raw_lists`, each once, and rows by the form that these had.

    Raises DataError, which begins with `where`, for what is neither a list nor separated.
    """
    if isinstance(raw.dtype, pl.List):
        members = raw.explode().drop_nulls().str.strip_chars(PADDING)
        torn = members.filter(members.str.contains(OPENS_A_LIST))
        if len(torn):
            raise _unreadable(where, torn[0])
        member = pl.element()
        names = raw.list.eval(member.str.strip_chars(PADDING)).list.eval(
            member.filter(~member.is_in(["", *options.missing]))
        )
        return names.list.unique(maintain_order=True).fill_null([]), {LISTS: raw.len() - raw.null_count()}
    try:
        split, forms = categories_of(
            dict(raw.drop_nulls().value_counts().iter_rows()), options.category_separator, options.missing
        )
    except UnreadableCategoriesError as error:
        raise _unreadable(where, str(error)) from error
    read = pl.DataFrame(
        {
            "raw": pl.Series(list(split), dtype=pl.String),
            "names": pl.Series(list(split.values()), dtype=pl.List(pl.String)),
        }
    )
    named = raw.alias("raw").to_frame().join(read, on="raw", how="left", maintain_order="left")
    return named["names"].fill_null([]), forms


def _unreadable(where: str, text: str) -> DataError:
    return DataError(
        f"{where} holds {text[:MAX_EXAMPLE_LENGTH]!r}, which is neither a list nor separated; "
        "write JSON lists (jq, json.dumps) or text separated by |, or say --category-separator"
    )
