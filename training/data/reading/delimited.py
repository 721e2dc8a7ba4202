"""Reading CSV, TSV and other delimited text: RFC 4180, or with quotes that are literal.

The records are cut by whole-array operations: a Python object per record or field would make it ten times
slower, and the readers of libraries tell neither where a record stands nor what a row with a field too many
has for the other columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from training.data.reading.batch import BLANK, Batch
from training.data.reading.quoting import LINE_FEED, QUOTE, RETURN, Bytes, Quoting
from training.data.reading.text import AS_UTF8
from training.errors import DataError

Places = npt.NDArray[np.int64]

TOO_LONG = "has more fields than the header"
CR_INSIDE = "has more fields than the header and a CR among them"
_SPACES = b" \r"
_MAX_RECORD_BYTES = 1 << 28
"""A record that goes on for this long is a quote that nobody closed, and is refused before memory is full."""


@dataclass(frozen=True)
class Layout:
    """The layout of a text's fields."""

    separator: str
    quoting: Quoting
    names: tuple[str, ...]
    """Columns, as the header has them."""
    doubtful: bool = False
    """Quotes are literal because one is misplaced, not because somebody said so."""
    spare: frozenset[str] = frozenset()
    """Columns that may hold anything, also what is no UTF-8."""


class _Block(NamedTuple):
    """Whole records and the fields that they consist of."""

    data: Bytes
    starts: Places
    """`(fields,)` where each field starts in `data`."""
    stops: Places
    first: Places
    """`(records,)` each record's first field."""
    last: Places
    lines: Places
    """`(records,)` the line where each begins."""


@dataclass
class Ragged:
    """Records that have more or fewer fields than the header and were read nevertheless."""

    records: int = 0
    """All but blank ones; the header too."""
    longer: int = 0
    shorter: int = 0
    longer_by_one: int = 0
    """Those with one field more, also where that leaves them unread."""


def read_delimited(
    name: str, chunks: Iterator[bytes], layout: Layout, wanted: Sequence[str], ragged: Ragged, *, texts: bool
) -> Iterator[Batch]:
    """Yield the records of a text, its header too, with the `wanted` columns; count into `ragged`.

    Raises DataError where a value of a wanted column is not UTF-8.
    """
    picker = _Picker(layout, wanted)
    for block in _blocks(name, chunks, layout):
        faults, fields = picker.pick(block, ragged)
        columns = [
            _strings(name, column, block, *_span(block, field), layout)
            for column, field in zip(wanted, fields, strict=True)
        ]
        whole = None
        if texts:
            whole = _bytes(block.data, block.starts[block.first], block.stops[block.last])
        yield Batch(columns, block.lines, faults, whole)


def _blocks(name: str, chunks: Iterator[bytes], layout: Layout) -> Iterator[_Block]:
    rest, line = b"", 1
    for chunk in chunks:
        text = rest + chunk
        block = _cut(text, layout, line)
        if block is None:
            rest = text
            if len(rest) > _MAX_RECORD_BYTES:
                raise DataError(
                    f"{name}, line {line:,}: a record of more than {_MAX_RECORD_BYTES >> 20} MiB begins"
                )
            continue
        length = len(block.data)
        line += text.count(b"\n", 0, length)
        rest = text[length:]
        yield block
    if rest and (block := _cut(rest + b"\n", layout, line)):
        yield block


def _cut(text: bytes, layout: Layout, line: int) -> _Block | None:
    """The whole records at the beginning of `text`, which begins at `line`; None where there is none."""
    data = np.frombuffer(text, np.uint8)
    feeds = data == LINE_FEED
    marks = feeds | (data == ord(layout.separator))
    if layout.quoting == "double":
        quoted = np.bitwise_xor.accumulate(data == QUOTE)
        marks &= ~quoted
    stops = np.flatnonzero(marks)
    last = np.flatnonzero(feeds[stops])
    if not len(last):
        return None
    stops = stops[: last[-1] + 1]
    length = stops[-1] + 1
    starts = np.concatenate([[0], stops[:-1] + 1])
    first = np.concatenate([[0], last[:-1] + 1])
    lines = line + np.searchsorted(np.flatnonzero(feeds[:length]), starts[first])
    ends = stops[last]
    returned = (data[ends - 1] == RETURN) & (ends > starts[last])
    stops[last] -= returned
    return _Block(data[:length], starts, stops, first, last, lines)


class _Picker:
    """Finds the wanted columns' fields, also in records with too few or too many."""

    def __init__(self, layout: Layout, wanted: Sequence[str]) -> None:
        self._width = len(layout.names)
        self._wanted = [layout.names.index(column) for column in wanted]
        self._doubtful = layout.doubtful
        spare = [at for at in range(self._width) if at not in self._wanted]
        self._spare_end = spare[-1] + 1 if spare and spare[-1] - spare[0] == len(spare) - 1 else None

    def pick(self, block: _Block, ragged: Ragged) -> tuple[pa.Array, list[Places]]:
        """Of each record, what is wrong with it; and of each wanted column, its field, -1 where it has none.

        Fields that a record has too many belong to the columns that nobody wants, where these lie side by
        side.
        """
        counts = block.last - block.first + 1
        blank = self._blank(block, counts)
        excess = np.maximum(counts - self._width, 0)
        longer = np.flatnonzero(excess)
        too_long, returned = np.zeros((2, len(counts)), bool)
        if len(longer):
            excess[longer[self._empty_at_end(block, longer)]] = 0
            longer = np.flatnonzero(excess)
            returned[longer] = _with_returns(block, longer)
            too_long[longer] = returned[longer] | self._torn(block, longer)
        ragged.records += int(np.count_nonzero(~blank))
        ragged.longer += int(np.count_nonzero(excess) - np.count_nonzero(too_long))
        ragged.longer_by_one += int(np.count_nonzero(excess == 1))
        ragged.shorter += int(np.count_nonzero((counts < self._width) & ~blank))
        unread = blank | too_long
        fields = []
        for at in self._wanted:
            moved = excess if self._spare_end is not None and at >= self._spare_end else 0
            fields.append(np.where(unread | (at >= counts), -1, block.first + at + moved))
        return _faults({BLANK: blank, TOO_LONG: too_long, CR_INSIDE: returned}), fields

    def _blank(self, block: _Block, counts: Places) -> npt.NDArray[np.bool]:
        starts, stops = block.starts[block.first], block.stops[block.first]
        blank: npt.NDArray[np.bool] = (counts == 1) & (starts == stops)
        if self._width > 1:
            for at in np.flatnonzero((counts == 1) & ~blank):
                blank[at] = not block.data[starts[at] : stops[at]].tobytes().strip(_SPACES)
        return blank

    def _empty_at_end(self, block: _Block, longer: Places) -> npt.NDArray[np.bool]:
        """If all fields behind the header's last are empty: separators at the end of lines."""
        filled = np.concatenate([[0], np.cumsum(block.stops > block.starts)])
        empty: npt.NDArray[np.bool] = (
            filled[block.last[longer] + 1] == filled[block.first[longer] + self._width]
        )
        return empty

    def _torn(self, block: _Block, longer: Places) -> npt.NDArray[np.bool]:
        """If nothing tells to which column the fields belong that are too many."""
        if self._spare_end is None:
            return np.ones(len(longer), bool)
        if not self._doubtful:
            return np.zeros(len(longer), bool)
        opened = np.concatenate([[0], np.cumsum(block.data[block.starts] == QUOTE)])
        torn: npt.NDArray[np.bool] = opened[block.last[longer] + 1] > opened[block.first[longer]]
        return torn


def _with_returns(block: _Block, records: Places) -> npt.NDArray[np.bool]:
    """If there is a carriage return before the end of each of `records`."""
    returns = np.flatnonzero(block.data == RETURN)
    starts, stops = block.starts[block.first[records]], block.stops[block.last[records]]
    there: npt.NDArray[np.bool] = np.searchsorted(returns, starts) < np.searchsorted(returns, stops)
    return there


def _faults(records: Mapping[str, npt.NDArray[np.bool]]) -> pa.Array:
    """By fault, the records that have it; the last of several counts."""
    found = {fault: having for fault, having in records.items() if having.any()}
    length = len(next(iter(records.values())))
    if not found:
        return pa.nulls(length, pa.string())
    faults = np.full(length, None, object)
    for fault, having in found.items():
        faults[having] = fault
    return pa.array(faults, pa.string())


def _span(block: _Block, fields: Places) -> tuple[Places, Places]:
    """The start and the end of the fields; those that are -1 are empty."""
    there = fields >= 0
    return np.where(there, block.starts[fields], 0), np.where(there, block.stops[fields], 0)


def _strings(
    name: str, column: str, block: _Block, starts: Places, stops: Places, layout: Layout
) -> pa.Array:
    """The text between `starts` and `stops`, without the quotes around it; null where it is empty."""
    if layout.quoting == "double":
        wrapped = (block.data[starts] == QUOTE) & (stops > starts)
        starts, stops = starts + wrapped, stops - wrapped
    values = _bytes(block.data, starts, stops)
    if layout.quoting == "double":
        values = pc.replace_substring(values, b'""', b'"')
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        if column in layout.spare:
            texts = [
                None if value is None else value.decode(errors="replace") for value in values.to_pylist()
            ]
            return pa.array(texts, pa.string())
        line = next(
            int(line) for line, value in zip(block.lines, values, strict=True) if not _is_utf8(value.as_py())
        )
        raise DataError(f"{name}, line {line:,}: {column} is not UTF-8 text; {AS_UTF8}") from None


def _bytes(data: Bytes, starts: Places, stops: Places) -> pa.Array:
    """The stretches `data[start:stop]` as an array of binary values; null where one is empty."""
    filled = stops > starts
    edges = np.zeros(len(data) + 1, np.int8)
    edges[starts[filled]] += 1
    edges[stops[filled]] -= 1
    values = data[np.cumsum(edges[:-1], dtype=np.int8).view(bool)]
    offsets = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int32)
    nulls = pa.py_buffer(np.packbits(filled, bitorder="little"))
    buffers = [nulls, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.binary(), len(starts), buffers)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
