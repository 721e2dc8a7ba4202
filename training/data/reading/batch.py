"""The records of a file, some at a time, in columns."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from training.data.data_card import FileCard

BLANK = "is a blank line"


class Batch(NamedTuple):
    """Some records of a file, one after the other."""

    columns: list[pa.Array]
    """Each `(records,)`, of the type that the file's `kinds` says; null where a record has none."""
    lines: npt.NDArray[np.int64]
    """`(records,)` the line where each begins; rows of Parquet count as lines. From 1."""
    faults: pa.Array
    """`(records,)` strings: why a record cannot be read, else null."""
    texts: pa.Array | None
    """`(records,)` each record as it stands in the file, where asked for."""


class TableFile(Protocol):
    """A file of records, opened: its layout is known, its records are not read."""

    name: str

    @property
    def names(self) -> Sequence[str]:
        """Its columns, in order; of JSON Lines known only once `batches` is through."""
        ...

    def kind(self, column: str) -> pa.DataType:
        """The type that `batches` gives a column."""
        ...

    def batches(self, wanted: Sequence[str], *, texts: bool) -> Iterator[Batch]:
        """Yield all records with the `wanted` columns, which the file has, or any of JSON Lines.

        Raises DataError where the file cannot be read on.
        """
        ...

    def card(self) -> FileCard:
        """Facts about the file, `records` by a count that shares nothing with `batches`."""
        ...
