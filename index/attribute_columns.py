"""Attributes as Arrow: columns of a bundle's file, which are mapped, and columns that anybody reads.

In a bundle a column is `attribute:NAME`, float64 with NaN for none, or a list of words a row, and its type
stands in the field's metadata. Elsewhere it is of the Arrow type that says the same: double, timestamp (ms),
string, bool or list of strings, with nulls.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.attributes import (
    MAX_ATTRIBUTES,
    NUMERIC,
    Attributes,
    AttributeType,
    Column,
    Numbers,
    Words,
    is_attribute_name,
)
from index.errors import CatalogueError

PREFIX = "attribute:"

ARROW: Mapping[AttributeType, pa.DataType] = {
    "number": pa.float64(),
    "date": pa.timestamp("ms", "UTC"),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "texts": pa.list_(pa.string()),
}
"""The type of a column that anybody reads."""
WORDS = pa.list_(pa.dictionary(pa.int32(), pa.large_string()))
"""Of words in a bundle, as categories are."""


class MappedNames:
    """The words of a column in a bundle's file."""

    def __init__(self, words: pa.Array) -> None:
        self.words = words

    def codes_of(self, words: Collection[str]) -> NDArray[np.int64]:
        """The codes of those `words` that there are, in one pass over all."""
        # The other way round all of the file's words would be hashed: 20 times the time for a million.
        asked = pc.is_in(self.words, value_set=pa.array(list(words), pa.large_string()))
        codes: NDArray[np.int64] = np.flatnonzero(asked.to_numpy(zero_copy_only=False))
        return codes

    def __getitem__(self, code: int) -> str:
        word: str = self.words[code].as_py()
        return word


def from_arrow(rows: int, columns: Mapping[str, tuple[AttributeType, pa.Array]]) -> Attributes:
    """The attributes in columns that anybody reads; CatalogueError where they are no attributes."""
    _check_names(columns)
    return Attributes(rows, {name: _column(kind, array) for name, (kind, array) in columns.items()})


def to_arrow(attributes: Attributes) -> dict[str, pa.Array]:
    """Columns that anybody reads."""
    return {name: _plain(column) for name, column in attributes.columns.items()}


def stored_fields(attributes: Attributes) -> tuple[list[pa.Field], list[pa.Array]]:
    """The columns of a bundle, which `parsed_fields` reads."""
    fields, arrays = [], []
    for name, column in attributes.columns.items():
        array = _lists(column) if isinstance(column, Words) else pa.array(column.values)
        fields.append(pa.field(PREFIX + name, array.type, nullable=False, metadata={"type": column.kind}))
        arrays.append(array)
    return fields, arrays


def parsed_fields(rows: int, fields: Sequence[pa.Field], arrays: Sequence[pa.Array]) -> Attributes:
    """The attributes in columns of a bundle, looked at where they are; CatalogueError where they are none."""
    columns: dict[str, Column] = {}
    for field, array in zip(fields, arrays, strict=True):
        kind = (field.metadata or {}).get(b"type", b"").decode(errors="replace")
        name = field.name.removeprefix(PREFIX)
        known = kind in ARROW and field.name.startswith(PREFIX)
        if not known or field.type != (pa.float64() if kind in NUMERIC else WORDS) or array.null_count:
            raise CatalogueError(f"the column {field.name!r:.80} is no attribute")
        columns[name] = _numbers(kind, array) if kind in NUMERIC else _words(kind, array, name)
    _check_names(columns)
    return Attributes(rows, columns)


def _check_names(names: Collection[str]) -> None:
    if len(names) > MAX_ATTRIBUTES:
        raise CatalogueError(f"there are {len(names)} attributes, {MAX_ATTRIBUTES} are allowed")
    for name in names:
        if not is_attribute_name(name):
            raise CatalogueError(f"{name!r:.80} is no name of an attribute")


def _numbers(kind: AttributeType, array: pa.Array) -> Numbers:
    return Numbers(kind, array.to_numpy())


def _words(kind: AttributeType, array: pa.Array, name: str) -> Words:
    values = array.values
    if values.null_count or values.dictionary.null_count:
        raise CatalogueError(f"the attribute {name!r} has nothing where it needs a word")
    offsets = array.offsets.to_numpy()
    if kind != "texts" and len(offsets) > 1 and np.diff(offsets).max() > 1:
        raise CatalogueError(f"the attribute {name!r} has several values in a row, and is no list")
    return Words(kind, offsets, values.indices.to_numpy(), MappedNames(values.dictionary))


def _column(kind: AttributeType, array: pa.Array) -> Column:
    array = array.cast(ARROW[kind])
    if kind == "date":
        array = array.cast(pa.int64())
    if kind in NUMERIC:
        return Numbers(kind, pc.fill_null(array.cast(pa.float64()), np.nan).to_numpy())
    if kind == "texts":
        values, lengths = array.flatten(), pc.fill_null(pc.list_value_length(array), 0)
    else:
        values, lengths = array.drop_null().cast(pa.string()), array.is_valid().cast(pa.int32())
    encoded = values.cast(pa.large_string()).dictionary_encode()
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))]).astype(np.int32)
    return Words(kind, offsets, encoded.indices.to_numpy(), MappedNames(encoded.dictionary))


def _plain(column: Column) -> pa.Array:
    kind = ARROW[column.kind]
    if isinstance(column, Numbers):
        array = pa.array(column.values, from_pandas=True)
        return array.cast(pa.int64()).cast(kind) if column.kind == "date" else array
    lists = _lists(column).cast(pa.list_(pa.string()))
    if column.kind == "texts":
        return lists
    having = np.flatnonzero(np.diff(column.offsets))
    positions = np.full(len(lists), -1)
    positions[having] = column.offsets[having]
    words = lists.flatten().take(pa.array(positions, mask=positions < 0))
    return pc.equal(words, "true") if column.kind == "boolean" else words


def _lists(column: Words) -> pa.Array:
    words = column.names.words if isinstance(column.names, MappedNames) else None
    if words is None:
        raise CatalogueError("attributes of added rows are in no file")
    codes = pa.DictionaryArray.from_arrays(pa.array(column.codes, pa.int32()), words)
    return pa.ListArray.from_arrays(pa.array(column.offsets, pa.int32()), codes)
