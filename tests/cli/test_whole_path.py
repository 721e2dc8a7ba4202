"""A new user's commands, one after the other: those that make a bundle each as a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from bundle.read import read_bundle
from tests.cli.conftest import Run

USERS, ITEMS, LENGTH = 60, 30, 10

DIES_BEFORE_RENAMING = """
import os, signal, sys
from pathlib import Path
from cli.main import main

def audit(event, arguments):
    if event == "os.rename" and Path(arguments[0]).name.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(audit)
main(sys.argv[2:])
"""
"""Runs `dimerec` with its arguments but the first, and is killed when it renames what starts with that."""


def in_a_process(*arguments: object) -> str:
    """What a command prints that has a process of its own, as a shell would start it."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


Said = Callable[..., str]


@pytest.fixture
def done(dimerec: Run) -> Said:
    """What a command prints that is carried out in this process."""

    def run(*arguments: object) -> str:
        result = dimerec(*arguments)
        assert result.code == 0, result.err
        return result.out

    return run


@pytest.fixture
def refused(dimerec: Run) -> Said:
    """The one line that a command which cannot be carried out leaves on stderr."""

    def run(*arguments: object) -> str:
        result = dimerec(*arguments)
        assert (result.code, result.err.count("\n")) == (1, 1)
        return result.err

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory after prepare, train, evaluate and publish."""
    place = tmp_path_factory.mktemp("path")
    events = [
        {"user_id": f"u{user}", "item_id": f"v{(user * 7 + step) % ITEMS}", "timestamp": 1_700_000_000 + step}
        for user in range(USERS)
        for step in range(LENGTH)
    ]
    items = [
        {
            "item_id": f"v{item}",
            "title": f"Video {item}",
            "category": f"c{item % 3}|all",
            "length": item / 2,
            "day": f"2024-01-{item % 28 + 1:02}",
        }
        for item in range(ITEMS)
    ]
    pl.DataFrame(events).write_csv(place / "events.csv")
    pl.DataFrame(items).write_csv(place / "items.csv")
    card = in_a_process(
        *("prepare", "--events", place / "events.csv", "--items", place / "items.csv"),
        *("--attribute", "length:number", "--attribute", "day:date", "--out", place / "data"),
    )
    assert "600" in card
    small = [
        "--set",
        "model.dim=16",
        "--set",
        "model.hidden=64",
        "--set",
        "epochs=3",
        "--set",
        "batch_size=64",
        "--set",
        "serving.fresh=0.2",
    ]
    trained = in_a_process("train", "--data", place / "data", "--out", place / "run", *small)
    assert "Stopped after epoch 3: all 3 epochs done" in trained
    measured = in_a_process("evaluate", "--run", place / "run", "--data", place / "data")
    assert all(name in measured for name in ("DimeRec", "Popularity", "ItemKNN"))
    published = in_a_process(
        "publish", "--run", place / "run", "--data", place / "data", "--bundles", place / "bundles"
    )
    assert published.startswith("Published ")
    return place


def test_the_evaluation_is_written_as_json(place: Path) -> None:
    report = json.loads((place / "run" / "evaluation-test.json").read_text())
    assert report["targets"] == USERS


def test_attributes_and_the_part_of_new_items_come_with_the_bundle(place: Path) -> None:
    bundle = read_bundle(place / "bundles")
    assert bundle.manifest.serving.fresh == 0.2
    for row in range(1, len(bundle.catalogue) + 1):
        item = int(bundle.catalogue.item_id(row)[1:])
        expected = {"length": item / 2, "day": f"2024-01-{item % 28 + 1:02}"}
        assert bundle.catalogue.attributes_of(row) == expected


def test_bundles_are_listed_verified_pruned_and_rolled_back(
    place: Path, tmp_path: Path, done: Said, refused: Said
) -> None:
    root = tmp_path / "bundles"
    for _ in range(3):
        done("publish", "--run", place / "run", "--data", place / "data", "--bundles", root)
    listed = done("bundles", "list", "--bundles", root)
    assert listed.count("whole") == 3
    assert listed.count("→") == 1
    newest = (root / "CURRENT").read_text().strip()
    assert done("bundles", "verify", "--bundles", root).count("is whole") == 3
    done("bundles", "use", "--previous", "--bundles", root)
    older = (root / "CURRENT").read_text().strip()
    assert older < newest
    assert "removed" in done("bundles", "prune", "--keep", "1", "--bundles", root)
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == sorted([older, newest])
    model = root / newest / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    assert "model.safetensors" in refused("bundles", "verify", newest, "--bundles", root)


@pytest.mark.parametrize("action", ["verify", "use"])
def test_a_version_with_a_path_in_it_is_refused_and_touches_nothing(
    place: Path, tmp_path: Path, refused: Said, action: str
) -> None:
    root, outside = tmp_path / "bundles", tmp_path / "outside"
    version = (place / "bundles" / "CURRENT").read_text().strip()
    shutil.copytree(place / "bundles", root)
    shutil.copytree(root / version, outside / version)  # whole: only its name can be the reason
    before = everything_in(tmp_path)
    for name in (f"../outside/{version}", str(outside / version)):
        assert "is no bundle version" in refused("bundles", action, name, "--bundles", root)
        assert everything_in(tmp_path) == before


def everything_in(directory: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def test_recommendations_for_one_user_are_unseen_and_have_titles(place: Path, done: Said) -> None:
    table = done(
        "recommend",
        "--bundles",
        place / "bundles",
        "--events",
        place / "events.csv",
        "--user",
        "u3",
        "-k",
        "5",
    )
    seen = {f"v{(3 * 7 + step) % ITEMS}" for step in range(LENGTH)}
    rows = [line.split("│") for line in table.splitlines() if "Video" in line]
    ids = [row[2].strip() for row in rows]
    assert len(ids) == len(set(ids)) == 5
    assert not seen & set(ids)
    assert [row[3].strip() for row in rows] == [f"Video {item.removeprefix('v')}" for item in ids]


def test_recommendations_for_a_history_of_unknown_items_are_popular_ones(place: Path, done: Said) -> None:
    assert "source: popularity" in done(
        "recommend", "--bundles", place / "bundles", "--history", "nothing,known"
    )


def test_recommendations_for_all_users_of_a_file_are_those_for_each(
    place: Path, tmp_path: Path, done: Said
) -> None:
    out = tmp_path / "recommendations.parquet"
    common = ["recommend", "--bundles", place / "bundles", "--events", place / "events.csv", "-k", "4"]
    done(*common, "--out", out)
    table = pl.read_parquet(out)
    assert table.height == 4 * USERS
    assert table.group_by("user_id").len()["len"].to_list() == [4] * USERS
    mine = table.filter(pl.col("user_id") == "u9").sort("rank")["item_id"].to_list()
    alone = [
        line.split("│")[2].strip() for line in done(*common, "--user", "u9").splitlines() if "Video" in line
    ]
    assert mine == alone


def test_what_cannot_be_done_is_one_line_that_names_the_remedy(
    place: Path, tmp_path: Path, refused: Said
) -> None:
    assert "dimerec prepare" in refused("train", "--data", tmp_path / "absent")
    assert "model.dims" in refused("train", "--data", place / "data", "--set", "model.dims=3")
    assert "dimerec publish" in refused("recommend", "--bundles", tmp_path, "--history", "v1")
    assert "--history or --events" in refused("recommend", "--bundles", place / "bundles")
    asked = ["recommend", "--bundles", place / "bundles", "--history", "v1", "--out", tmp_path / "r.parquet"]
    assert "--history is answered by a table" in refused(*asked)
    missing = ["--events", place / "events.csv", "--user", "nobody"]
    assert "nobody" in refused("recommend", "--bundles", place / "bundles", *missing)
    assert "dimerec publish" in refused("bundles", "list", "--bundles", tmp_path / "none")
    assert "holds no training run" in refused("publish", "--run", tmp_path, "--data", place / "data")


@pytest.mark.parametrize("renamed", [".publishing-", ".CURRENT."])
def test_a_killed_publish_leaves_current_as_it_was(
    place: Path, tmp_path: Path, done: Said, renamed: str
) -> None:
    root = tmp_path / "bundles"
    publish = ["publish", "--run", place / "run", "--data", place / "data", "--bundles", root]
    done(*publish)
    current = (root / "CURRENT").read_text()
    killed = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_RENAMING, renamed, *map(str, publish)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(root.glob(f"{renamed}*")), "it was not killed half-way"
    assert (root / "CURRENT").read_text() == current
    done("recommend", "--bundles", root, "--history", "v1")
    done(*publish)
    assert (root / "CURRENT").read_text() > current
