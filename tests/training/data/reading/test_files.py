"""Which files are read, in which formats, and what is said of those that are not."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from training.data.data_card import DataCard, FileCard
from training.data.dataset import read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.data.reading.quoting import decide
from training.errors import ConfigError, DataError

HEADER = "user_id,item_id,timestamp"
ROWS = ["a,x,1", "a,y,2", "a,z,3"]
TEXT = "\n".join([HEADER, *ROWS, ""])


def log_of(user: str, first: int = 1) -> str:
    return "\n".join([HEADER, *(f"{user},i{at},{at}" for at in range(first, first + 3)), ""])


def card_of(*paths: Path, items: list[Path] | None = None, **options: Any) -> DataCard:
    out = paths[0].parent / ".out"
    return prepare(list(paths), items, out, PrepareOptions.model_validate(options))


def users_of(*paths: Path, **options: Any) -> list[str]:
    card_of(*paths, **options)
    return read_dataset(paths[0].parent / ".out").user_ids


def refusal(*paths: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        card_of(*paths, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert not re.search(r"polars|arrow error|panick|unwrap", said, re.IGNORECASE)
    return said


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestPaths:
    @pytest.mark.parametrize(
        "name",
        [
            "log[1].csv",
            "[prod]/log.csv",
            "log*.csv",
            "lo?.csv",
            "~/log.csv",
            "file:log.csv",
            "s3:/log.csv",
            "a\nb.csv",
        ],
    )
    def test_a_path_is_the_file_of_that_name(self, tmp_path: Path, name: str) -> None:
        for namesake in ("log1.csv", "p/log.csv", "log.csv", "log1.parquet"):
            written(tmp_path / namesake, log_of("other"))
        path = written(tmp_path / name, log_of("named"))
        assert users_of(path) == ["named"]

    def test_a_path_need_not_be_text(self, tmp_path: Path) -> None:
        log = written(Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.csv")), TEXT + "b,,1\n")
        card = prepare(log, None, tmp_path / "out", rejects=tmp_path / "rejects.csv")
        assert card.events_files[0].file == "caf\ufffd.csv"
        assert (tmp_path / "out/card.json").exists()

    def test_of_parquet_too(self, tmp_path: Path) -> None:
        for name in ("log1.parquet", "log[1].parquet"):
            rows = {"user_id": [name] * 3, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}
            pl.DataFrame(rows).write_parquet(tmp_path / "a")
            (tmp_path / "a").rename(tmp_path / name)
        assert users_of(tmp_path / "log[1].parquet") == ["log[1].parquet"]

    def test_relative_paths_with_a_tilde_or_a_dash(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("~", "-log.csv"):
            written(tmp_path / name, log_of(name))
            assert users_of(Path(name)) == [name]

    @pytest.mark.parametrize("name", ["[x]", "a*b", "~", "file:x", "year=2024", "_hidden", "-o", "a\nb"])
    def test_a_directory_to_write_to_is_a_path_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        log, out = written(tmp_path / "log.csv", TEXT + "b,,1\n"), Path(name)
        prepare(log, None, out)
        prepare(log, None, out, rejects=out / "rejects.parquet")
        assert read_dataset(out).user_ids == ["a"]
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            *("card.json", "items.parquet", "rejects.parquet", "sequences.parquet")
        ]

    def test_several_files_are_one_log(self, tmp_path: Path) -> None:
        one, two = written(tmp_path / "1.csv", log_of("a")), written(tmp_path / "2.csv", log_of("b"))
        card = card_of(one, two)
        assert (card.users, card.rows) == (2, 6)
        assert [(file.file, file.records) for file in card.events_files] == [(str(one), 3), (str(two), 3)]

    def test_a_directory_and_a_pattern_are_the_files_in_them(self, tmp_path: Path) -> None:
        for name in (
            "logs/b.csv",
            "logs/a/1.csv",
            "logs/a/2.csv",
            "logs/.hidden",
            "logs/_SUCCESS",
            "logs/a/.x/3.csv",
        ):
            written(tmp_path / name, log_of(name))
        read = ["logs/a/1.csv", "logs/a/2.csv", "logs/b.csv"]
        assert users_of(tmp_path / "logs") == read
        assert [file.file for file in card_of(tmp_path / "logs").events_files] == [
            str(tmp_path / name) for name in read
        ]
        assert users_of(tmp_path / "logs/a/*.csv") == read[:2]
        assert users_of(tmp_path / "logs/a/[2-9].csv") == read[1:2]
        assert users_of(tmp_path / "logs/**") == read
        assert users_of(tmp_path / "lo*") == read
        assert "no such file, and none that matches it" in refusal(tmp_path / "logs/*.tsv")
        assert users_of(tmp_path / "logs/**/*.csv") == read

    def test_a_file_named_twice_is_refused(self, tmp_path: Path) -> None:
        log = written(tmp_path / "logs/log.csv", TEXT)
        (tmp_path / "logs/link.csv").symlink_to(log)
        assert "is named twice" in refusal(log, log)
        assert "is named twice" in refusal(tmp_path / "logs")

    def test_tables_of_other_systems_are_no_directories_of_files(self, tmp_path: Path) -> None:
        written(tmp_path / "t/part.csv", TEXT)
        (tmp_path / "t/_delta_log").mkdir()
        assert "is a Delta table, whose files also hold rows that were deleted" in refusal(tmp_path / "t")

    def test_a_pipe_is_read_to_its_end(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        long = TEXT + "".join(f"b,x,{at}\n" for at in range(30_000))
        writer = threading.Thread(target=pipe.write_text, args=(long,))
        writer.start()
        assert users_of(pipe) == ["a", "b"]
        writer.join()

    def test_files_are_checked_one_by_one(self, tmp_path: Path) -> None:
        one, two = written(tmp_path / "1.csv", TEXT), written(tmp_path / "2.csv", "user_id,video\na,x\n")
        said = refusal(one, two)
        assert "2.csv" in said
        assert "1.csv" not in said

    def test_files_of_several_formats_are_one_log(self, tmp_path: Path) -> None:
        rows = {"user_id": [7] * 3, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}
        pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
        text = written(tmp_path / "log.tsv", log_of("8").replace(",", "\t"))
        lines = written(tmp_path / "log.jsonl", '{"user_id": 7, "item_id": "w", "timestamp": 4}\n')
        assert users_of(tmp_path / "log.parquet", text, lines) == ["7", "8"]
        assert card_of(tmp_path / "log.parquet", text, lines).rows == 7

    def test_types_that_do_not_go_together_are_refused(self, tmp_path: Path) -> None:
        rows = {"user_id": ["a"] * 3, "item_id": ["x", "y", "z"]}
        pl.DataFrame({**rows, "timestamp": [1.5, 2, 3]}).write_parquet(tmp_path / "1")
        pl.DataFrame({**rows, "timestamp": [1, 2, 3]}).write_parquet(tmp_path / "2")
        assert re.search(
            "'timestamp' is double in .*1 and int64 in .*2; write", refusal(tmp_path / "1", tmp_path / "2")
        )

    def test_items_of_several_files(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log.csv", TEXT)
        items = [
            written(tmp_path / "1.csv", "item_id,title\nx,Ex\n"),
            written(tmp_path / "2.jsonl", '{"item_id": "y", "category": "War"}\n\n'),
        ]
        card = card_of(log, items=items)
        assert read_dataset(tmp_path / ".out").catalogue.titles == ("Ex", None, None)
        assert card.items_file is not None
        assert (card.items_file.rows, card.items_file.listed) == (3, 2)
        assert [drop.model_dump() for drop in card.items_file.unread] == [
            {"reason": "is a blank line", "events": 1, "users": None, "items": None}
        ]


class TestFormats:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
    def test_encodings_and_compressions(self, tmp_path: Path, encoding: str, compression: str | None) -> None:
        content = TEXT.replace("a,", "ü,").encode(encoding)
        if compression is not None:
            content = pa.compress(content, compression, asbytes=True)
        log = written(tmp_path / "log", content)
        card = card_of(log)
        assert read_dataset(tmp_path / ".out").user_ids == ["ü"]
        assert card.events_files == [
            FileCard(
                file="log",
                format="delimited text",
                compression=compression,
                encoding="UTF-16" if encoding == "utf-16" else "UTF-8",
                separator=",",
                quote="none",
                records=3,
            )
        ]

    def test_files_of_several_compressed_parts(self, tmp_path: Path) -> None:
        halves = [TEXT[:40].encode(), TEXT[40:].encode()]
        zipped = written(tmp_path / "a.gz", b"".join(map(gzip.compress, halves)))
        zst = written(
            tmp_path / "a.zst", b"".join(pa.compress(half, "zstd", asbytes=True) for half in halves)
        )
        assert users_of(zipped) == users_of(zst) == ["a"]

    @pytest.mark.parametrize("kind", ["gzip", "zstd"])
    @pytest.mark.parametrize("left", [20, -9])
    def test_damaged_compressed_files(self, tmp_path: Path, kind: str, left: int) -> None:
        whole = pa.compress(os.urandom(1000).hex().encode(), kind, asbytes=True)
        assert re.search(f"damaged {kind} file; fetch", refusal(written(tmp_path / "log", whole[:left])))

    def test_json_lines(self, tmp_path: Path) -> None:
        log = written(
            tmp_path / "log.ndjson",
            '{"user_id": 9007199254740993, "item_id": "x", "timestamp": 1, "more": {"a": [1]}}\r\n'
            "\r\n"
            '{"timestamp": 2, "item_id": "\\u00fc\\n", "user_id": "9007199254740993", "flag": true}\r\n'
            '{"timestamp": 3, "item_id": "ü", "user_id": "9007199254740993"}\n'
            '{"timestamp": "4", "item_id": 7, "user_id": "9007199254740993"}\n'
            '{"timestamp": 5, "item_id": "z", "user_id": 9007199254740993}',
        )
        card = card_of(log)
        dataset = read_dataset(tmp_path / ".out")
        assert dataset.user_ids == ["9007199254740993"]
        assert sorted(dataset.catalogue.item_ids) == ["7", "x", "z", "ü"]
        assert card.ignored_columns == ["flag", "more"]
        assert {drop.reason: drop.events for drop in card.dropped}["is a blank line"] == 1
        assert card.rows == 6

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ('{"user_id": "a", ', "line 4 is no JSON object; write one object a line"),
            ('["a", "x", 1]', "line 4 is no JSON object"),
            (
                '{"user_id": ["a"], "item_id": "x", "timestamp": 1}',
                "line 4 has a user_id that is neither text nor a",
            ),
            ('{"user_id": true, "item_id": "x", "timestamp": 1}', "line 4 has a user_id that is neither"),
            (
                '{"user_id": "\\ud800", "item_id": "x", "timestamp": 1}',
                "line 4: user_id has half a surrogate pair",
            ),
            ("[" * 100_000, "line 4 is no JSON object"),
        ],
    )
    def test_lines_that_are_no_json(self, tmp_path: Path, line: str, fault: str) -> None:
        good = [f'{{"user_id": "a", "item_id": "x", "timestamp": {at}}}' for at in range(3)]
        assert fault in refusal(written(tmp_path / "log.jsonl", "\n".join([*good, line])))

    def test_a_fault_in_a_thousand_is_dropped_and_counted(self, tmp_path: Path) -> None:
        good = [f"a,x{at},{at}" for at in range(2999)]
        log = written(tmp_path / "log.csv", "\n".join([HEADER, *good[:2000], "a,b,c,d", *good[2000:]]))
        card = card_of(log)
        assert {drop.reason: drop.events for drop in card.dropped} == {"has more fields than the header": 1}
        written(log, "\n".join([HEADER, *good[:500], "a,b,c,d"]))
        assert "line 502 has more fields than the header" in refusal(log)

    @pytest.mark.parametrize("offset", ["+05:30", "+01:00", "-09:30", "UTC", "Asia/Kolkata", None])
    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_parquet_instants_in_any_zone(self, tmp_path: Path, offset: str | None, unit: str) -> None:
        ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        instants = pa.array([(1_700_000_000 + at) * ticks for at in range(3)]).cast(
            pa.timestamp(unit, offset)
        )
        rows = {"user_id": ["a"] * 3, "item_id": ["x", "y", "z"], "timestamp": instants}
        pq.write_table(pa.table(rows), tmp_path / "log")
        card_of(tmp_path / "log")
        assert read_dataset(tmp_path / ".out").timestamps.tolist() == [
            1_700_000_000_000 + 1000 * at for at in range(3)
        ]

    def test_parquet_types_that_stand_for_text(self, tmp_path: Path) -> None:
        rows = {
            "user_id": pa.array(["a"] * 3).dictionary_encode(),
            "item_id": pa.array([b"x", b"y", b"z"], pa.large_binary()),
            "timestamp": pa.array([1, 2, 3], pa.uint16()),
            "a.b": pa.array([[{"c": 1}]] * 3),
            "unread": pa.array([b"\xff"] * 3),
        }
        pq.write_table(pa.table(rows), tmp_path / "log")
        assert users_of(tmp_path / "log") == ["a"]

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (pa.array([b"\xff"] * 3), "'user_id' is binary and cannot be read as string; cast it"),
            (pa.array([{"a": 1}] * 3), "'user_id' is struct; it must hold text, numbers or date-times"),
            (pa.array([1] * 3).cast(pa.duration("s")), "'user_id' is duration"),
            (pa.array([b"0123456789abcdef"] * 3, pa.binary(16)), "'user_id' is fixed_size_binary"),
        ],
    )
    def test_parquet_types_that_are_none(self, tmp_path: Path, values: pa.Array, said: str) -> None:
        rows = {"user_id": values, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}
        pq.write_table(pa.table(rows), tmp_path / "log")
        assert said in refusal(tmp_path / "log")

    @pytest.mark.parametrize("kind", ["truncated", "in the middle"])
    def test_damaged_parquet(self, tmp_path: Path, kind: str) -> None:
        rows = {"user_id": [f"u{at}" for at in range(5000)], "item_id": "x", "timestamp": 1}
        pl.DataFrame(rows).write_parquet(tmp_path / "log")
        content = bytearray((tmp_path / "log").read_bytes())
        if kind == "truncated":
            content = content[:-100]
        else:
            content[100:2000] = bytes(1900)
        assert "damaged Parquet file; fetch or write it again" in refusal(
            written(tmp_path / "log", bytes(content))
        )


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, TEXT)
    return out.getvalue()


def through(write: Callable[[pa.Table, pa.BufferOutputStream], None]) -> bytes:
    out = pa.BufferOutputStream()
    write(pa.table({"user_id": ["a"]}), out)
    return out.getvalue().to_pybytes()


def as_stream(table: pa.Table, out: pa.NativeFile) -> None:
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)


def as_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(9))
    return out.getvalue()


OTHERS = {
    "a zip archive; unpack it": zipped("log.csv"),
    "an Excel workbook; save the sheet as CSV": zipped("xl/workbook.xml"),
    "an old Excel workbook; save": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
    "compressed by bzip2; unpack it": bz2.compress(TEXT.encode()),
    "compressed by xz; unpack it": lzma.compress(TEXT.encode()),
    "compressed by lz4; unpack it": pa.compress(TEXT.encode(), "lz4", asbytes=True),
    "an Arrow IPC .Feather. file; export it as Parquet": through(pyarrow.feather.write_feather),
    "an Arrow IPC stream; export": through(as_stream),
    "an ORC file; export": through(pyarrow.orc.write_table),
    "an Avro file; export": b"Obj\x01\x04\x16avro.schema" + bytes(99),
    "a NumPy array; export": as_array(),
    "a tar archive; unpack it": b"log.csv".ljust(257, b"\0") + b"ustar  \0" + bytes(300),
    "a DuckDB database; export": bytes(8) + b"DUCK" + bytes(300),
    "a web page or XML; fetch or export": b"\n<!DOCTYPE html><html><body>Sign in</body></html>\n",
    "a pointer of Git LFS and not the file": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "UTF-32 text; convert it": TEXT.encode("utf-32"),
    "UTF-16 without a byte-order mark; convert": TEXT.encode("utf-16-be"),
    "one JSON array; write a line an event": b'[{"user_id": "a"},\n{"user_id": "b"}]\n',
    "ends its lines by CR alone": TEXT.replace("\n", "\r").encode(),
    "gzip inside gzip; unpack it once": gzip.compress(gzip.compress(TEXT.encode())),
    "gzip inside zstd; unpack it once": pa.compress(gzip.compress(TEXT.encode()), "zstd", asbytes=True),
    "a pickle; export it": pickle.dumps([1], protocol=2),
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "ends its lines by CR CR LF": TEXT.replace("\n", "\r\r\n").encode(),
    "by CR alone, as old Macs did; convert": TEXT.replace("\n", "\r").encode() + b"\n",
    "JSON array": b'[["a", "x", 1],\n["a", "y", 2]]\n',
    "a web page or XML": b"\xef\xbb\xbf\n<Error><Code>AccessDenied</Code></Error>\n",
    "Parquet inside gzip; unpack it": gzip.compress(b"PAR1" + bytes(99)),
}


@pytest.mark.parametrize("said", OTHERS)
def test_other_formats_are_named_by_their_first_bytes(tmp_path: Path, said: str) -> None:
    assert re.search(said, refusal(written(tmp_path / "log.csv", OTHERS[said])))


@pytest.mark.parametrize("said", ["a zip archive", "ends its lines by CR alone", "a tar archive"])
def test_other_formats_are_named_inside_gzip_too(tmp_path: Path, said: str) -> None:
    content = next(content for name, content in OTHERS.items() if name.startswith(said))
    assert said in refusal(written(tmp_path / "log.csv.gz", gzip.compress(content)))


def test_other_formats_are_named_whatever_the_suffix_promises(tmp_path: Path) -> None:
    content = through(pyarrow.feather.write_feather)
    assert "an Arrow IPC (Feather) file" in refusal(written(tmp_path / "log.parquet", content))


@pytest.mark.parametrize("header", [HEADER, f"{HEADER},title"])
def test_names_of_rows_that_the_header_lacks_shift_no_column(tmp_path: Path, header: str) -> None:
    title = ",T" if "title" in header else ""
    rows = [f'"{at}",{at % 2},{at},{at}{title}' for at in range(1, 9)]
    assert "every row has one field more than the header" in refusal(
        written(tmp_path / "log.csv", "\n".join([header, *rows]))
    )


def test_lines_of_which_some_end_by_cr_alone(tmp_path: Path) -> None:
    text = TEXT.replace("1\na", "1\ra")
    assert (
        "line 2 has more fields than the header and a CR among them; some of its lines end by CR"
        in refusal(written(tmp_path / "log.csv", text))
    )


def test_a_database_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as database:
        database.execute("create table log (user_id text)")
    database.close()
    assert "an SQLite database; export it" in refusal(tmp_path / "log.db")


class TestSeparators:
    @pytest.mark.parametrize(
        ("text", "separator"),
        [
            ("user_id;item_id;timestamp;title, year\na;x;1;One, two\na;y;2;x\na;z;3;x\n", ";"),
            ("user_id\titem_id\ttimestamp\ta,b;c\na\tx\t1\tOne, two; three\na\ty\t2\t\na\tz\t3\t\n", "\t"),
            ("user_id|item_id|timestamp\na|x|1\na|y|2\na|z|3\n", "|"),
            ('"title, year";user_id;item_id;timestamp\n"a, b";a;x;1\n"c;d";a;y;2\n"e";a;z;3\n', ";"),
            (
                'user_id,item_id,timestamp,title\na,x,1,"a;b;c;d;e"\na,y,2,"\t\t\t\t"\na,z,3,"x;y;z;w;v"\n',
                ",",
            ),
        ],
    )
    def test_are_found_by_counting(self, tmp_path: Path, text: str, separator: str) -> None:
        card = card_of(written(tmp_path / "log", text))
        assert card.events_files[0].separator == separator
        assert card.events == 3

    def test_of_columns_named_otherwise(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", "u;i, or video;t\n" + "".join(f"a;x;{at}\n" for at in range(3)))
        columns: dict[str, Any] = {"user_column": "u", "item_column": "i, or video", "timestamp_column": "t"}
        assert card_of(log, **columns).events == 3
        assert "only 'u', 'i, or video', 't'" in refusal(log)

    def test_leave_blanks_around_the_names_of_columns(self, tmp_path: Path) -> None:
        text = TEXT.replace(",", ", ")
        assert card_of(written(tmp_path / "log", text)).events == 3
        assert card_of(written(tmp_path / "log", text.replace(", ", " \t"))).events == 3

    def test_can_be_named(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", TEXT.replace(",", "\x01"))
        assert "no column" in refusal(log)
        assert users_of(log, separator="\x01") == ["a"]


class TestQuotes:
    def test_are_literal_where_one_stands_inside_a_field(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", TEXT.replace("\n", ',7" vinyl\n').replace('7" vinyl', "title", 1))
        card = card_of(log)
        assert (card.events, card.events_files[0].quote) == (3, "none")

    def test_enclose_fields_where_all_do(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", re.sub(r"([^,\n]+)", r'"\1"', TEXT).replace(",", "\t"))
        card = card_of(log)
        assert (card.events, card.events_files[0].quote) == (3, "double")
        assert "has no column 'user_id', 'item_id', 'timestamp', only" in refusal(log, quote="none")

    def test_around_ids_are_not_taken_literally_without_being_told(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", f'{HEADER},title\n"a",x,1,7" vinyl\n"a",y,2,\n"a",z,3,\n')
        assert re.search(
            "line 2: user_id is between quotes, yet in line 2 a quote stands inside a field; double",
            refusal(log),
        )
        assert users_of(log, quote="none") == ['"a"']
        assert "line 2: a quote stands inside a field; double it, or say --quote none" in refusal(
            log, quote="double"
        )

    def test_around_the_header_mean_it(self, tmp_path: Path) -> None:
        header = ",".join(f'"{name}"' for name in HEADER.split(","))
        log = written(tmp_path / "log", f'{header},"title"\na,x,1,"7" vinyl"\na,y,2,\na,z,3,\n')
        assert "line 2: a quote stands inside a field" in refusal(log)

    def test_that_swallow_rows_are_refused(self, tmp_path: Path) -> None:
        log = written(
            tmp_path / "log", f'{HEADER},title\na,w,0,x\na,x,1,"Heroes\na,y,2,x\na,z,3,7"\na,v,4,x\n'
        )
        said = refusal(log)
        assert "line 3: quotes enclose what looks like fields or rows of their own" in said
        assert card_of(log, quote="none").events == 5
        assert card_of(log, quote="double").events == 3

    def test_that_swallow_fields_are_refused(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", f"title,{HEADER}\n" + "".join(f',",7",{at}\n' for at in range(4)))
        assert "line 2: quotes enclose what looks like fields or rows of their own" in refusal(log)
        assert users_of(log, quote="none") == ['"']

    def test_may_hold_what_ends_lines_elsewhere(self, tmp_path: Path) -> None:
        log = written(
            tmp_path / "log", f'title,{HEADER}\n"One\r\ntwo\r,""3""\n",a,x,1\n"",a,y,2\n"x",a,z,3\n'
        )
        card = card_of(log)
        assert (card.events, card.rows) == (3, 3)


class TestUnwantedColumns:
    """A column that nobody asked for can never cost a row."""

    @pytest.mark.parametrize(
        "title",
        ["", "One, two", ",,,", '7" vinyl', "Ren\xe9", "\x00", "x\ry", "\x85\u2028", "'", "\\", "NULL"],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_whatever_stands_in_it(self, tmp_path: Path, title: str, first: bool) -> None:
        lines = (
            ["title," + HEADER, *(f"{title}," + row for row in ROWS)]
            if first
            else [HEADER + ",title", *(row + f",{title}" for row in ROWS)]
        )
        encoding = "latin-1" if title == "Ren\xe9" else "utf-8"
        log = written(tmp_path / "log", "\n".join([*lines, ""]).encode(encoding))
        card = card_of(log)
        assert (card.rows, card.events) == (3, 3)

    def test_in_parquet(self, tmp_path: Path) -> None:
        rows = {"user_id": ["a"] * 3, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}
        odd = {
            "a": [{"b": [1]}] * 3,
            "c": pa.array([1] * 3).cast(pa.duration("ns")),
            "d": pa.array([b"\xff"] * 3),
        }
        pq.write_table(pa.table({**odd, **rows}), tmp_path / "log")
        assert card_of(tmp_path / "log").events == 3

    def test_in_json(self, tmp_path: Path) -> None:
        lines = [
            f'{{"user_id": "a", "item_id": "x", "timestamp": {at}, "o": {{"\\ud800": NaN}}}}'
            for at in range(3)
        ]
        assert card_of(written(tmp_path / "log", "\n".join(lines))).events == 3

    def test_rows_may_end_early_or_in_separators(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", f"{HEADER},title,year\na,x,1\na,y,2,,,,\na,z,3,One\n")
        card = card_of(log)
        assert card.events == 3
        assert (card.events_files[0].shorter, card.events_files[0].longer) == (2, 0)


class TestAccount:
    LOG = "\n".join(
        [
            *("", f"{HEADER},title", "a,x,1,One", "", "a,x,1,again", ",x,2,nobody", "a,y,2,Two", "  "),
            *("a,z,soon,late", 'b,x,1,"quoted, ""twice""\nin two lines"', "a,z,3,", "c,x,1,c"),
        ]
    )

    def test_every_record_is_kept_or_dropped_by_a_reason(self, tmp_path: Path) -> None:
        card = card_of(written(tmp_path / "log", self.LOG))
        assert (card.rows, card.events) == (11, 3)
        assert {drop.reason: drop.events for drop in card.dropped} == {
            "is a blank line": 3,
            "user_id is missing": 1,
            "timestamp is neither a number nor an ISO 8601 date-time, e.g. 'soon'": 1,
            "repeats an event (same user, item and timestamp)": 1,
            "user has fewer than 3 events": 2,
        }

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
    def test_rejects_keep_them(self, tmp_path: Path, suffix: str) -> None:
        log, items = written(tmp_path / "log", self.LOG), written(tmp_path / "items", "item_id\nx\nx\n")
        rejects = tmp_path / f"rejects{suffix}"
        prepare(log, items, tmp_path / "out", rejects=rejects)
        read: Any = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[suffix]
        table: pl.DataFrame = read(rejects)
        assert table.columns == ["file", "line", "reason", "record"]
        found = {(Path(file).name, line): (reason, record) for file, line, reason, record in table.rows()}
        assert {place: record or "" for place, (_, record) in found.items()} == {
            ("log", 1): "",
            ("log", 4): "",
            ("log", 5): "a,x,1,again",
            ("log", 6): ",x,2,nobody",
            ("log", 8): "  ",
            ("log", 9): "a,z,soon,late",
            ("log", 10): 'b,x,1,"quoted, ""twice""\nin two lines"',
            ("log", 13): "c,x,1,c",
            ("items", 3): "x",
        }
        assert found["log", 9][0] == "timestamp is neither a number nor an ISO 8601 date-time, e.g. 'soon'"
        assert found["log", 10][0] == "user has fewer than 3 events"
        assert found["items", 3][0] == "repeats the id of another row"

    def test_rejects_of_parquet_are_rows_as_json(self, tmp_path: Path) -> None:
        rows = {
            "user_id": ["a"] * 3 + [None],
            "item_id": list("xyzz"),
            "timestamp": [1, 2, 3, 4],
            "more": [[1]] * 4,
        }
        pl.DataFrame(rows).write_parquet(tmp_path / "log")
        prepare(tmp_path / "log", None, tmp_path / "out", rejects=tmp_path / "rejects.jsonl")
        (reject,) = pl.read_ndjson(tmp_path / "rejects.jsonl").rows(named=True)
        assert (reject["line"], reject["reason"]) == (4, "user_id is missing")
        assert reject["record"] == '{"user_id": null, "item_id": "z", "timestamp": 4, "more": [1]}'

    def test_rejects_need_a_suffix_that_says_the_format(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"--rejects .*the suffix names the format.*\.csv"):
            prepare(tmp_path / "log", None, tmp_path / "out", rejects=tmp_path / "rejects")

    def test_rejects_never_replace_what_is_read(self, tmp_path: Path) -> None:
        log, items = written(tmp_path / "log.csv", TEXT), written(tmp_path / "items.csv", "item_id\nx\nx\n")
        for path, said in [
            (log, "is one of the files to read"),
            (items, "is one of the files to read"),
            (tmp_path / "nowhere/rejects.csv", "there is no directory"),
        ]:
            with pytest.raises(ConfigError, match=said):
                prepare(log, items, tmp_path / "out", rejects=path)
        assert (log.read_text(), items.read_text()) == (TEXT, "item_id\nx\nx\n")
        assert not (tmp_path / "out").exists()

    def test_check_writes_nothing(self, tmp_path: Path) -> None:
        log = written(tmp_path / "log", self.LOG)
        checked = prepare(log, None, tmp_path / "out", check=True)
        assert list(tmp_path.iterdir()) == [log]
        assert checked == prepare(log, None, tmp_path / "out")

    def test_a_file_that_grows_while_it_is_read_does_not_add_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = written(tmp_path / "log", TEXT)

        def appending(*arguments: Any) -> Any:
            with log.open("a") as file:
                file.write("a,w,4\n")
            return decide(*arguments)

        monkeypatch.setattr("training.data.reading.delimited_file.decide", appending)
        said = refusal(log)
        assert (
            "of 3 records 4 were read, the last in line 5; if something was writing to it, read it again"
            in said
        )
