"""Reading an items file: titles, categories and attributes of the caller's items."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from files.ids import MAX_ID_LENGTH, MISSING_WORDS, PRINTABLE
from index.attributes import AttributeType
from training.data.attribute_values import PREFIX, attribute_columns, with_attributes
from training.data.data_card import Dropped
from training.data.list_columns import raw_lists, read_lists
from training.data.prepare_options import PrepareOptions
from training.data.reading.sources import Paths
from training.data.reading.table import FAULT, ORIGIN, Table, Wanted, read_table
from training.data.tables import refuse_one_for_two, refuse_spoilt_id, spoilt_id, text_expression

WITHOUT_ID = f"no id of 1–{MAX_ID_LENGTH} printable characters"
REPEATED = "repeats the id of another row"

_NO_TITLE = (r"\N",)


@dataclass(frozen=True)
class ItemsFile:
    """The items that a file lists."""

    items: pl.DataFrame
    """`item_id` string, `title` string or null, `categories` strings, and of each attribute its type's;
    one row an item, sorted by id.
    """
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
    """Read titles, categories and the attributes of `options`.

    The first two may be absent unless the options name them otherwise. Of several rows with one id the first
    in the order of title, categories and attributes counts, whatever the order in the file. Raises DataError
    if a file cannot be read, lacks a column or has one of a wrong type, or if its ids, categories or
    attributes are not what they should be throughout.
    """
    with read_table(paths, _wanted(options), separator=options.separator, quote=options.quote) as table:
        yield _items_file(table, options)


def _wanted(options: PrepareOptions) -> Wanted:
    """Title and categories are required only if the caller named their columns."""
    defaults = PrepareOptions()
    named = {options.title_column: "--title-column", options.category_column: "--category-column"}
    attributes = dict.fromkeys(options.attributes, "--attribute")
    refuse_one_for_two([(_item_column(options), "--items-item-column"), *named.items(), *attributes.items()])
    required = {
        column: option
        for column, option in named.items()
        if column not in (defaults.title_column, defaults.category_column)
    }
    return Wanted(
        {_item_column(options): "--items-item-column", **required, **attributes},
        optional=tuple(named),
        ids=(_item_column(options),),
        lists=(options.category_column, *_of_type(options, "texts")),
        booleans=_of_type(options, "boolean"),
    )


def _of_type(options: PrepareOptions, kind: AttributeType) -> tuple[str, ...]:
    return tuple(name for name, own in options.attributes.items() if own == kind)


def _item_column(options: PrepareOptions) -> str:
    return options.items_item_column or options.item_column


def _items_file(table: Table, options: PrepareOptions) -> ItemsFile:
    schema, item_column = table.rows.collect_schema(), _item_column(options)
    rows = table.rows.select(
        *attribute_columns(table.name, schema, options),
        item_id=text_expression(table.name, schema, item_column, options.missing),
        title=_title(table.name, schema, options.title_column),
        categories=raw_lists(table.name, schema, options.category_column),
        origin=ORIGIN,
        fault=FAULT,
    ).collect(engine="streaming")
    spoilt = spoilt_id(pl.col("item_id"), literal=options.quote == "none")
    refuse_spoilt_id(table.name, item_column, rows.select(spoilt).item())
    where = f"{table.name}: column {options.category_column!r}"
    categories, forms = read_lists(where, rows["categories"], options)
    rows = with_attributes(table.name, rows.with_columns(categories.alias("categories")), options)
    item_id = pl.col("item_id").str
    usable = (item_id.len_chars() <= MAX_ID_LENGTH) & item_id.contains(PRINTABLE)
    read = rows.filter(pl.col("fault").is_null())
    with_id = read.filter(usable)
    names = [PREFIX + name for name in options.attributes]
    lists = ["categories", *(PREFIX + name for name in _of_type(options, "texts"))]
    order = [pl.col(name).list.join("\x1f") if name in lists else pl.col(name) for name in lists[:1] + names]
    items = with_id.sort("item_id", "title", *order, nulls_last=True)
    items = items.unique("item_id", keep="first", maintain_order=True)
    left_out = [
        rows.select("origin", reason="fault").drop_nulls(),
        read.filter(~usable.fill_null(value=False)).select("origin", reason=pl.lit(WITHOUT_ID)),
        with_id.join(items, on="origin", how="anti").select("origin", reason=pl.lit(REPEATED)),
    ]
    known = {item_column, options.title_column, options.category_column, *options.attributes}
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
