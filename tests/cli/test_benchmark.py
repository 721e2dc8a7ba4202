"""`dimerec benchmark` from an event log to results, and what it says of what it cannot do."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Run
from tests.training.logs import cyclic_dataset
from training.benchmark.diversity_curve import Point
from training.benchmark.probing import ProbeRow
from training.benchmark.registry import REGISTRY
from training.benchmark.store import (
    DIVERSITY_FILE,
    PROBING_FILE,
    RESULTS_FILE,
    TABLES_FILE,
    read_kept,
    read_rows,
)
from training.evaluation.reranking import DELTAS

QUICK = ("--set", "epochs=1")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Events and items as files."""
    directory = tmp_path_factory.mktemp("log")
    dataset = cyclic_dataset()
    ids = dataset.catalogue.item_ids
    events = pl.DataFrame(
        {
            "user_id": [user for user in dataset.user_ids for _ in range(12)],
            "item_id": [ids[row - 1] for row in dataset.items],
            "timestamp": dataset.timestamps,
            "window": (["train"] * 10 + ["validation", "test"]) * len(dataset),
        }
    )
    items = pl.DataFrame(
        {"item_id": ids, "category": ["|".join(names) for names in dataset.catalogue.categories]}
    )
    events.write_parquet(directory / "walks.parquet")
    items.write_csv(directory / "items.csv")
    return directory / "walks.parquet", directory / "items.csv"


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("popularity", "itemknn", "sasrec", "dimerec"), id="some"),
        pytest.param(tuple(REGISTRY), id="all", marks=pytest.mark.smoke),
    ],
)
def test_recommenders_from_a_log_to_results(
    dimerec: Run, log: tuple[Path, Path], tmp_path: Path, names: tuple[str, ...]
) -> None:
    files = ("--events", log[0], "--items", log[1], "--out", tmp_path)
    asked = ("benchmark", *files, "--models", ",".join(names), *QUICK)
    done = dimerec(*asked, "--curves", "--against", "dimerec", "--revision", "abc")
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / RESULTS_FILE)
    assert {row.model for row in rows} == set(names)
    assert {row.data for row in rows} == {"walks"}
    assert {row.commit for row in rows} == {"abc"}
    assert all(row.categories_20 is not None for row in rows)
    for name in names:
        assert name in done.out
        assert f"walks leave-one-out  {name}  seed 0: hr@20 " in done.err
    assert "ndcg@10  dimerec − itemknn: " in done.out
    points = read_kept(tmp_path / DIVERSITY_FILE, Point)
    assert {(point.model, point.delta) for point in points} == {
        (name, delta) for name in names for delta in DELTAS
    }
    probed = {row.model for row in read_kept(tmp_path / PROBING_FILE, ProbeRow)}
    assert probed == set(names) - {"popularity", "itemknn"}
    tables = (tmp_path / TABLES_FILE).read_text()
    assert "| dimerec − itemknn | NDCG@10 |" in tables
    assert "Diversity at equal recall" in tables
    assert "by a linear probe" in tables
    before = (tmp_path / RESULTS_FILE).read_bytes()
    again = dimerec(*asked)
    assert again.err.count("(done before)") == len(names)
    assert (tmp_path / RESULTS_FILE).read_bytes() == before


def test_seeds_and_the_split_by_window_and_prepared_data(
    dimerec: Run, log: tuple[Path, Path], tmp_path: Path
) -> None:
    common = ("--models", "popularity,dimerec-k1", "--seeds", 2, *QUICK, "--out", tmp_path)
    done = dimerec("benchmark", "--events", log[0], "--split", "window", "--name", "steps", *common)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / RESULTS_FILE)
    assert {(row.data, row.split, row.model, row.seed) for row in rows} == {
        ("steps", "window", "popularity", 0),
        ("steps", "window", "dimerec-k1", 0),
        ("steps", "window", "dimerec-k1", 1),
    }
    assert {row.categories_20 for row in rows} == {None}
    assert "2 seeds (means)" in done.out
    prepared = tmp_path / "data" / "steps-window"
    assert dimerec("benchmark", "--data", prepared, "--split", "leave-one-out", *common).code == 0
    assert {row.data for row in read_rows(tmp_path / RESULTS_FILE)} == {"steps", "steps-window"}


def test_two_processes_share_a_directory(log: tuple[Path, Path], tmp_path: Path) -> None:
    names = "dimerec-k1,sasrec"
    command = [sys.executable, "-m", "cli.main", "benchmark", "--events", str(log[0]), "--models", names]
    command += [*QUICK, "--out", str(tmp_path)]
    both = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    finished = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], finished
    told = "".join(err for _, err in finished)
    assert (told.count("seed 0: hr@20"), told.count("(done before)")) == (4, 2)
    rows = read_rows(tmp_path / RESULTS_FILE)
    assert {row.model for row in rows} == set(names.split(","))
    assert len(rows) == sum(len(read_rows(path)) for path in (tmp_path / "rows").iterdir())


def test_a_configuration_of_ones_own_beside_the_roster(
    dimerec: Run, log: tuple[Path, Path], tmp_path: Path
) -> None:
    config, out = tmp_path / "own.toml", tmp_path / "out"
    models = ("--models", "popularity,dimerec-k1", "--config", f"own={config}", "--against", "own")
    asked = ("benchmark", "--events", log[0], *models, *QUICK, "--out", out)
    missing = dimerec(*asked)
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert "own.toml does not exist" in missing.err
    config.write_text('epochs = 9\nrecipe = "large"\n[model]\nguidance_vectors = 1\n')
    done = dimerec(*asked)
    assert done.code == 0, done.err
    assert "ndcg@10  own − popularity: " in done.out
    metrics = {row.model: row.ndcg_10 for row in read_rows(out / RESULTS_FILE) if row.variant == 0}
    assert metrics["own"] == metrics["dimerec-k1"]
    config.write_text("[model]\nguidance_vectors = 3\n")
    assert dimerec(*asked).err.count("(done before)") == 2


def test_the_roster_is_shown(dimerec: Run) -> None:
    for asked in ("--list", "--models=list"):
        done = dimerec("benchmark", asked)
        assert done.code == 0
        for name, entry in REGISTRY.items():
            assert name in done.out
            assert entry.summary in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the data either with --events FILE or, prepared, with --data DIRECTORY"),
        (("--events", "a", "--data", "b"), "name the data either with"),
        (("--data", "nowhere"), "nowhere is not a prepared data set"),
        (("--models", "dimerec,nobody"), "--models: 'nobody' is not in the registry, which has popularity, "),
        (("--models", " , "), "--models names none; `dimerec benchmark --list` shows them"),
        (("--minutes", "0"), "--minutes is 0; give more than 0"),
        (("--against", "mind"), "--against: 'mind' is not among --models"),
        (("--config", "wide"), "--config: 'wide' is not NAME=FILE, as in wide=wide.toml"),
        (("--config", "a/b=c.toml"), "--config: 'a/b=c.toml' is not NAME=FILE"),
        (("--config", "mind=c.toml"), "--config: 'mind' is taken"),
        (("--config", "a=c.toml", "--config", "a=d.toml"), "--config: 'a' is taken"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dimerec("benchmark", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert list(tmp_path.iterdir()) == []
