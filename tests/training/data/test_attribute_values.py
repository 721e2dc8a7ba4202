"""Attributes of an items file, from any format into prepared data."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from index.attributes import AttributeValue
from training.data.data_card import read_card
from training.data.dataset import read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.errors import ConfigError, DataError

TYPES = {"length": "number", "released": "date", "language": "text", "live": "boolean", "tags": "texts"}
ROWS: list[dict[str, Any]] = [
    {"length": 12.5, "released": "2024-05-01", "language": "en", "live": True, "tags": ["cat", "funny"]},
    {"length": 3, "released": "2024-05-01T12:00:00+02:00", "language": "fr", "live": False, "tags": []},
    {"length": None, "released": None, "language": None, "live": None, "tags": None},
]
EXPECTED: list[dict[str, AttributeValue]] = [
    {"length": 12.5, "released": "2024-05-01", "language": "en", "live": True, "tags": ["cat", "funny"]},
    {"length": 3, "released": "2024-05-01T10:00:00Z", "language": "fr", "live": False},
    {},
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    lines = [f"u{user},{item},{10 * user + rank}" for user in range(2) for rank, item in enumerate("xyz")]
    path.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return path


def written(log: Path, name: str, **changes: object) -> Path:
    """An items file of `ROWS`, whose first row has these `changes`."""
    rows = [{"item_id": item, **row} for item, row in zip("xyz", ROWS, strict=True)]
    rows[0].update(changes)
    path = log.with_name(name)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif path.suffix == ".csv":
        cells = [
            [
                "|".join(value) if isinstance(value, list) else "" if value is None else str(value)
                for value in one
            ]
            for one in (row.values() for row in rows)
        ]
        path.write_text("\n".join([",".join(rows[0]), *map(",".join, cells)]) + "\n")
    else:
        for row in rows:
            if row["released"] is not None:
                row["released"] = datetime.fromisoformat(row["released"]).astimezone(UTC).replace(tzinfo=None)
        rows[0]["released"] = datetime(2024, 5, 1)
        pl.DataFrame(rows, strict=False).write_parquet(path)
    return path


def attributes(log: Path, items: Path, **options: Any) -> dict[str, dict[str, AttributeValue]]:
    out = log.parent / "prepared"
    given = {"attributes": TYPES, **options}
    card = prepare([log], [items], out, PrepareOptions.model_validate(given), now_ms=1_800_000_000_000)
    catalogue = read_dataset(out).catalogue
    assert catalogue.attributes.schema == given["attributes"]
    assert read_card(out) == card
    return {catalogue.item_id(row): catalogue.attributes_of(row) for row in range(1, len(catalogue) + 1)}


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl", "items.parquet"])
def test_columns_of_any_format_become_attributes(log: Path, name: str) -> None:
    assert attributes(log, written(log, name)) == dict(zip("xyz", EXPECTED, strict=True))
    card = read_card(log.parent / "prepared")
    assert card.items_file is not None
    assert card.items_file.attributes == {"length": 2, "released": 2, "language": 2, "live": 2, "tags": 1}
    assert card.items_file.ignored_columns == []


def test_parquet_dates_and_numbers_of_any_width(log: Path) -> None:
    items = log.with_name("items.parquet")
    columns = {"item_id": ["x", "y"], "length": [1, 2], "released": [date(1922, 3, 1), None], "live": [1, 0]}
    frame = pl.DataFrame(columns, schema_overrides={"length": pl.Int8})
    frame.write_parquet(items)
    types = {"length": "number", "released": "date", "live": "boolean"}
    found = attributes(log, items, attributes=types)
    assert found["x"] == {"length": 1, "released": "1922-03-01", "live": True}
    assert found["y"] == {"length": 2, "live": False}
    assert found["z"] == {}


def test_words_for_a_missing_value_are_none_in_every_type(log: Path) -> None:
    items = log.with_name("items.csv")
    items.write_text("item_id,length,released,language,live,tags\nx,nan,NULL,N/A,None,nan\ny,-,-,-,-,-\n")
    assert attributes(log, items, missing=("", "nan", "NULL", "N/A", "None", "-"))["x"] == {}
    assert attributes(log, items, missing=("", "nan", "NULL", "N/A", "None", "-"))["y"] == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": "long"}, "'length' holds 'long', which is not a finite number"),
        ({"length": "1e999"}, "'length' holds '1e999', which is not a finite number"),
        ({"released": "May"}, "'released' holds 'May', which is not a date"),
        ({"released": "20"}, "'released' holds '20', which is not a date"),
        ({"language": "x" * 257}, "'language' holds 'xxx.*', which is not a text of at most 256"),
        ({"live": "maybe"}, "'live' holds 'maybe', which is not true, false, 1 or 0"),
        ({"tags": ["y" * 257]}, "'tags' holds 'yyy.*', which is not a list of at most 64 texts"),
        ({"tags": [str(number) for number in range(65)]}, "'tags' holds '0|1.*', which is not a list"),
    ],
)
@pytest.mark.parametrize("name", ["items.csv", "items.jsonl"])
def test_a_value_that_is_none_of_its_type_is_refused_with_the_column(
    log: Path, name: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=rf"items\.\w+: column {message}.*--missing"):
        attributes(log, written(log, name, **changes))


def test_a_column_that_is_not_there_or_has_another_use_is_refused(log: Path) -> None:
    items = written(log, "items.csv")
    with pytest.raises(DataError, match=r"no column 'colour'.*--attribute"):
        attributes(log, items, attributes={"colour": "text"})
    with pytest.raises(DataError, match="--title-column and --attribute both name the column 'language'"):
        attributes(log, items, title_column="language")
    with pytest.raises(ConfigError, match="--attribute names a column of an items file"):
        prepare([log], None, log.parent / "out", PrepareOptions.model_validate({"attributes": TYPES}))


def test_attributes_count_for_the_fingerprint_and_not_the_order_of_rows(log: Path) -> None:
    items, fingerprints = log.with_name("items.csv"), []
    for lines in (("x,1", "x,2", "y,3"), ("y,3", "x,2", "x,1"), ("x,2", "y,3")):
        items.write_text("\n".join(["item_id,length", *lines]) + "\n")
        found = attributes(log, items, attributes={"length": "number"})
        assert found["x"] == {"length": int(min(line[2:] for line in lines if line.startswith("x")))}
        fingerprints.append(read_card(log.parent / "prepared").fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
