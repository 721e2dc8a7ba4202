"""The items of prepared data as a Parquet file; attributes are columns after the others."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from files.atomic import replacing
from index.attribute_columns import ARROW, PREFIX, from_arrow, to_arrow
from index.attributes import AttributeType
from index.catalogue import Catalogue
from index.errors import CatalogueError

_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.list_(pa.string())),
        pa.field("popularity", pa.int64(), nullable=False),
    ]
)


def write_items(catalogue: Catalogue, path: Path) -> None:
    """Write the catalogue as Parquet, atomically."""
    columns = [catalogue.item_ids, catalogue.titles, catalogue.categories, catalogue.popularity]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
    for name, column in to_arrow(catalogue.attributes).items():
        table = table.append_column(PREFIX + name, column)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_items(path: Path) -> Catalogue:
    """The catalogue that `write_items` wrote; `CatalogueError` when it cannot be used."""
    try:
        table = pq.read_table(path.absolute(), partitioning=None)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise CatalogueError(f"{path.name} cannot be read ({reason}): prepare the items again") from error
    attributes = dict(_attributes_in(table.schema))
    plain = [column for column in _columns(table.schema) if column[0] not in attributes]
    if plain != _columns(_SCHEMA):
        found, expected = (_spelled(schema) for schema in (table.schema, _SCHEMA))
        raise CatalogueError(
            f"{path.name} must have the columns {expected}, it has {found}: prepare the items again"
        )
    for name in ("item_id", "popularity"):
        if table[name].null_count:
            raise CatalogueError(f"{path.name} has nulls in {name}: prepare the items again")
    categories = [names or () for names in table["category"].to_pylist()]
    popularity = table["popularity"].to_numpy()
    columns = {
        name.removeprefix(PREFIX): (kind, table[name].combine_chunks()) for name, kind in attributes.items()
    }
    return Catalogue(
        table["item_id"].to_pylist(),
        table["title"].to_pylist(),
        categories,
        popularity,
        from_arrow(table.num_rows, columns),
    )


def _attributes_in(schema: pa.Schema) -> Iterator[tuple[str, AttributeType]]:
    """The columns that are attributes, each with its type."""
    for field in schema:
        for kind, arrow in ARROW.items():
            if field.name.startswith(PREFIX) and field.type == arrow:
                yield field.name, kind


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def _spelled(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
