"""Commands that read a log take files of any kind, and as many as there are."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from training.data.dataset import read_dataset

SECONDS = 1_700_000_000


def log_of(*users: str, separator: str = ",") -> str:
    rows = [(user, str(1001 + at), str(SECONDS + at)) for user in users for at in range(4)]
    return "".join(separator.join(row) + "\n" for row in [("user_id", "item_id", "timestamp"), *rows])


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory of a log in two files."""
    directory = tmp_path / "logs"
    directory.mkdir()
    (directory / "1.csv").write_text(log_of("a"))
    (directory / "2[x].tsv").write_text(log_of("b", separator="\t"))
    return directory


def both(logs: Path) -> tuple[object, ...]:
    return ("--events", logs / "1.csv", "--events", logs / "2[x].tsv")


def test_prepare_reads_them_all_and_says_how(dimerec: Run, logs: Path, tmp_path: Path) -> None:
    for number, events in enumerate([both(logs), ("--events", logs), ("--events", logs / "*.?sv")]):
        out = tmp_path / str(number)
        done = dimerec("prepare", *events, "--out", out)
        assert (done.code, done.err) == (0, "")
        assert read_dataset(out).user_ids == ["a", "b"]
        said = " ".join(done.out.replace("│", " ").split())
        assert "2 files: 8 rows" in said
        assert "accounted for 8 rows = 8 events + 0 dropped" in said
        assert "4 rows: delimited text, separator tab, quotes literal, UTF-8" in said
        card = json.loads((out / "card.json").read_text())
        assert [Path(file["file"]).name for file in card["events_files"]] == ["1.csv", "2[x].tsv"]
        assert [file["separator"] for file in card["events_files"]] == [",", "\t"]


def test_of_many_files_the_first_are_printed_and_all_recorded(dimerec: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number in range(20):
        (tmp_path / f"logs/{number:02}.csv").write_text(log_of(f"u{number}"))
    done = dimerec("prepare", "--events", tmp_path / "logs", "--out", tmp_path / "out")
    assert done.out.count("delimited text") == 12
    assert "and 8 files more, which card.json lists" in done.out
    assert len(json.loads((tmp_path / "out/card.json").read_text())["events_files"]) == 20


def test_a_second_items_file_does_not_replace_the_first(dimerec: Run, logs: Path, tmp_path: Path) -> None:
    for number in (1001, 1002):
        (tmp_path / f"{number}.csv").write_text(f"item_id,title\n{number},Title {number}\n")
    items = ("--items", tmp_path / "1001.csv", "--items", tmp_path / "1002.csv")
    assert dimerec("prepare", "--events", logs, *items, "--out", tmp_path / "out").code == 0
    titles = read_dataset(tmp_path / "out").catalogue.titles
    assert sorted(filter(None, titles)) == ["Title 1001", "Title 1002"]


@pytest.mark.parametrize("option", ["--separator", "--delimiter"])
@pytest.mark.parametrize(("given", "character"), [("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("~", "~")])
def test_separators_by_name(dimerec: Run, tmp_path: Path, option: str, given: str, character: str) -> None:
    log = tmp_path / "log"
    log.write_text(log_of("a", separator=character))
    assert dimerec("prepare", "--events", log, "--out", tmp_path / "out", option, given).code == 0


@pytest.mark.parametrize("given", ["", "::", '"', "é", "\n"])
def test_separators_that_are_none(dimerec: Run, logs: Path, given: str) -> None:
    done = dimerec("prepare", "--events", logs, "--separator", given)
    assert done.code == 2
    assert "give one ASCII character, or tab or space" in " ".join(done.err.split())


def test_quotes_by_option(dimerec: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(log_of("a").replace("a,1001", '"a,1001'))
    prepare = ("prepare", "--events", log, "--out", tmp_path / "out")
    done = dimerec(*prepare)
    assert done.err == (
        f"dimerec: {log}, line 2: a quote is opened and never closed; "
        "close it, or say --quote none if quotes are literal\n"
    )
    assert dimerec(*prepare, "--quote", "none").code == 0
    assert dimerec(*prepare, "--quote", "single").code == 2


def test_check_and_rejects(dimerec: Run, logs: Path, tmp_path: Path) -> None:
    with (logs / "1.csv").open("a") as log:
        log.write("\nb,,1700000000\nc,x,1700000000")
    rejects = tmp_path / "rejects.csv"
    done = dimerec("prepare", "--events", logs, "--out", tmp_path / "out", "--check", "--rejects", rejects)
    assert (done.code, done.err) == (0, "")
    assert "11 rows = 8 events + 3 dropped" in done.out
    assert not (tmp_path / "out").exists()
    table = pl.read_csv(rejects, infer_schema=False)
    assert [(row["line"], row["reason"], row["record"]) for row in table.rows(named=True)] == [
        ("6", "is a blank line", ""),
        ("7", "item_id is missing", "b,,1700000000"),
        ("8", "user has fewer than 3 events", "c,x,1700000000"),
    ]
    assert dimerec("prepare", "--events", logs, "--rejects", tmp_path / "rejects").code == 1


def test_recommend_reads_them_all(dimerec: Run, logs: Path, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path / "bundles")
    out = tmp_path / "out.parquet"
    done = dimerec("recommend", "--bundles", tmp_path / "bundles", *both(logs), "-k", 2, "--out", out)
    assert (done.code, done.err.strip()) == (0, done.err.strip())
    assert pl.read_parquet(out)["user_id"].unique().sort().to_list() == ["a", "b"]


def test_import_history_reads_them_all_and_knows_them_again(dimerec: Run, logs: Path, redis_url: str) -> None:
    importing = ("import-history", *both(logs), "--redis", redis_url)
    assert "Imported 2 users: 8 events added" in dimerec(*importing).out
    assert "0 events added, 8 known already" in dimerec(*importing).out


def test_benchmark_reads_them_all(dimerec: Run, logs: Path, tmp_path: Path) -> None:
    done = dimerec("benchmark", "--events", logs, "--models", "popularity", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "logs, leave-one-out split, 2 targets" in done.out


@pytest.mark.parametrize(
    "redirect",
    ["cat {} | {} --events /dev/stdin", "{1} --events <(cat {0})", "{1} --events /dev/stdin < {0}"],
)
def test_a_pipe_in_a_shell(logs: Path, tmp_path: Path, redirect: str) -> None:
    command = redirect.format(
        logs / "1.csv", f"{sys.executable} -m cli.main prepare --out {tmp_path / 'out'}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_dataset(tmp_path / "out").user_ids == ["a"]


@pytest.mark.parametrize("option", ["--events", "--items", "--out"])
@pytest.mark.parametrize(
    ("given", "says"),
    [("", "is empty, as an unset variable is"), ("s3://bucket/1.csv", "s3://bucket/1.csv is an address")],
)
def test_paths_that_are_none(dimerec: Run, logs: Path, option: str, given: str, says: str) -> None:
    others = ("--events", logs) if option != "--events" else ()
    done = dimerec("prepare", *others, option, given)
    assert done.code == 2
    assert says in " ".join(done.err.split())


def test_a_file_to_write_into(dimerec: Run, logs: Path) -> None:
    done = dimerec("prepare", "--events", logs, "--out", logs / "1.csv")
    assert "1.csv is a file; name a directory to write to" in " ".join(done.err.split())
