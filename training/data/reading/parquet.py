"""Reading Parquet by way of Arrow, which reads what Polars panics at, such as the time zone +05:30."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.data_card import FileCard
from training.data.reading.batch import Batch
from training.data.reading.sources import Source, explaining
from training.errors import DataError

_ROWS_AT_ONCE = 65_536
"""A bound on memory; pyarrow's own default."""
_NO_FAULT = pa.scalar(None, pa.string())


class ParquetFile:
    """A Parquet file, opened."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._source = source
        with explaining(self.name, "Parquet"), source.path.open("rb") as file:
            metadata = pq.read_metadata(file)
        self._schema: pa.Schema = metadata.schema.to_arrow_schema()
        self._rows: int = metadata.num_rows

    @property
    def names(self) -> Sequence[str]:
        """Its columns, in order."""
        names: list[str] = self._schema.names
        return names

    def kind(self, column: str) -> pa.DataType:
        """The type that `batches` gives a column: one of few, whatever the file has.

        Raises DataError for a type that none of them can hold.
        """
        kind = self._schema.types[self.names.index(column)]
        plain = _plain(kind)
        if plain is None:
            what = str(kind).partition("<")[0]
            raise DataError(
                f"{self.name}: column {column!r} is {what}; it must hold text, numbers or date-times, cast it"
            )
        return plain

    def batches(self, wanted: Sequence[str], *, texts: bool) -> Iterator[Batch]:
        """Yield all rows; their texts are JSON. Raises DataError where the file is damaged."""
        columns = None if texts else list(wanted)
        row = 1
        with explaining(self.name, "Parquet"), self._source.path.open("rb") as file:
            for rows in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=columns):
                there = rows.schema.names
                yield Batch(
                    [self._plainly(column, rows.column(there.index(column))) for column in wanted],
                    np.arange(row, row + rows.num_rows),
                    pa.repeat(_NO_FAULT, rows.num_rows),
                    _as_json(rows) if texts else None,
                )
                row += rows.num_rows

    def card(self) -> FileCard:
        """Its records are as many as its footer says."""
        return FileCard(file=self.name, format="Parquet", records=self._rows)

    def _plainly(self, column: str, values: pa.Array) -> pa.Array:
        kind = self.kind(column)
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        if pa.types.is_timestamp(values.type):
            # By way of its number, for the instant is in it whatever the time zone.
            return values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64()).cast(kind)
        try:
            return values.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"{self.name}: column {column!r} is {values.type} and cannot be read as {kind}; cast it"
            ) from None


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type that stands for `kind`; None where there is none."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind):
        return pa.string()
    if types.is_timestamp(kind):
        return pa.timestamp("us")
    if types.is_date(kind):
        return pa.date32()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return None if inner is None else pa.list_(inner)
    as_it_is = (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
        or types.is_decimal128(kind)
    )
    return kind if as_it_is else None


def _as_json(rows: pa.RecordBatch) -> pa.Array:
    lines = [json.dumps(row, ensure_ascii=False, default=str).encode() for row in rows.to_pylist()]
    return pa.array(lines, pa.binary())
