"""The columns of a catalogue and their file, an Arrow IPC file that is mapped and not read.

Line i of the first four columns, and of those of the attributes, which come last, describes row i + 1.
`id_hash` is sorted by itself, with the row of each hash
in `hash_row` beside it: that finds an id's row in a mapped file, where a dictionary would be a copy of all
ids in every process.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from files.atomic import replacing
from files.ids import MAX_ID_LENGTH, is_id
from index.attribute_columns import WORDS, parsed_fields, stored_fields
from index.attributes import Attributes
from index.errors import CatalogueError

SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.large_string(), nullable=False),
        pa.field("title", pa.large_string()),
        pa.field("categories", WORDS, nullable=False),
        pa.field("popularity", pa.int64(), nullable=False),
        pa.field("id_hash", pa.uint64(), nullable=False),
        pa.field("hash_row", pa.int32(), nullable=False),
    ]
)


def id_hash(item_id: str) -> int:
    """A hash of 64 bits, the same in every process; half a surrogate pair, which JSON can write, has one."""
    digest = blake2b(item_id.encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def make_columns(
    item_ids: Sequence[str],
    titles: Sequence[str | None],
    categories: Sequence[Iterable[str]],
    popularity: Sequence[int] | NDArray[np.int64],
    attributes: Attributes,
) -> pa.RecordBatch:
    """The columns of items in row order; `CatalogueError` when they do not fit together."""
    popularity = np.asarray(popularity, dtype=np.int64)
    if attributes.rows != len(item_ids):
        raise CatalogueError(f"{len(item_ids)} items need as many lines of attributes, not {attributes.rows}")
    _check(item_ids, titles, categories, popularity)
    hashes = np.array([id_hash(item_id) for item_id in item_ids], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    columns = [
        pa.array(item_ids, pa.large_string()),
        pa.array(titles, pa.large_string()),
        _encoded(categories),
        pa.array(popularity),
        pa.array(hashes[order]),
        pa.array((order + 1).astype(np.int32)),
    ]
    fields, more = stored_fields(attributes)
    return pa.RecordBatch.from_arrays([*columns, *more], schema=pa.schema([*SCHEMA, *fields]))


def write_columns(columns: pa.RecordBatch, path: Path) -> None:
    """Write the columns so that they can be mapped, atomically."""
    with replacing(path) as temporary, pa.ipc.new_file(str(temporary), columns.schema) as file:
        file.write_batch(columns)


def parse_columns(content: object, name: str) -> pa.RecordBatch:
    """The columns in the bytes of a file that `write_columns` wrote: views, not copies.

    `name`: of the file, whose checksum the caller has compared. Raises `CatalogueError`.
    """
    try:
        file = pa.ipc.open_file(pa.py_buffer(content))
        columns = file.get_batch(0) if file.num_record_batches == 1 else None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise CatalogueError(f"{name} cannot be read ({reason}): publish the bundle again") from error
    if columns is None or list(columns.schema)[: len(SCHEMA)] != list(SCHEMA):
        raise CatalogueError(f"{name} does not have the columns of a bundle's items: publish it again")
    _check_content(columns, name)
    return columns


def attributes_in(columns: pa.RecordBatch) -> Attributes:
    """The attributes, in the columns after those of `SCHEMA`; `CatalogueError` where one is none."""
    more = range(len(SCHEMA), len(columns.schema))
    fields = [columns.schema.field(index) for index in more]
    return parsed_fields(columns.num_rows, fields, [columns.column(index) for index in more])


def _check_content(columns: pa.RecordBatch, name: str) -> None:
    """Refuse columns that hold what `make_columns` never makes; one pass over each, without objects."""
    try:
        columns.validate(full=True)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise CatalogueError(f"{name} is inconsistent ({reason}): publish the bundle again") from error
    categories = columns["categories"]
    parts = {
        **{column: columns[column] for column in SCHEMA.names if column != "title"},
        "categories of an item": categories.values,
        "names of categories": categories.values.dictionary,
    }
    for part, values in parts.items():
        if values.null_count:
            raise CatalogueError(f"{name} has nothing where it needs {part}: publish the bundle again")
    rows = columns["hash_row"].to_numpy()
    if len(rows) and (rows.min() < 1 or rows.max() > len(rows) or columns["popularity"].to_numpy().min() < 0):
        raise CatalogueError(f"{name} has rows or counts out of bounds: publish the bundle again")
    try:
        attributes_in(columns)
    except CatalogueError as error:
        raise CatalogueError(f"{name}: {error}: publish the bundle again") from error


def _encoded(categories: Sequence[Iterable[str]]) -> pa.Array:
    """Each name once, in order of first appearance, and the items' categories as codes of names."""
    code_of: dict[str, int] = {}
    codes: list[int] = []
    offsets = [0]
    for names in categories:
        codes += [code_of.setdefault(name, len(code_of)) for name in dict.fromkeys(names)]
        offsets.append(len(codes))
    names = pa.array(list(code_of), pa.large_string())
    values = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _check(
    item_ids: Sequence[str],
    titles: Sequence[str | None],
    categories: Sequence[Iterable[str]],
    popularity: NDArray[np.int64],
) -> None:
    count = len(item_ids)
    for name, length in {"titles": len(titles), "categories": len(categories)}.items():
        if length != count:
            raise CatalogueError(f"{count} items need as many {name}, not {length}")
    if popularity.shape != (count,) or (count and popularity.min() < 0):
        raise CatalogueError(f"{count} items need as many popularity counts of 0 or more")
    repeated = count - len(set(item_ids))
    if repeated:
        raise CatalogueError(f"{repeated} item ids appear more than once: give each item one row")
    for row, item_id in enumerate(item_ids, start=1):
        if not is_id(item_id):
            raise CatalogueError(
                f"the id of row {row} must have 1 … {MAX_ID_LENGTH} characters, none of them a control"
                " character: give the item another id"
            )
