"""Files that cannot be used: one line that names the column or the file, and the remedy."""

import gzip
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.data.dataset import read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.errors import DataError

HEADER = b"user_id,item_id,timestamp\n"
ROWS = b"a,x,1\na,y,2\na,z,3\n"


def refusal(path: Path, items: Path | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        prepare(path, items, path.parent / "out", PrepareOptions.model_validate(options))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert not (path.parent / "out").exists()
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (HEADER, "no usable event: it has a header but no rows"),
        (
            b"user,item,timestamp\na,x,1\n",
            "has no column 'user_id', 'item_id', only 'user', 'item', 'timestamp'; name.*--user.*, --item-c",
        ),
        (b"user_id,video,timestamp\na,x,1\n", "has no column 'item_id'.*--item-column"),
        (b"user_id,item_id\na,x\n", "has no column 'timestamp'.*--timestamp-column"),
        (
            HEADER + b"a,x,2020/01/01\na,y,soon\na,z,\n",
            "timestamp is missing; in 2 of 3 rows timestamp is neither a number nor an ISO 8601 date-time"
            ", e.g. '2020/01/01'; correct",
        ),
        (HEADER + b",x,1\n,,2\n", "in 2 of 2 rows user_id is missing"),
        (HEADER + b"a,x,1\na,y,2\n", "no user has 3 events left after cleaning.*--min-events"),
        (
            HEADER + "a,café,1\n".encode("latin1") + ROWS,
            "line 2: item_id is not UTF-8 text; convert it, e.g. iconv",
        ),
        ("user_id,café,timestamp\n".encode("latin1") + ROWS, "is not UTF-8 text; convert it, e.g. iconv"),
        ((HEADER + ROWS).decode().encode("utf-16-le"), "UTF-16 without a byte-order mark; convert .*iconv"),
        ((HEADER + ROWS).decode().encode("utf-16")[:-1], "is damaged UTF-16"),
        (HEADER + b"a,x,1,extra\n" + ROWS, "line 2 has more fields than the header; quote fields"),
        (
            HEADER + b'a,"x,1\n' + ROWS,
            "line 2: a quote is opened and never closed; close it, or say --quote none",
        ),
        (
            HEADER + b"a,x,1.7e15\na,y,1.7e15\na,z,1.7e15\n",
            "'timestamp' has been rounded to 10,000 s .*write it as int64",
        ),
        (
            HEADER + b"a,x,1.5\na,y,2\na,z,3\n",
            "'timestamp' has fractions, so it is no order; make it whole",
        ),
        (gzip.compress(HEADER + ROWS * 2000, mtime=0)[:60], "damaged gzip file"),
        (b"\x1f\x8b" + b"no gzip at all", "damaged gzip file"),
        (b"PAR1 and then nothing", "damaged Parquet file"),
        (bytes(range(128, 256)) * 9, "is not UTF-8 text"),
    ],
)
def test_text_and_binary(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    said = refusal(path)
    assert "log.csv" in said
    assert re.search(message, said), said


def test_a_name_that_promises_parquet_must_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_bytes(HEADER + ROWS)
    assert "log.parquet is not a Parquet file; write it as Parquet or name a CSV file" in refusal(path)


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    assert "no such file; check the path" in refusal(tmp_path / "nothing.csv")
    (tmp_path / "folder").mkdir()
    assert "is a directory without files" in refusal(tmp_path / "folder")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user_id", [1.0, 2.0, 3.0], "'user_id' is Float64; an id is a string or an integer, .*astype"),
        ("item_id", [["x"], ["y"], ["z"]], r"'item_id' is List\(String\); it must hold strings or integers"),
        (
            "timestamp",
            [[1], [2], [3]],
            r"'timestamp' is List\(Int64\); it must hold numbers or date-times, cast it",
        ),
        ("timestamp", [True, False, True], "'timestamp' is Boolean; it must hold numbers"),
    ],
)
def test_types(tmp_path: Path, column: str, values: list[object], message: str) -> None:
    columns = {"user_id": ["a"] * 3, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3], column: values}
    pl.DataFrame(columns).write_parquet(tmp_path / "log")
    assert re.search(message, refusal(tmp_path / "log"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_types": ("click",)}, "has no column 'event_type'.*--event-type-column"),
        ({"min_weight": 1}, "has no column 'weight'.*--weight-column"),
        ({"window_column": "part"}, "has no column 'part'.*--window-column"),
    ],
)
def test_a_filter_needs_its_column(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER + ROWS)
    assert re.search(message, refusal(path, **options))


def test_a_filter_that_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id,timestamp,event_type\na,x,1,view\n")
    said = refusal(path, event_types=("click", "like"))
    assert "no event_type is 'click' or 'like', only 'view'" in said


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            b"id,title\nx,Ex\n",
            {},
            "has no column 'item_id', only 'id', 'title'; name the right one with --items-item-column",
        ),
        (b"item_id\nx\n", {"title_column": "name"}, "has no column 'name'.*--title-column"),
        (b"item_id\nx\n", {"category_column": "genres"}, "has no column 'genres'.*--category-column"),
        (b"", {}, "items.csv is empty"),
        ("item_id,title\nx,Café\n".encode("latin1"), {}, "line 2: title is not UTF-8 text; convert it"),
    ],
)
def test_items_files(tmp_path: Path, content: bytes, options: dict[str, Any], message: str) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_bytes(HEADER + ROWS)
    items.write_bytes(content)
    assert re.search(message, refusal(log, items, **options))


def test_a_category_column_of_fractions(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(HEADER + ROWS)
    pl.DataFrame({"item_id": ["x"], "category": [1.5]}).write_parquet(tmp_path / "items")
    assert "'category' is Float64" in refusal(tmp_path / "log.csv", tmp_path / "items")


def test_ids_that_have_become_floats(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [1.0, 2.0, None], "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]})
    frame.write_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.jsonl")
    frame.select(pl.all().cast(pl.String)).write_parquet(tmp_path / "text.parquet")
    (tmp_path / "large.csv").write_bytes(HEADER + b"1.2345678901235e+17,x,1\n7.0,y,2\n")
    (tmp_path / "mixed.csv").write_bytes(HEADER + b"7,x,1\n7.0,y,2\n")
    for name in ("log.csv", "log.parquet", "log.jsonl", "text.parquet", "large.csv", "mixed.csv"):
        assert re.search(r"user_id.* 7\.0 is not the id 7; cast it.*astype", refusal(tmp_path / name))
    (tmp_path / "versions.csv").write_bytes(HEADER + b"1.0,x,1\n1.0,y,2\n1.0,z,3\n1.1,z,3\n")
    prepare(tmp_path / "versions.csv", None, tmp_path / "versions")
    (tmp_path / "right.csv").write_bytes(HEADER + ROWS)
    (tmp_path / "items.csv").write_bytes(b"item_id\n1.0\n")
    assert "items.csv: column 'item_id' holds" in refusal(tmp_path / "right.csv", tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (b"user_id,item_id,timestamp,item_id", {}, "several columns of one name, 'item_id'; rename or drop"),
        (b"user_id,item_id,timestamp,x,x", {}, "several columns of one name, 'x'"),
        (
            b"a,b,c,d",
            {},
            "no column 'user_id', 'item_id', 'timestamp', only .* --user-column, --item-column, --t",
        ),
        (
            b"user_id,item_id,timestamp,x",
            {"user_column": "item_id"},
            "--user-column and --item-column both name the column 'item_id'",
        ),
    ],
)
def test_names_of_columns(tmp_path: Path, header: bytes, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(header + b"\na,x,1,p,q\n"[: len(header)])
    said = refusal(path, **options)
    assert re.search(message, said), said


@pytest.mark.parametrize("cell", ["['War', 'Dra", "[{'id': 1}]", "[[1]]", "Drama (dark, slow), War"])
def test_categories_that_are_neither_a_list_nor_separated(tmp_path: Path, cell: str) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_bytes(HEADER + ROWS)
    pl.DataFrame({"item_id": ["x", "y"], "category": ["War", cell]}).write_csv(items)
    said = refusal(log, items)
    assert "'category' holds" in said
    assert cell[:9] in said
    assert "--category-separator" in said


class TestPreparedData:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        log = tmp_path / "log.csv"
        log.write_bytes(HEADER + ROWS)
        prepare(log, None, tmp_path / "data")
        return tmp_path / "data"

    def unreadable(self, directory: Path) -> str:
        with pytest.raises(DataError) as caught:
            read_dataset(directory)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_of_another_directory(self, tmp_path: Path) -> None:
        assert "is not a prepared data set" in self.unreadable(tmp_path)
        assert "dimerec prepare" in self.unreadable(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["sequences.parquet", "items.parquet"])
    def test_with_a_damaged_or_missing_file(self, directory: Path, name: str) -> None:
        path = directory / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert "cannot be read" in self.unreadable(directory)
        path.write_bytes(b"")
        assert "cannot be read" in self.unreadable(directory)
        path.unlink()
        assert "dimerec prepare" in self.unreadable(directory)

    def test_whose_files_do_not_belong_together(self, directory: Path) -> None:
        log = directory.with_name("other.csv")
        log.write_bytes(HEADER + ROWS.replace(b"z", b"w"))
        prepare(log, None, directory.with_name("other"))
        (directory / "items.parquet").write_bytes(
            (directory.with_name("other") / "items.parquet").read_bytes()
        )
        assert "do not belong together" in self.unreadable(directory)

    def test_that_another_program_wrote(self, directory: Path) -> None:
        pl.DataFrame({"user_id": ["a"]}).write_parquet(directory / "sequences.parquet")
        assert "is not of the format" in self.unreadable(directory)
