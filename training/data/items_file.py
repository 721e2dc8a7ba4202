"""Reading an items file: titles and categories of the caller's items."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from files.ids import MAX_ID_LENGTH, MISSING_WORDS, PADDING, PRINTABLE
from training.data.categories import LISTS, OPENS_A_LIST, UnreadableCategoriesError, categories_of
from training.data.data_card import Dropped
from training.data.prepare_options import PrepareOptions
from training.data.reading.sources import Paths
from training.data.reading.table import FAULT, ORIGIN, Table, Wanted, read_table
from training.data.tables import refuse_one_for_two, refuse_spoilt_id, spoilt_id, text_expression
from training.errors import DataError

WITHOUT_ID = f"no id of 1–{MAX_ID_LENGTH} printable characters"
REPEATED = "repeats the id of another row"

_NO_TITLE = (r"\N",)
_MAX_EXAMPLE_LENGTH = 80
"""Characters of a value that a message quotes: a line of a terminal."""


@dataclass(frozen=True)
class ItemsFile:
    """The items that a file lists."""

    items: pl.DataFrame
    """`item_id` string, `title` string or null, `categories` strings; one row an item, sorted by id."""
    repeated: int
    without_id: int
    odd_titles: int
    """Items whose title is a word for a missing value, such as nan."""
    category_forms: dict[str, int]
    """Rows by how several categories were told apart: `lists`, `|`, `,` …"""
    ignored_columns: list[str]
    unread: list[Dropped]
    """Records that are none, such as blank lines."""
    table: Table
    """The source of the reading."""
    left_out: pl.DataFrame
    """`origin` and `reason` of each record that is not among the items."""


@contextmanager
def open_items_file(paths: Paths, options: PrepareOptions) -> Iterator[ItemsFile]:
    """Read titles and categories; both columns may be absent unless the options name them otherwise.

    Of several rows with one id the first in alphabetical order of title and categories counts, whatever the
    order in the file. Raises DataError if a file cannot be read, lacks a column or has one of a wrong type,
    or if its ids or categories are not what they should be throughout.
    """
    with read_table(paths, _wanted(options), separator=options.separator, quote=options.quote) as table:
        yield _items_file(table, options)


def _wanted(options: PrepareOptions) -> Wanted:
    """Title and categories are required only if the caller named their columns."""
    defaults = PrepareOptions()
    named = {options.title_column: "--title-column", options.category_column: "--category-column"}
    refuse_one_for_two([(_item_column(options), "--items-item-column"), *named.items()])
    required = {
        column: option
        for column, option in named.items()
        if column not in (defaults.title_column, defaults.category_column)
    }
    return Wanted(
        {_item_column(options): "--items-item-column", **required},
        optional=tuple(named),
        ids=(_item_column(options),),
        lists=(options.category_column,),
    )


def _item_column(options: PrepareOptions) -> str:
    return options.items_item_column or options.item_column


def _items_file(table: Table, options: PrepareOptions) -> ItemsFile:
    schema, item_column = table.rows.collect_schema(), _item_column(options)
    rows = table.rows.select(
        item_id=text_expression(table.name, schema, item_column, options.missing),
        title=_title(table.name, schema, options.title_column),
        categories=_raw_categories(table.name, schema, options.category_column),
        origin=ORIGIN,
        fault=FAULT,
    ).collect(engine="streaming")
    spoilt = spoilt_id(pl.col("item_id"), literal=options.quote == "none")
    refuse_spoilt_id(table.name, item_column, rows.select(spoilt).item())
    rows, forms = _with_categories(f"{table.name}: column {options.category_column!r}", rows, options)
    item_id = pl.col("item_id").str
    usable = (item_id.len_chars() <= MAX_ID_LENGTH) & item_id.contains(PRINTABLE)
    read = rows.filter(pl.col("fault").is_null())
    with_id = read.filter(usable)
    items = with_id.sort("item_id", "title", pl.col("categories").list.join("\x1f"), nulls_last=True)
    items = items.unique("item_id", keep="first", maintain_order=True)
    left_out = [
        rows.select("origin", reason="fault").drop_nulls(),
        read.filter(~usable.fill_null(value=False)).select("origin", reason=pl.lit(WITHOUT_ID)),
        with_id.join(items, on="origin", how="anti").select("origin", reason=pl.lit(REPEATED)),
    ]
    known = {item_column, options.title_column, options.category_column}
    return ItemsFile(
        items.drop("origin", "fault"),
        repeated=with_id.height - items.height,
        without_id=read.height - with_id.height,
        odd_titles=int(items["title"].is_in(MISSING_WORDS).sum()),
        category_forms=forms,
        ignored_columns=sorted(set(table.names) - known),
        unread=[Dropped(reason=reason, events=records) for reason, records in _faults(rows)],
        table=table,
        left_out=pl.concat(left_out),
    )


def _faults(rows: pl.DataFrame) -> list[tuple[str, int]]:
    return rows["fault"].drop_nulls().value_counts(sort=True).rows()


def _title(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    if column not in schema:
        return pl.lit(None, pl.String)
    text = text_expression(path, schema, column, _NO_TITLE)
    return text.str.replace_all(r"\s+", " ")


def _raw_categories(path: str, schema: pl.Schema, column: str) -> pl.Expr:
    """Lists of strings or one string a row, as the file has them."""
    if column not in schema:
        return pl.lit(None, pl.String)
    dtype = schema[column]
    if isinstance(dtype, pl.List | pl.Array):
        text_expression(path, pl.Schema({column: dtype.inner}), column)
        return pl.col(column).cast(pl.List(pl.String))
    return text_expression(path, schema, column)


def _with_categories(
    where: str, rows: pl.DataFrame, options: PrepareOptions
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows with `categories` as lists of names, and rows by the form that these had."""
    raw = rows["categories"]
    if isinstance(raw.dtype, pl.List):
        members = raw.explode().drop_nulls().str.strip_chars(PADDING)
        torn = members.filter(members.str.contains(OPENS_A_LIST))
        if len(torn):
            raise _unreadable(where, torn[0])
        member = pl.element()
        names = raw.list.eval(member.str.strip_chars(PADDING)).list.eval(
            member.filter(~member.is_in(["", *options.missing]))
        )
        lists = rows.with_columns(categories=names.list.unique(maintain_order=True).fill_null([]))
        return lists, {LISTS: raw.len() - raw.null_count()}
    try:
        split, forms = categories_of(
            dict(raw.drop_nulls().value_counts().iter_rows()), options.category_separator, options.missing
        )
    except UnreadableCategoriesError as error:
        raise _unreadable(where, str(error)) from error
    read = {
        "categories": pl.Series(list(split), dtype=pl.String),
        "names": pl.Series(list(split.values()), dtype=pl.List(pl.String)),
    }
    named = rows.join(pl.DataFrame(read), on="categories", how="left", maintain_order="left")
    return named.with_columns(categories=pl.col("names").fill_null([])).drop("names"), forms


def _unreadable(where: str, text: str) -> DataError:
    return DataError(
        f"{where} holds {text[:_MAX_EXAMPLE_LENGTH]!r}, which is neither a list nor separated; "
        "write JSON lists (jq, json.dumps) or text separated by |, or say --category-separator"
    )
