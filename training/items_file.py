"""Reading an items file: titles and categories of the caller's items."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from files.ids import MAX_ID_LENGTH, PRINTABLE
from training.data_card import Dropped
from training.prepare_options import PrepareOptions
from training.reading.sources import Paths
from training.reading.table import FAULT, ORIGIN, Table, Wanted, read_table
from training.tables import text_expression

WITHOUT_ID = f"no id of 1–{MAX_ID_LENGTH} printable characters"
REPEATED = "repeats the id of another row"

_SEPARATORS = {"|": "|", ",": ",", ";": ";", "space": " "}


@dataclass(frozen=True)
class ItemsFile:
    """The items that a file lists."""

    items: pl.DataFrame
    """`item_id` string, `title` string or null, `categories` strings; one row an item, sorted by id."""
    repeated: int
    without_id: int
    ignored_columns: list[str]
    unread: list[Dropped]
    """Records that are none, such as blank lines."""
    table: Table
    """Where they were read from."""
    left_out: pl.DataFrame
    """`origin` and `reason` of each record that is not among the items."""


@contextmanager
def open_items_file(paths: Paths, options: PrepareOptions) -> Iterator[ItemsFile]:
    """Read titles and categories; both columns may be absent unless the options name them otherwise.

    Of several rows with one id the first in alphabetical order of title and categories counts, whatever the
    order in the file. Raises DataError if a file cannot be read, lacks a column or has one of a wrong type.
    """
    wanted = Wanted(
        {options.item_column: "--item-column", **_named(options)},
        optional=(options.title_column, options.category_column),
        lists=(options.category_column,),
    )
    with read_table(paths, wanted, separator=options.separator, quote=options.quote) as table:
        yield _items_file(table, options)


def _items_file(table: Table, options: PrepareOptions) -> ItemsFile:
    schema = table.rows.collect_schema()
    has_title, has_category = options.title_column in schema, options.category_column in schema
    title = (
        text_expression(table.name, schema, options.title_column) if has_title else pl.lit(None, pl.String)
    )
    categories = (
        _categories(table.name, table.rows, schema, options)
        if has_category
        else pl.lit([], pl.List(pl.String))
    )
    rows = table.rows.select(
        item_id=text_expression(table.name, schema, options.item_column),
        title=title.str.replace_all(r"\s+", " ").str.strip_chars().replace("", None),
        categories=categories.fill_null([]),
        origin=ORIGIN,
        fault=FAULT,
    ).collect(engine="streaming")
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
    known = {options.item_column, options.title_column, options.category_column}
    return ItemsFile(
        items.drop("origin", "fault"),
        repeated=with_id.height - items.height,
        without_id=read.height - with_id.height,
        ignored_columns=sorted(set(table.names) - known),
        unread=[Dropped(reason=reason, events=records) for reason, records in _faults(rows)],
        table=table,
        left_out=pl.concat(left_out),
    )


def _faults(rows: pl.DataFrame) -> list[tuple[str, int]]:
    return rows["fault"].drop_nulls().value_counts(sort=True).rows()


def _named(options: PrepareOptions) -> dict[str, str]:
    """Columns that the caller named, so that they must be there, and the option that names each."""
    defaults = PrepareOptions()
    named = {}
    if options.title_column != defaults.title_column:
        named[options.title_column] = "--title-column"
    if options.category_column != defaults.category_column:
        named[options.category_column] = "--category-column"
    return named


def _categories(path: str, table: pl.LazyFrame, schema: pl.Schema, options: PrepareOptions) -> pl.Expr:
    """Lists of names without blanks and repeats, in the file's order."""
    column, dtype = options.category_column, schema[options.category_column]
    if isinstance(dtype, pl.List):
        inner = pl.Schema({column: dtype.inner})
        text_expression(path, inner, column)
        lists = pl.col(column).cast(pl.List(pl.String))
    else:
        text = text_expression(path, schema, column)
        separator = _separator(table, text, options)
        if separator == " ":
            text = text.str.replace_all(r"\s+", " ")
        lists = text.str.split(separator) if separator else pl.concat_list(text)
    names = lists.list.eval(pl.element().str.strip_chars())
    return names.list.eval(pl.element().filter(pl.element() != "")).list.unique(maintain_order=True)


def _separator(table: pl.LazyFrame, text: pl.Expr, options: PrepareOptions) -> str | None:
    if options.category_separator != "auto":
        return _SEPARATORS.get(options.category_separator)
    candidates = ("|", ",")
    found = table.select(
        text.str.contains(candidate, literal=True).any().alias(candidate) for candidate in candidates
    ).collect(engine="streaming")
    return next((candidate for candidate in candidates if found[candidate].item()), None)
