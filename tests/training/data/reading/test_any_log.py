"""Generated logs, written in every way there is: each reads back to the same content or is refused by name.

The long run is `pytest --hypothesis-profile long --timeout 7200 tests/training/data/reading/test_any_log.py`.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from files.clock import TICKS_PER_SECOND
from files.ids import fault
from tests.effort import examples
from training.data.data_card import DataCard
from training.data.dataset import Dataset, read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.errors import DataError

START = 1_600_000_000
"""A second in 2020."""

LIBRARY_WORDS = re.compile(
    r"polars|arrow|panick|traceback|Err\b|unwrap|codec|_csv|0x|\bschema\b", re.IGNORECASE
)
MARKS = {"utf-8": b"", "utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}

hostile = st.text(
    st.one_of(
        st.sampled_from("\"',;|\t#\\~*?[]{}` \n\r\x00é日\u2028\U0001f600"), st.characters(codec="utf-8")
    ),
    max_size=8,
)
ids = st.one_of(
    st.sampled_from(["7", "007", "u1", "ü", "a b", "null and void", "=1", "-", "#1", '7"', '"']),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5),
).filter(lambda text: fault(text) is None and not re.fullmatch(r"[+-]?\d+(\.\d*|\.?\d*[eE]\+\d+)", text))


Event = tuple[str, str, int]


@dataclass(frozen=True)
class Log:
    """Events, each user's at different seconds, with a title for each; and records that are none."""

    events: list[Event]
    titles: list[str]
    blanks: list[int] = field(default_factory=list)
    """Before which events a blank line stands, where there are lines."""


@st.composite
def logs(draw: st.DrawFn) -> Log:
    users, items = (draw(st.lists(ids, min_size=2, max_size=4, unique=True)) for _ in range(2))
    seconds = draw(st.lists(st.integers(START, START + 10**8), min_size=4, max_size=20, unique=True))
    pairs = st.tuples(st.sampled_from(users), st.sampled_from(items))
    # The first four make sure of one user who is kept.
    events = [
        (*(draw(pairs) if at > 3 else (users[0], items[at % 2])), time) for at, time in enumerate(seconds)
    ]
    titles = draw(st.lists(hostile, min_size=len(events), max_size=len(events)))
    blanks = draw(st.lists(st.integers(0, len(events)), max_size=2, unique=True))
    return Log(events, titles, blanks)


@dataclass(frozen=True)
class Way:
    """A way to write a log."""

    format: str
    separator: str
    quoting: Literal[0, 1, 2]
    end: str
    encoding: str
    compression: str | None
    unit: str
    """Of numbers; T and blank: date-times, with that before the hour."""
    offset: int
    """Of date-times, in minutes."""
    title_at: int
    cut: bool
    files: int


ways = st.builds(
    Way,
    format=st.sampled_from(["quoted", "literal", "jsonl", "parquet"]),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(list(MARKS)),
    compression=st.sampled_from([None, "gzip", "zstd"]),
    unit=st.sampled_from(["s", "ms", "us", "ns", "T", " "]),
    offset=st.integers(-14 * 60, 14 * 60),
    title_at=st.integers(0, 3),
    cut=st.booleans(),
    files=st.integers(1, 3),
)


def written_time(second: int, way: Way) -> int | str:
    if way.unit in TICKS_PER_SECOND:
        return second * TICKS_PER_SECOND[way.unit]
    zone = timezone(timedelta(minutes=way.offset))
    return datetime.fromtimestamp(second, UTC).astimezone(zone).isoformat(way.unit)


def columns_of(log: Log, way: Way) -> dict[str, list[Any]]:
    users, items, seconds = (list(column) for column in zip(*log.events, strict=True))
    columns: list[tuple[str, list[Any]]] = [
        ("user_id", users),
        ("item_id", items),
        ("timestamp", [written_time(second, way) for second in seconds]),
    ]
    columns.insert(way.title_at, ("title", log.titles))
    return dict(columns)


def lines_of(columns: Mapping[str, list[Any]], way: Way) -> list[str]:
    """The records as text, each with its end; the header is the first of delimited text."""
    if way.format == "jsonl":
        return [
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=way.cut) + way.end
            for row in zip(*columns.values(), strict=True)
        ]
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    if way.format == "literal":
        clean = str.maketrans(dict.fromkeys(f"{way.separator}\n\r", " "))
        return [way.separator.join(str(cell).translate(clean) for cell in row) + way.end for row in rows]
    lines = []
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=way.separator, quoting=way.quoting, lineterminator=way.end).writerow(row)
        lines.append(out.getvalue())
    return lines


def packed(text: str, way: Way) -> bytes:
    encoding = way.encoding.removesuffix("-sig")
    content = MARKS[way.encoding] + text.encode(encoding)
    if way.compression == "gzip":
        return gzip.compress(content, mtime=0)
    return pa.compress(content, "zstd", asbytes=True) if way.compression == "zstd" else content


def write_text(columns: Mapping[str, list[Any]], blanks: Iterable[int], way: Way, path: Path) -> int:
    lines = lines_of(columns, way)
    has_header = way.format != "jsonl"
    for at in sorted(blanks, reverse=True):
        lines.insert(at + has_header, way.end)
    text = "".join(lines)
    path.write_bytes(packed(text.removesuffix(way.end) if way.cut else text, way))
    return len(lines) - has_header - (way.cut and lines[-1] == way.end)


def write_parquet(log: Log, way: Way, path: Path) -> int:
    columns = columns_of(log, way)
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if way.unit not in TICKS_PER_SECOND:
        sign, minutes = "-" if way.offset < 0 else "+", abs(way.offset)
        kind = pa.timestamp("s" if way.cut else "ns", f"{sign}{minutes // 60:02}:{minutes % 60:02}")
        instants = [datetime.fromtimestamp(time, UTC) for _, _, time in log.events]
        place = table.schema.get_field_index("timestamp")
        table = table.set_column(place, "timestamp", pa.array(instants, kind))
    pq.write_table(table, path, compression="zstd" if way.compression else "none")
    return len(log.events)


def write(log: Log, way: Way, directory: Path) -> int:
    """Write the log into some files; the number of its records."""
    records, size = 0, -(-len(log.events) // way.files)
    for start in range(0, len(log.events), size):
        part = Log(
            log.events[start : start + size],
            log.titles[start : start + size],
            [at for at in log.blanks if at <= len(log.events[start : start + size])],
        )
        path = directory / f"part [{start}]*.~"
        if way.format == "parquet":
            records += write_parquet(part, way, path)
        else:
            records += write_text(columns_of(part, way), part.blanks, way, path)
    return records


def content_of(dataset: Dataset) -> dict[str, list[tuple[str, int]]]:
    return {
        user: [
            (dataset.catalogue.item_id(int(row)), int(time) // 1000)
            for row, time in zip(
                dataset.history(at),
                dataset.timestamps[dataset.offsets[at] : dataset.offsets[at + 1]],
                strict=True,
            )
        ]
        for at, user in enumerate(dataset.user_ids)
    }


def expected_of(log: Log) -> dict[str, list[tuple[str, int]]]:
    by_user: dict[str, list[tuple[str, int]]] = {}
    for user, item, second in sorted(log.events, key=lambda event: event[2]):
        by_user.setdefault(user, []).append((item, second))
    return {user: by_user[user] for user in sorted(by_user) if len(by_user[user]) >= 3}


def assert_accounted(card: DataCard, records: int, rejects: Path) -> None:
    dropped = sum(drop.events for drop in card.dropped)
    assert card.rows == records == card.events + dropped
    assert card.rows == sum(file.records for file in card.events_files)
    assert pl.read_parquet(rejects).height == dropped


@settings(max_examples=examples(100), suppress_health_check=list(HealthCheck))
@given(logs(), ways)
def test_a_log_reads_back_however_it_was_written_or_is_refused_by_name(log: Log, way: Way) -> None:
    if way.format == "literal" and any(way.separator in text for at in log.events for text in at[:2]):
        way = replace(way, separator="\t")  # which no id holds
    with TemporaryDirectory() as directory:
        source, out, rejects = (Path(directory) / name for name in ("log", "out", "rejects.parquet"))
        source.mkdir()
        records = write(log, way, source)
        try:
            card = prepare(source, None, out, PrepareOptions(), rejects=rejects)
        except DataError as refused:
            said = str(refused).replace(directory, "")
            event(f"refused: {re.sub(r'[0-9]+', 'N', said)[:90]}")
            assert "\n" not in said
            assert not LIBRARY_WORDS.search(said), said
            assert may_be_refused(log, way), said
            assert not out.exists()
            return
        event(f"read: {way.format}")
        assert content_of(read_dataset(out)) == expected_of(log)
        assert_accounted(card, records, rejects)


@settings(max_examples=examples(50), suppress_health_check=list(HealthCheck))
@given(st.lists(ids, min_size=3, max_size=6, unique=True), st.data(), ways)
def test_titles_read_back_however_they_were_written(
    item_ids: list[str], data: st.DataObject, way: Way
) -> None:
    titles = data.draw(st.lists(hostile, min_size=len(item_ids), max_size=len(item_ids)))
    if way.format == "literal":
        way = replace(way, separator="\t")
        titles = [re.sub(r"[\t\r\n]", " ", title) for title in titles]
    columns = {"item_id": item_ids, "title": titles}
    with TemporaryDirectory() as directory:
        log, plain, items, out = (Path(directory) / name for name in ("log", "plain", "items", "out"))
        pq.write_table(
            pa.table(
                {"user_id": ["u"] * len(item_ids), "item_id": item_ids, "timestamp": range(len(item_ids))}
            ),
            log,
        )
        pq.write_table(pa.table(columns), plain)
        expected = prepare(log, plain, out)
        if way.format == "parquet":
            way = replace(way, format="jsonl")
        write_text(columns, [], replace(way, cut=False), items)
        quote = "none" if way.format == "literal" else "auto"
        try:
            card = prepare(log, items, out, PrepareOptions(quote=quote))
        except DataError as refused:
            said = str(refused).replace(directory, "")
            assert not LIBRARY_WORDS.search(said), said
            assert way.format == "quoted", said
            assert any(mark in text for text in (*titles, *item_ids) for mark in '"\r'), said
            return
        assert card.fingerprint == expected.fingerprint


def may_be_refused(log: Log, way: Way) -> bool:
    """Only quotes, and carriage returns outside of them, can make a text ambiguous."""
    return way.format in ("quoted", "literal") and any(
        mark in text for event in log.events for text in (*event[:2], *log.titles) for mark in '"\r'
    )
