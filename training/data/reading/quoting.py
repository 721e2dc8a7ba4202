"""Deciding from a whole text if its quotes quote or are literal."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.errors import DataError

Quote = Literal["auto", "none", "double"]
Quoting = Literal["none", "double"]

Bytes = npt.NDArray[np.uint8]

LINE_FEED, RETURN, QUOTE = b'\n\r"'
MAX_LINE_LENGTH = 1 << 26
"""A file without a line end in so many bytes is no text, and is refused before memory is full."""

_LITERAL = "say --quote none if quotes are literal"


@dataclass
class Quotes:
    """The quotes of a text, as RFC 4180 has it: open a field, close it, or stand doubled inside."""

    separator: int
    """Its byte."""
    width: int
    """Fields of the header."""
    present: bool = False
    misplaced: int | None = None
    """The line of the first quote that neither opens nor closes a field and isn't doubled."""
    _swallowing_rows: int | None = None
    """The first line of a record most of whose lines, read literally, have the header's number of fields."""
    _swallowing_fields: int | None = None
    """The first line that has the header's number of fields only if it is read literally."""
    _uneven: bool = False
    """Some line has too few fields without quotes, or has the right number because of quotes."""
    _open: bool = False
    _opened: int = 0
    _line: int = 1
    """The next line's number."""
    _record: list[bool] = field(default_factory=list)
    """Of the record under way: if each of its lines has the header's number of fields."""

    @property
    def unclosed(self) -> int | None:
        """The line of a quote that opens a field and is never closed."""
        return self._opened if self._open else None

    @property
    def swallowing(self) -> int | None:
        """The first line whose quotes enclose what looks like fields or rows of their own.

        Fields only where literal quotes would give every line as many of them as the header has.
        """
        if self._swallowing_rows is not None or self._uneven:
            return self._swallowing_rows
        return self._swallowing_fields

    def feed(self, lines: bytes) -> None:
        """Look at the next lines, whole ones."""
        data = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(data == LINE_FEED)
        quotes = np.flatnonzero(data == QUOTE)
        self.present |= len(quotes) > 0
        if self.misplaced is None:
            opens = (np.arange(len(quotes)) + self._open) % 2 == 0
            wrong = quotes[~self._well_placed(data, quotes, opens)]
            if len(wrong):
                self.misplaced = self._line_of(ends, wrong[0])
            if opens.any():
                self._opened = self._line_of(ends, quotes[opens][-1])
            self._watch(data, ends, quotes)
            self._open ^= len(quotes) % 2 == 1
        self._line += len(ends)

    def _well_placed(
        self, data: Bytes, quotes: npt.NDArray[np.intp], opens: npt.NDArray[np.bool]
    ) -> npt.NDArray[np.bool]:
        before = data[quotes - 1]  # of the first byte of all: the last one, a line feed
        after = data[np.minimum(quotes + 1, len(data) - 1)]
        line_ends = (after == LINE_FEED) | (
            (after == RETURN) & (data[np.minimum(quotes + 2, len(data) - 1)] == LINE_FEED)
        )
        opening = (before == self.separator) | (before == LINE_FEED) | (before == QUOTE)
        closing = (after == self.separator) | line_ends | (after == QUOTE)
        placed: npt.NDArray[np.bool] = np.where(opens, opening, closing)
        return placed

    def _watch(self, data: Bytes, ends: npt.NDArray[np.intp], quotes: npt.NDArray[np.intp]) -> None:
        """Look at what the quotes enclose."""
        separators = np.flatnonzero(data == self.separator)
        outside = separators[(np.searchsorted(quotes, separators) + self._open) % 2 == 0]
        counts, counts_outside = (
            np.diff(np.searchsorted(some, ends), prepend=0) for some in (separators, outside)
        )
        most = self.width - 1
        full = (counts == most) & (counts > 0)
        goes_on = (np.searchsorted(quotes, ends) + self._open) % 2 == 1
        of_several = goes_on | np.concatenate([[bool(self._record)], goes_on[:-1]])
        enclosing = (counts_outside < counts) & ~of_several
        self._uneven |= bool(np.any((counts > 0) & (counts < most) & ~enclosing & ~of_several))
        self._uneven |= bool(np.any(enclosing & (counts_outside == most)))
        if self._swallowing_fields is None and np.any(full & enclosing):
            self._swallowing_fields = self._line + int(np.argmax(full & enclosing))
        for at in np.flatnonzero(of_several):
            self._record.append(bool(full[at]))
            if not goes_on[at]:
                rows = self._record[0] and sum(self._record) * 2 > len(self._record)
                if rows and self._swallowing_rows is None:
                    self._swallowing_rows = self._line + int(at) - len(self._record) + 1
                self._record.clear()

    def _line_of(self, ends: npt.NDArray[np.intp], position: np.intp) -> int:
        return self._line + int(np.searchsorted(ends, position))


def decide(name: str, asked: Quote, quotes: Quotes, header: list[str]) -> Quoting:
    """Decide for the file `name` if its `quotes` quote, `asked` being the option and `header` read literally.

    Raises DataError, which names the line and the remedy, where neither is safe.
    """
    if asked == "none" or not quotes.present:
        return "none"
    wrapped = any(len(column) > 1 and column.startswith('"') and column.endswith('"') for column in header)
    if quotes.misplaced is not None:
        if asked == "auto" and not wrapped:
            return "none"
        raise DataError(
            f"{name}, line {quotes.misplaced:,}: a quote stands inside a field; double it, or {_LITERAL}"
        )
    if quotes.unclosed is not None:
        raise DataError(
            f"{name}, line {quotes.unclosed:,}: a quote is opened and never closed; close it, or {_LITERAL}"
        )
    if asked == "auto" and quotes.swallowing is not None:
        raise DataError(
            f"{name}, line {quotes.swallowing:,}: quotes enclose what looks like fields or rows of their "
            f"own; {_LITERAL}, --quote double if they do enclose one field"
        )
    return "double"


def whole_lines(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut chunks anew at line feeds; the last line gets one where it has none.

    Raises DataError on a line without end.
    """
    rest: list[bytes] = []
    for chunk in chunks:
        lines, feed, begun = chunk.rpartition(b"\n")
        if feed:
            yield b"".join([*rest, lines, feed])
            rest = []
        rest.append(begun)
        if sum(map(len, rest)) > MAX_LINE_LENGTH:
            raise DataError(
                f"{name} has a line of more than {MAX_LINE_LENGTH >> 20} MiB; it is no text of rows"
            )
    if any(rest):
        yield b"".join([*rest, b"\n"])
