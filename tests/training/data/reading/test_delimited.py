"""The reader of delimited text beside Python's own, and the count of its records beside both."""

import csv
import io
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.data.reading.batch import BLANK
from training.data.reading.counting import Counter
from training.data.reading.delimited import CR_INSIDE, TOO_LONG, Layout, Ragged, read_delimited
from training.data.reading.quoting import Quotes, whole_lines

SEPARATORS = ",;\t|"
FIELDS = st.text(st.sampled_from('ab é,;\t|"\r\n\x00\x0b\u2028'), max_size=5)

Row = tuple[int, str | None, list[str | None]]
"""The line of a record, its fault and its wanted fields."""


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data: bytes, layout: Layout, wanted: list[str], size: int) -> tuple[list[Row], list[bytes], Ragged]:
    ragged, rows, texts = Ragged(), list[Row](), list[bytes]()
    for batch in read_delimited("log", in_pieces(data, size), layout, wanted, ragged, texts=True):
        fields = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        rows += zip(batch.lines.tolist(), batch.faults.to_pylist(), map(list, fields), strict=True)
        assert batch.texts is not None
        texts += batch.texts.to_pylist()
    return rows, texts, ragged


def counted(data: bytes, size: int) -> Counter:
    counter = Counter()
    for chunk in in_pieces(data, size):
        counter.feed(chunk)
    counter.finish()
    return counter


def quotes_of(data: bytes, separator: str, width: int, size: int) -> Quotes:
    quotes = Quotes(ord(separator), width)
    for lines in whole_lines("log", in_pieces(data, size)):
        quotes.feed(lines)
    return quotes


def picked(fields: list[str], wanted: list[int]) -> list[str | None]:
    return [(fields[at] if at < len(fields) else "") or None for at in wanted]


@given(
    st.lists(st.lists(FIELDS, min_size=1, max_size=5), max_size=12),
    st.sampled_from(SEPARATORS),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.booleans(),
    st.integers(1, 40),
)
def test_quoted_text_is_read_as_python_reads_it(
    rows: list[list[str]], separator: str, end: str, quoting: Literal[0, 1], cut: bool, size: int
) -> None:
    # Python's writer quotes for a carriage return only where the line ends have one.
    assume(
        quoting == csv.QUOTE_ALL or end == "\r\n" or not any("\r" in field for row in rows for field in row)
    )
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    text = out.getvalue().removesuffix(end) if cut else out.getvalue()
    names, wanted = ("a", "b", "c", "d", "e"), [0, 1, 2, 3, 4]
    found, texts, ragged = read(text.encode(), Layout(separator, "double", names), list(names), size)

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    expected, line = [], 1
    for fields in reader:
        spaces = quoting == csv.QUOTE_MINIMAL and len(fields) == 1 and set(fields[0]) == {" "}
        expected.append((line, picked([] if spaces else fields, wanted)))
        line = reader.line_num + 1
    # Python counts a lone carriage return between quotes as the end of a line.
    lone = "\r" in text.replace("\r\n", "")
    blank = [fields == [None] * 5 and fault == BLANK for _, fault, fields in found]
    assert [fields for _, _, fields in found] == [fields for _, fields in expected]
    assert lone or [place for place, _, _ in found] == [place for place, _ in expected]
    assert ragged.longer == 0
    assert ragged.shorter + sum(blank) == sum(len(row) < 5 for row in rows)
    assert end.join((whole or b"").decode() for whole in texts) == text.removesuffix(end)
    assert counted(text.encode(), size).quoted == len(found)
    quotes = quotes_of(text.encode(), separator, 5, size)
    assert (quotes.misplaced, quotes.unclosed) == (None, None)


@given(st.lists(FIELDS, max_size=12), st.sampled_from(SEPARATORS), st.booleans(), st.integers(1, 40))
def test_literal_text_is_split_and_nothing_else(
    lines: list[str], separator: str, cut: bool, size: int
) -> None:
    text = "".join(line.replace("\n", "") + "\n" for line in lines)
    text = text[:-1] if cut else text
    names = ("a", "b", "c", "d", "e", "f")
    found, texts, _ = read(text.encode(), Layout(separator, "none", names), list(names), size)
    records = text.removesuffix("\n").split("\n") if text else []
    assert [(whole or b"").decode() for whole in texts] == [record.removesuffix("\r") for record in records]
    assert [place for place, _, _ in found] == list(range(1, len(records) + 1))
    assert [fields for _, _, fields in found] == [
        picked(record.removesuffix("\r").split(separator) if record.strip(" \r") else [], list(range(6)))
        for record in records
    ]
    assert counted(text.encode(), size).lines == len(records)


@given(st.text(st.sampled_from('a,"\r\n'), max_size=30), st.integers(1, 40))
def test_quotes_are_well_placed_where_python_reads_and_writes_the_same_text(text: str, size: int) -> None:
    quotes = quotes_of(text.encode(), ",", 2, size)
    if quotes.misplaced or quotes.unclosed:
        return
    if "\r" in text.replace("\r\n", ""):
        return
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) == counted(text.encode(), size).quoted
    for row in rows:
        for field in row:
            assert '"' not in field or '""' in text


@pytest.mark.parametrize(
    ("names", "line", "expected", "longer"),
    [
        ("uit*", "a,b,c,Hello, World", "abc", 1),
        ("*uit", "Hello, World,a,b,c", "abc", 1),
        ("u*it", "a,Hello, World,b,c", "abc", 1),
        ("u**it", "a,1,Hello, World,b,c", "abc", 1),
        ("uit", "a,b,c,,", "abc", 0),
        ("u*it", "a,x,b,c,", "abc", 0),
        ("uit*", "a,b,c", "abc", 0),
        ("uit", "a,b,c,d", None, 0),
        ("u*i*t", "a,x,b,y,z,c", None, 0),
        ("uit*", 'a,b,c,"Hello, World"', None, 0),
        ("uit*", "a,b,c,d\ra,b,c,d", None, 0),
    ],
)
def test_fields_too_many_belong_to_what_nobody_asked_for_or_are_a_fault(
    names: str, line: str, expected: str | None, longer: int
) -> None:
    columns = tuple(name if name != "*" else f"*{at}" for at, name in enumerate(names))
    layout = Layout(",", "none", columns, doubtful=True)
    found, _, ragged = read(f"{line}\n".encode(), layout, ["u", "i", "t"], 100)
    fault = None if expected else (CR_INSIDE if "\r" in line else TOO_LONG)
    assert found == [(1, fault, list(expected or [None] * 3))]
    assert ragged.longer == longer


@pytest.mark.parametrize(
    ("text", "misplaced", "unclosed", "swallowing"),
    [
        ('a,b\n7" vinyl,x\n', 2, None, None),
        ('a,b\n1,"x"y"\n', 2, None, None),
        ('a,b\n1, "x"\n', 2, None, None),
        ('a,b\n1,"x\n2,y\n', None, 2, None),
        ('a,b\n1,"x\n2,y"\n3,z\n', None, None, 2),
        ('a,b\n1,"x\n2,y\n3,z\n4,7"\n', None, None, 2),
        ('a,b\n1,"x\ny z\nw"\n', None, None, None),
        ('a,b\n"1,5","x\r\ny"\r\n', None, None, None),
        ('a,b\n1,x\n",7"\n', None, None, 3),
        ('a,b\n"1,5",x\n', None, None, None),
        ('a,b\n",7"\n"1,5",x\n', None, None, None),
        ('a,b\n1,""""\n2,""\n3,"x"""\n', None, None, None),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_the_quotes_of_a_text_do(
    text: str, misplaced: int | None, unclosed: int | None, swallowing: int | None, size: int
) -> None:
    quotes = quotes_of(text.encode(), ",", 2, size)
    assert quotes.misplaced == misplaced
    assert quotes.swallowing == swallowing
    assert misplaced or quotes.unclosed == unclosed


def test_columns_of_many_blocks_are_strings_that_arrow_accepts() -> None:
    text = "".join(f"ü{number},{number},\n" for number in range(5000)).encode()
    layout = Layout(",", "none", ("a", "b", "c"))
    for batch in read_delimited("log", in_pieces(text, 999), layout, ["a", "c"], Ragged(), texts=False):
        for column in batch.columns:
            column.validate(full=True)
        assert batch.columns[1].null_count == len(batch.lines)
        assert isinstance(batch.columns[0], pa.StringArray)
        assert np.all(np.diff(batch.lines) == 1)
