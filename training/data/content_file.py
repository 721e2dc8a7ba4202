"""A Parquet file of content vectors: numbers of the caller's own making that tell what items are like."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.vector_index import Rows
from training.errors import DataError

MAX_INPUTS = 4_096
"""Numbers of a content vector: as many as `PUT /items` takes."""
_COLUMNS = ("item_id", "content")


class ItemContent(NamedTuple):
    """Unit content vectors of items of a catalogue."""

    rows: Rows
    """(items,) each once."""
    vectors: NDArray[np.float32]
    """(items, inputs)."""


def read_content(path: Path, catalogue: Catalogue) -> ItemContent:
    """The content of the items that the catalogue has, from the columns `item_id` and `content` of a file.

    Content that is missing, or nothing but zeros, is none. Raises DataError, naming the item and the remedy.
    """
    ids, lists = _columns(path)
    rows = np.array([catalogue.row(item_id) or 0 for item_id in ids.to_pylist()], dtype=np.int64)
    kept = (rows > 0) & lists.is_valid().to_numpy(zero_copy_only=False)
    rows, lists, ids = rows[kept], lists.filter(pa.array(kept)), ids.filter(pa.array(kept))
    if not len(rows):
        raise DataError(f"{path} has content of no item of the data: give the ids that the event log has")
    unique, counts = np.unique(rows, return_counts=True)
    if len(unique) < len(rows):
        twice = catalogue.item_ids[unique[counts > 1][0] - 1]
        raise DataError(f"{path} has content of item {twice} more than once: give each item one line")
    vectors = _matrix(path, ids, lists)
    greatest = np.abs(vectors).max(axis=1)
    some = greatest > 0
    scaled = vectors[some] / greatest[some, None]
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return ItemContent(rows[some], unit.astype(np.float32))


def _columns(path: Path) -> tuple[pa.Array, pa.Array]:
    """The ids as text, and the lists of numbers."""
    try:
        names = pq.read_schema(path).names
        missing = [name for name in _COLUMNS if name not in names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]}: it needs {' and '.join(_COLUMNS)}")
        table = pq.read_table(path.absolute(), columns=list(_COLUMNS), partitioning=None)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as Parquet ({reason}): give a Parquet file") from error
    ids, lists = (table[name].combine_chunks() for name in _COLUMNS)
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if not (
        pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)
    ):
        raise DataError(f"{path}: item_id must be strings or integers, not {ids.type}: cast it")
    if ids.null_count:
        raise DataError(f"{path}: item_id is missing in {ids.null_count} lines: fill it or leave them out")
    listed = lists.type
    if not isinstance(listed, pa.ListType | pa.LargeListType | pa.FixedSizeListType) or not (
        pa.types.is_floating(listed.value_type) or pa.types.is_integer(listed.value_type)
    ):
        raise DataError(f"{path}: content must be lists of numbers, not {listed}: cast it")
    return pc.utf8_trim_whitespace(ids.cast(pa.string())), lists


def _matrix(path: Path, ids: pa.Array, lists: pa.Array) -> NDArray[np.float64]:
    """(items, inputs), all finite."""
    lengths = pc.list_value_length(lists).to_numpy()
    inputs = int(lengths[0])
    others = np.flatnonzero(lengths != inputs)
    if len(others):
        raise DataError(
            f"{path}: content of item {ids[others[0]]} has {lengths[others[0]]} numbers, that of"
            f" {ids[0]} {inputs}: give all of them as many"
        )
    if not 1 <= inputs <= MAX_INPUTS:
        raise DataError(f"{path}: content must have 1 … {MAX_INPUTS} numbers, not {inputs}")
    flat = pc.list_flatten(lists).cast(pa.float64())
    vectors: NDArray[np.float64] = flat.fill_null(np.nan).to_numpy().reshape(-1, inputs)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: content of item {ids[bad[0]]} has a number that is not finite: leave it out"
        )
    return vectors
