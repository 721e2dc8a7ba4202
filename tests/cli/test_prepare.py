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
