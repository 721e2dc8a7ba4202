import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from training.data.dataset import read_dataset

LOG = """user,video,when,kind,stars
ann,x,1700000000,watch,5
ann,y,1700000100,watch,4
ann,z,1700000200,watch,4
ann,z,1700000200,watch,4
bob,x,1700000000,watch,3
bob,w,1700000000,click,5
eve,,1700000000,watch,5
"""
COLUMNS = ("--user-column", "user", "--item-column", "video", "--timestamp-column", "when")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    path.with_name("items.csv").write_text("video,name,genres\nx,Ex,War Drama\ny,Why,War\nq,Cue,\n")
    return path


def test_a_log_is_prepared_and_described(dimerec: Run, log: Path) -> None:
    out = log.with_name("data")
    done = dimerec(
        *("prepare", "--events", log, "--items", log.with_name("items.csv"), "--out", out, *COLUMNS),
        *("--event-type-column", "kind", "--event-type", "watch", "--weight-column", "stars"),
        *("--min-weight", 4, "--title-column", "name", "--category-column", "genres"),
        *("--category-separator", "space"),
    )
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.replace("│", " ").split())
    assert "log.csv: 7 rows" in said
    assert "2023-11-14 … 2023-11-14 (s)" in said
    assert "1 without events, left out of the catalogue" in said
    assert "1 with events but not listed, kept without title" in said
    for reason in ("video is missing 1", "kind is not watch 1", "stars is below 4 1", "repeats an event"):
        assert reason in said
    assert f"next: dimerec train --data {out}" in said

    dataset = read_dataset(out)
    assert dataset.user_ids == ["ann"]
    assert [dataset.catalogue.item_id(int(row)) for row in dataset.history(0)] == ["x", "y", "z"]
    assert dataset.catalogue.titles == ("Ex", "Why", None)
    assert dataset.catalogue.categories == (("War", "Drama"), ("War",), ())
    card = json.loads((out / "card.json").read_text())
    assert (card["rows"], card["events"], card["fingerprint"]) == (7, 3, dataset.fingerprint)


def test_nothing_dropped_is_said(dimerec: Run, log: Path) -> None:
    log.write_text("\n".join(LOG.splitlines()[:4]) + "\n")
    done = dimerec("prepare", "--events", log, "--out", log.with_name("data"), *COLUMNS)
    assert "Nothing was dropped." in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "has no column 'user_id'"),
        ((*COLUMNS, "--timestamp-column", "kind"), "kind is neither a number nor an ISO 8601 date-time"),
        ((*COLUMNS, "--min-events", "4"), "no user has 4 events left"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(
    dimerec: Run, log: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = dimerec("prepare", "--events", log, "--out", log.with_name("data"), *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert not log.with_name("data").exists()


@pytest.mark.parametrize("arguments", [("--min-events", "2"), ("--timestamp-unit", "hours"), ("--events",)])
def test_options_are_checked(dimerec: Run, log: Path, arguments: tuple[str, ...]) -> None:
    assert dimerec("prepare", "--events", log, *arguments).code == 2


def test_columns_of_the_items_file_are_kept_as_attributes(dimerec: Run, log: Path) -> None:
    out, items = log.with_name("data"), log.with_name("items.csv")
    asked = (
        "prepare",
        "--events",
        log,
        "--items",
        items,
        "--out",
        out,
        *COLUMNS,
        "--items-item-column",
        "video",
    )
    result = dimerec(*asked, "--attribute", "name:text", "--attribute", "genres:texts")
    assert "attributes │ name of 3 items, genres of 2 items" in " ".join(result.out.split())
    catalogue = read_dataset(out).catalogue
    assert catalogue.attributes_of(catalogue.row("x") or 0) == {"name": "Ex", "genres": ["War Drama"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["name"], "--attribute name: must be COLUMN:TYPE, the type one of number, date"),
        (["name:colour"], "--attribute name:colour: must be COLUMN:TYPE"),
        ([":text"], "the column must have 1"),
        (["name:text", "name:date"], "name has a type already, text"),
        ([f"n{index}:text" for index in range(33)], "at most 32 attributes are kept, not 33"),
    ],
)
def test_an_attribute_without_a_type_is_refused(
    dimerec: Run, log: Path, given: list[str], message: str
) -> None:
    options = [part for one in given for part in ("--attribute", one)]
    result = dimerec("prepare", "--events", log, "--out", log.with_name("data"), *COLUMNS, *options)
    assert result.code == 1
    assert message in result.err
