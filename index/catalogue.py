"""The catalogue: the caller's item ids and the rows they have here, with titles, categories, popularity."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from files.atomic import replacing
from files.ids import MAX_ID_LENGTH, is_id
from index.errors import CatalogueError
from index.vector_index import Rows

_NO_ROWS: Rows = np.empty(0, dtype=np.int64)

_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.list_(pa.string())),
        pa.field("popularity", pa.int64(), nullable=False),
    ]
)


class Catalogue:
    """Items in row order: line i of every column describes row i + 1; row 0 is padding and is no item.

    `item_ids`: unique, each as `files.ids.is_id` asks; `titles`: None where unknown;
    `categories`: none, one or several an item; `popularity`: events counted in the training log,
    int64 (items,).
    Raises `CatalogueError` when the columns do not fit together.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str | None],
        categories: Sequence[Sequence[str]],
        popularity: Sequence[int] | NDArray[np.int64],
    ) -> None:
        self.item_ids = tuple(item_ids)
        self.titles = tuple(titles)
        self.categories = tuple(tuple(dict.fromkeys(names)) for names in categories)
        self.popularity = np.asarray(popularity, dtype=np.int64)
        self._row_of = {item_id: row for row, item_id in enumerate(self.item_ids, start=1)}
        self._check()
        self._index_categories()

    def __len__(self) -> int:
        return len(self.item_ids)

    def row(self, item_id: str) -> int | None:
        """The row of `item_id`, None when it is not in the catalogue."""
        return self._row_of.get(item_id)

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """The rows of those `item_ids` that are in the catalogue, in their order."""
        found = (self._row_of.get(item_id) for item_id in item_ids)
        return np.array([row for row in found if row is not None], dtype=np.int64)

    def item_id(self, row: int) -> str:
        """The caller's id of `row`."""
        return self.item_ids[self._line(row)]

    def title(self, row: int) -> str | None:
        """The title of `row`, None where unknown."""
        return self.titles[self._line(row)]

    def category(self, row: int) -> tuple[str, ...]:
        """The categories of `row`."""
        return self.categories[self._line(row)]

    @property
    def category_names(self) -> list[str]:
        """Every category, in order of first appearance."""
        return list(self._code_of)

    def unknown_categories(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that no item has, each once, in their order."""
        return [name for name in dict.fromkeys(names) if name not in self._code_of]

    def rows_of(self, category: str) -> Rows:
        """The rows, ascending, that have this category; an unknown one has none."""
        code = self._code_of.get(category)
        return _NO_ROWS if code is None else self._rows_by_code[code]

    def category_codes(self, rows: Rows) -> tuple[Rows, Rows]:
        """The categories of `rows` as pairs: a position in `rows`, and one in `category_names`."""
        lines = rows - 1
        counts = self._offsets[lines + 1] - self._offsets[lines]
        owners = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self._codes[self._offsets[lines][owners] + within]

    def category_matrix(self, rows: Rows) -> NDArray[np.float32]:
        """The categories of `rows`: 0 or 1, (len(rows), categories that occur among them)."""
        owners, codes = self.category_codes(rows)
        present, columns = np.unique(codes, return_inverse=True)
        matrix = np.zeros((len(rows), len(present)), dtype=np.float32)
        matrix[owners, columns] = 1.0
        return matrix

    def write(self, path: Path) -> None:
        """Write the catalogue as Parquet, atomically."""
        columns = [self.item_ids, self.titles, self.categories, self.popularity]
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        with replacing(path) as temporary:
            pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> "Catalogue":
        """Read a catalogue that `write` wrote; `CatalogueError` when it cannot be used."""
        try:
            table = pq.read_table(path.absolute(), partitioning=None)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise CatalogueError(f"{path.name} cannot be read ({reason}): prepare the items again") from error
        if _columns(table.schema) != _columns(_SCHEMA):
            found, expected = (_spelled(schema) for schema in (table.schema, _SCHEMA))
            raise CatalogueError(
                f"{path.name} must have the columns {expected}, it has {found}: prepare the items again"
            )
        for name in ("item_id", "popularity"):
            if table[name].null_count:
                raise CatalogueError(f"{path.name} has nulls in {name}: prepare the items again")
        categories = [names or () for names in table["category"].to_pylist()]
        popularity = table["popularity"].to_numpy()
        return cls(table["item_id"].to_pylist(), table["title"].to_pylist(), categories, popularity)

    def _line(self, row: int) -> int:
        if not 1 <= row <= len(self):
            raise CatalogueError(f"row {row} is not in the catalogue, whose rows are 1 … {len(self)}")
        return row - 1

    def _check(self) -> None:
        count = len(self.item_ids)
        lengths = {"titles": len(self.titles), "categories": len(self.categories)}
        for name, length in lengths.items():
            if length != count:
                raise CatalogueError(f"{count} items need as many {name}, not {length}")
        if self.popularity.shape != (count,) or (count and self.popularity.min() < 0):
            raise CatalogueError(f"{count} items need as many popularity counts of 0 or more")
        if len(self._row_of) != count:
            raise CatalogueError(
                f"{count - len(self._row_of)} item ids appear more than once: give each item one row"
            )
        for row, item_id in enumerate(self.item_ids, start=1):
            if not is_id(item_id):
                raise CatalogueError(
                    f"the id of row {row} must have 1 … {MAX_ID_LENGTH} characters, none of them a control"
                    " character: give the item another id"
                )

    def _index_categories(self) -> None:
        """Lay the categories out flat, as codes: those of line i are `codes[offsets[i]:offsets[i + 1]]`."""
        self._code_of: dict[str, int] = {}
        codes = [
            self._code_of.setdefault(name, len(self._code_of)) for names in self.categories for name in names
        ]
        counts = np.array([len(names) for names in self.categories], dtype=np.int64)
        self._codes = np.array(codes, dtype=np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(counts)])
        # A stable sort keeps the rows of each category ascending.
        order = np.argsort(self._codes, kind="stable")
        owners = np.repeat(np.arange(1, len(self) + 1), counts)[order]
        ends = np.cumsum(np.bincount(self._codes, minlength=len(self._code_of)))
        self._rows_by_code = np.split(owners, ends[:-1])


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def _spelled(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
