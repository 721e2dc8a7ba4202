"""A delimited text file, opened: its separator, quoting and header found, its records counted."""

import csv
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.data_card import FileCard
from training.data.reading.batch import Batch
from training.data.reading.counting import Counter
from training.data.reading.delimited import Layout, Ragged, read_delimited
from training.data.reading.quoting import Quote, Quotes, Quoting, decide, whole_lines
from training.data.reading.separators import CANDIDATES, guess_separator
from training.data.reading.text import AS_UTF8, HEAD_BYTES, Text
from training.errors import DataError

_FIRST_LINES = 100
"""Lines whose first fields are compared: more than any header, fewer than the head holds."""
_WRAPPED = r'(?s)^\s*".*"\s*$'


class DelimitedFile:
    """CSV, TSV and the like. Opening it looks once at all of it."""

    def __init__(
        self,
        text: Text,
        wanted: Sequence[str],
        spare: Collection[str],
        separator: str | None,
        quote: Quote,
    ) -> None:
        """Tell the layout, `wanted` being the columns that may be there; `separator`: None to guess it.

        The columns `spare` may hold anything, for nobody asked for them.

        Raises DataError where that cannot be told, with the line.
        """
        self.name = text.name
        self._text = text
        head = _whole_lines_of(text)
        guess = guess_separator(head, wanted, CANDIDATES if separator is None else (separator,))
        self._counter = Counter()
        self._quotes = Quotes(ord(guess.separator), guess.width)
        for lines in whole_lines(self.name, self._counted(text.chunks())):
            self._quotes.feed(lines)
        self._counter.finish()
        blank_lines, header = _header(head, guess.separator, "none")
        quoting = decide(self.name, quote, self._quotes, header)
        if quoting == "double":
            blank_lines, header = _header(head, guess.separator, quoting)
        self._header_line = blank_lines + 1
        doubtful = quote == "auto" and quoting == "none" and self._quotes.present
        names = tuple(name.strip(" \t") for name in header)
        self._layout = Layout(guess.separator, quoting, names, doubtful, frozenset(spare))
        self._named_rows = _begin_differently(head, guess.separator, self._header_line)
        self._ragged = Ragged()

    @property
    def names(self) -> Sequence[str]:
        """Its columns, in order."""
        return self._layout.names

    def kind(self, column: str) -> pa.DataType:  # noqa: ARG002
        """Text: the id `007` keeps its zeros whatever stands in the other rows."""
        return pa.string()

    def batches(self, wanted: Sequence[str], *, texts: bool) -> Iterator[Batch]:
        """Yield all records but the header.

        Raises DataError at what is not UTF-8 or has doubtful quotes, and where the header is one name short.
        """
        self._ragged = Ragged()
        read = read_delimited(self.name, self._text.chunks(), self._layout, wanted, self._ragged, texts=texts)
        for batch in read:
            rows = batch
            if batch.lines[0] <= self._header_line <= batch.lines[-1]:
                rows = _without(batch, self._header_line)
            if self.misquoted is not None:
                self._refuse_quotes(wanted, rows)
            yield rows
        if self._named_rows and self._ragged.longer_by_one == self._ragged.records - 1:
            raise DataError(
                f"{self.name}: every row has one field more than the header, as if R had written the names "
                "of rows; give that column a name in the header, or quote fields that hold the separator"
            )

    @property
    def misquoted(self) -> int | None:
        """The line of the quote for which all quotes are taken literally; None if there is none."""
        return self._quotes.misplaced if self._layout.doubtful else None

    def card(self) -> FileCard:
        """Its layout, and its records by a count of its own."""
        counter, layout = self._counter, self._layout
        return FileCard(
            file=self.name,
            format="delimited text",
            compression=self._text.compression,
            encoding=self._text.encoding,
            separator=layout.separator,
            quote=layout.quoting,
            records=(counter.quoted if layout.quoting == "double" else counter.lines) - 1,
            longer=self._ragged.longer,
            shorter=self._ragged.shorter,
        )

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._counter.feed(chunk)
            yield chunk

    def _refuse_quotes(self, wanted: Sequence[str], batch: Batch) -> None:
        """Raise DataError where quotes are wrapped around a wanted value though they are literal."""
        for column, values in zip(wanted, batch.columns, strict=True):
            if column in self._layout.spare:
                continue
            wrapped = pc.fill_null(pc.match_substring_regex(values, _WRAPPED), fill_value=False).to_numpy(
                zero_copy_only=False
            )
            if wrapped.any():
                raise DataError(
                    f"{self.name}, line {batch.lines[np.argmax(wrapped)]:,}: {column} is between quotes, "
                    f"yet in line {self.misquoted:,} a quote stands inside a field; double that one, "
                    "or say --quote none if quotes are literal"
                )


def _whole_lines_of(text: Text) -> str:
    """The lines at the beginning of a file, the first of which is UTF-8."""
    head = text.head()
    if len(head) >= HEAD_BYTES:
        head = head[: head.rfind(b"\n") + 1]
    if not head.strip():
        raise DataError(
            f"{text.name} has a first line of more than {HEAD_BYTES >> 10} KiB; it is no text of rows"
        )
    try:
        head.lstrip().partition(b"\n")[0].decode()
    except UnicodeDecodeError:
        raise DataError(f"{text.name} is not UTF-8 text; {AS_UTF8}") from None
    return head.decode(errors="surrogateescape")


def _header(head: str, separator: str, quoting: Quoting) -> tuple[int, list[str]]:
    """The number of blank lines that come first, and the columns that the header names."""
    lines = [line.removesuffix("\r") for line in head.split("\n")]
    blank = next(at for at, line in enumerate(lines) if line.strip(" "))
    if quoting == "none":
        return blank, lines[blank].split(separator)
    return blank, next(csv.reader((line + "\n" for line in lines[blank:]), delimiter=separator))


def _begin_differently(head: str, separator: str, header_line: int) -> bool:
    """If no two of the first lines behind the header have one first field, as the names of rows are."""
    lines = [line for line in head.split("\n")[header_line:] if line.strip()][:_FIRST_LINES]
    return len(lines) > 2 and len({line.partition(separator)[0] for line in lines}) == len(lines)


def _without(batch: Batch, line: int) -> Batch:
    """The batch without the record that begins in `line`."""
    left = np.flatnonzero(batch.lines != line)
    texts = None if batch.texts is None else batch.texts.take(left)
    columns = [column.take(left) for column in batch.columns]
    return Batch(columns, batch.lines[left], batch.faults.take(left), texts)
