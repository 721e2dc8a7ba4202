"""Reading JSON Lines: an object a line."""

import json
from collections import Counter as Counted
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from training.data.data_card import FileCard
from training.data.reading.batch import BLANK, Batch
from training.data.reading.counting import Counter
from training.data.reading.quoting import whole_lines
from training.data.reading.text import AS_UTF8, Text
from training.errors import DataError

NO_OBJECT = "is no JSON object"
TWICE = "twice in one object"
NO_WHOLE = "that is a number but no whole one"
_LINES_AT_ONCE = 16_384
"""A bound on memory: some megabytes of text."""


class _Fraction(str):
    """A number that is written with a fraction part or an exponent."""


class _Repeating(dict[str, Any]):
    """An object with several members of one name."""

    repeated: frozenset[str]


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) == len(members):
        return found
    repeating = _Repeating(found)
    names = Counted(name for name, _ in members)
    repeating.repeated = frozenset(name for name, count in names.items() if count > 1)
    return repeating


# Numbers stay as they are written, so that an id beyond 2^53 or one with a fraction is seen as it is.
_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=_Fraction, parse_constant=str, object_pairs_hook=_object
)


class JsonLinesFile:
    """A file with a JSON object in each line."""

    def __init__(
        self,
        text: Text,
        ids: Collection[str],
        lists: Collection[str],
        spare: Collection[str],
        booleans: Collection[str] = (),
    ) -> None:
        """Open it. In the columns `ids` a number must be whole.

        What is neither text nor a number is a fault; but in `lists` a list or an object is read as its JSON
        text, in `booleans` true and false are, and in `spare` anything is.
        """
        self.name = text.name
        self._text = text
        self._ids, self._lists, self._spare, self._booleans = ids, lists, spare, booleans
        self._seen: dict[str, None] = {}
        self._counter = Counter()

    @property
    def names(self) -> Sequence[str]:
        """The members that any of the objects read so far has."""
        return list(self._seen)

    def kind(self, column: str) -> pa.DataType:  # noqa: ARG002
        """Text, as the value is written: numbers too."""
        return pa.string()

    def batches(self, wanted: Sequence[str], *, texts: bool) -> Iterator[Batch]:
        """Yield all lines. Raises DataError where a wanted value is not Unicode."""
        self._counter = Counter()
        numbered = enumerate(self._lines(), 1)
        while some := list(islice(numbered, _LINES_AT_ONCE)):
            read = [self._read(line, wanted) for _, line in some]
            lines = np.array([number for number, _ in some], np.int64)
            columns = [
                self._strings(column, [record.get(column) for record, _ in read], lines) for column in wanted
            ]
            faults = pa.array([fault for _, fault in read], pa.string())
            whole = pa.array([line.strip() for _, line in some], pa.binary()) if texts else None
            yield Batch(columns, lines, faults, whole)
        self._counter.finish()

    def card(self) -> FileCard:
        """Its lines, counted."""
        text = self._text
        return FileCard(
            file=self.name,
            format="JSON Lines",
            compression=text.compression,
            encoding=text.encoding,
            records=self._counter.lines,
        )

    def _lines(self) -> Iterator[bytes]:
        for lines in whole_lines(self.name, self._counted()):
            yield from lines.removesuffix(b"\n").split(b"\n")

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._text.chunks():
            self._counter.feed(chunk)
            yield chunk

    def _read(self, line: bytes, wanted: Sequence[str]) -> tuple[dict[str, Any], str | None]:
        """The object of a line; if it cannot be used, an empty one and why."""
        if not line.strip():
            return {}, BLANK
        try:
            record = _DECODER.decode(line.decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            return {}, NO_OBJECT
        if not isinstance(record, dict):
            return {}, NO_OBJECT
        self._seen.update(dict.fromkeys(record))
        for column in wanted:
            if fault := self._fault(record, column):
                return {}, fault
            value = record.get(column)
            if not (value is None or isinstance(value, str)):
                record[column] = json.dumps(value, ensure_ascii=False)
        return record, None

    def _fault(self, record: dict[str, Any], column: str) -> str | None:
        """The reason why a record's `column` cannot be read; None if it can be."""
        value = record.get(column)
        if isinstance(record, _Repeating) and column in record.repeated:
            return f"names {column} {TWICE}"
        if isinstance(value, _Fraction) and column in self._ids:
            return f"has a {column} {NO_WHOLE}"
        if value is None or isinstance(value, str) or column in self._spare:
            return None
        if column not in (self._booleans if isinstance(value, bool) else self._lists):
            return f"has a {column} that is neither text nor a number"
        return None

    def _strings(self, column: str, values: list[str | None], lines: npt.NDArray[np.int64]) -> pa.Array:
        try:
            return pa.array(values, pa.string())
        except UnicodeEncodeError as error:
            if column in self._spare:
                return pa.array([value and value.encode(errors="replace").decode() for value in values])
            where = f"{self.name}, line {lines[values.index(error.object)]:,}: {column}"
            if "\udc80" <= error.object[error.start] <= "\udcff":  # a byte that was no UTF-8
                raise DataError(f"{where} is not UTF-8 text; {AS_UTF8}") from None
            raise DataError(f"{where} has half a surrogate pair, which is not Unicode") from None
