"""Reading JSON Lines: an object a line."""

import json
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
from training.data.reading.text import Text
from training.errors import DataError

NO_OBJECT = "is no JSON object"
_LINES_AT_ONCE = 16_384

# Numbers stay as they are written, so that an id beyond 2^53 or one with a fraction is seen as it is.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class JsonLinesFile:
    """A file with a JSON object in each line."""

    def __init__(self, text: Text, lists: Collection[str]) -> None:
        """Open it; in the columns `lists` a list or an object is read as its JSON text, else a fault."""
        self.name = text.name
        self._text = text
        self._lists = lists
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
            places = np.array([number for number, _ in some], np.int64)
            columns = [
                self._strings(column, [record.get(column) for record, _ in read], places) for column in wanted
            ]
            faults = pa.array([fault for _, fault in read], pa.string())
            whole = pa.array([line.strip() for _, line in some], pa.binary()) if texts else None
            yield Batch(columns, places, faults, whole)
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
            record = _DECODER.decode(line.decode())
        except (ValueError, RecursionError):
            return {}, NO_OBJECT
        if not isinstance(record, dict):
            return {}, NO_OBJECT
        self._seen.update(dict.fromkeys(record))
        for column in wanted:
            value = record.get(column)
            if value is None or isinstance(value, str):
                continue
            if isinstance(value, bool) or column not in self._lists:
                return {}, f"has a {column} that is neither text nor a number"
            record[column] = json.dumps(value, ensure_ascii=False)
        return record, None

    def _strings(self, column: str, values: list[str | None], places: npt.NDArray[np.int64]) -> pa.Array:
        try:
            return pa.array(values, pa.string())
        except UnicodeEncodeError as error:
            line = places[values.index(error.object)]
            raise DataError(
                f"{self.name}, line {line:,}: {column} has half a surrogate pair, which is not Unicode"
            ) from None
