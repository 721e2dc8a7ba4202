"""Prepared data in memory and on disk: one flat log of item rows, users one after the other."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from files.atomic import replacing
from index.attribute_columns import to_arrow
from index.catalogue import Catalogue
from index.errors import IndexingError
from training.data.items_table import read_items, write_items
from training.errors import DataError

TimestampUnit = Literal["s", "ms", "us", "ns", "order"]
"""The kind of the log's timestamps: a clock's count since the epoch (ms for date-times), or just an order."""

WINDOWS = ("train", "validation", "test")
"""Values of an event log's window column; their indices here are the codes in `Dataset.windows`."""

SEQUENCES_FILE = "sequences.parquet"
ITEMS_FILE = "items.parquet"
_FORMAT = "dimerec-sequences-1"


@dataclass(frozen=True)
class Dataset:
    """Every user's events, oldest first, as stretches of one flat log."""

    user_ids: list[str]
    """User u's id; users are sorted by id."""
    items: npt.NDArray[np.int32]
    """`(events,)` item rows, 1…n."""
    timestamps: npt.NDArray[np.int64]
    """`(events,)` milliseconds since the epoch, or an order where `timestamp_unit` says so."""
    offsets: npt.NDArray[np.int64]
    """`(users + 1,)`: user u's events are `offsets[u]` … `offsets[u + 1] - 1`."""
    catalogue: Catalogue
    timestamp_unit: TimestampUnit
    windows: npt.NDArray[np.int8] | None = None
    """`(events,)` indices in `WINDOWS`, where the log assigns its events to them."""
    catalogue_sequence: int = 0
    """Of the last change of the catalogue in service that was obeyed; 0: none was known."""

    def __len__(self) -> int:
        return len(self.user_ids)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """All item rows of the user with this index, oldest first (a view)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content: the same events and items give the same, in whatever row order.

        One moment is one moment, so the unit of the log's clock does not count: `s` stands for all of them.
        """
        meaning = "order" if self.timestamp_unit == "order" else "s"
        digest = hashlib.sha256(f"{_FORMAT} {meaning}".encode())
        _update_with_texts(digest, self.user_ids)
        for array in (self.items, self.timestamps, self.offsets, self.windows, self.catalogue.popularity):
            if array is not None:
                digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        _update_with_texts(digest, self.catalogue.item_ids)
        _update_with_texts(digest, (title or "" for title in self.catalogue.titles))
        _update_with_texts(digest, ("\x1f".join(categories) for categories in self.catalogue.categories))
        for name, column in to_arrow(self.catalogue.attributes).items():
            values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            _update_with_texts(digest, (name, str(column.type), *map(json.dumps, values.to_pylist())))
        return digest.hexdigest()


def write_dataset(dataset: Dataset, directory: Path) -> None:
    """Write `sequences.parquet` and `items.parquet` into `directory`, each of them atomically."""
    offsets = pa.array(dataset.offsets, pa.int64())
    columns = {
        "user_id": pa.array(dataset.user_ids, pa.string()),
        "items": _lists(offsets, pa.array(dataset.items, pa.int32())),
        "timestamps": _lists(offsets, pa.array(dataset.timestamps, pa.int64())),
    }
    if dataset.windows is not None:
        names = pa.DictionaryArray.from_arrays(pa.array(dataset.windows, pa.int8()), pa.array(WINDOWS))
        columns["windows"] = _lists(offsets, names.cast(pa.string()))
    metadata = {
        "format": _FORMAT,
        "timestamp_unit": dataset.timestamp_unit,
        "fingerprint": dataset.fingerprint,
        "catalogue_sequence": str(dataset.catalogue_sequence),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_items(dataset.catalogue, directory / ITEMS_FILE)
    with replacing(directory / SEQUENCES_FILE) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")


def read_dataset(directory: Path) -> Dataset:
    """Read what `prepare` wrote into `directory`.

    Raises DataError if it is missing, damaged, or its two files do not belong together.
    """
    path = directory / SEQUENCES_FILE
    remedy = "run `dimerec prepare` to make it"
    try:
        table = pq.read_table(path.absolute(), partitioning=None)
        catalogue = read_items(directory / ITEMS_FILE)
    except FileNotFoundError as error:
        raise DataError(
            f"{directory} is not a prepared data set ({error.filename or path}); {remedy}"
        ) from error
    except (OSError, pa.ArrowException, IndexingError) as error:
        raise DataError(f"{directory} cannot be read ({' '.join(str(error).split())}); {remedy}") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    unit = metadata.get("timestamp_unit")
    if metadata.get("format") != _FORMAT or unit not in get_args(TimestampUnit):
        raise DataError(f"{path} is not of the format {_FORMAT}; {remedy} anew")
    items = _whole(table, "items")
    dataset = Dataset(
        user_ids=table.column("user_id").to_pylist(),
        items=_flat(table, "items"),
        timestamps=_flat(table, "timestamps"),
        offsets=items.offsets.to_numpy().astype(np.int64),
        catalogue=catalogue,
        timestamp_unit=cast(TimestampUnit, unit),
        windows=_windows(table) if "windows" in table.column_names else None,
        catalogue_sequence=int(metadata.get("catalogue_sequence", 0)),
    )
    del table, items
    pa.default_memory_pool().release_unused()  # Arrow would keep several times the data for its next read
    if dataset.fingerprint != metadata.get("fingerprint"):
        raise DataError(f"{path} and {ITEMS_FILE} beside it do not belong together; {remedy} anew")
    return dataset


def _lists(offsets: pa.Array, values: pa.Array) -> pa.Array:
    if len(values) <= np.iinfo(np.int32).max:
        return pa.ListArray.from_arrays(offsets.cast(pa.int32()), values)
    return pa.LargeListArray.from_arrays(offsets, values)


def _whole(table: pa.Table, column: str) -> pa.Array:
    """A column in one piece; copied only where it is not."""
    chunks = table.column(column)
    return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()


def _flat(table: pa.Table, column: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = _whole(table, column).flatten().to_numpy()
    return values


def _windows(table: pa.Table) -> npt.NDArray[np.int8]:
    names = _whole(table, "windows").flatten()
    codes: npt.NDArray[np.int8] = pc.index_in(names, pa.array(WINDOWS)).to_numpy().astype(np.int8)
    return codes


def _update_with_texts(digest: "hashlib._Hash", texts: Iterable[str]) -> None:
    """Add texts to a digest, each with its length, so that no two lists of texts read the same."""
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
