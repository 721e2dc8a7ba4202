"""The commands of benchmarks/ that measure, each carried out for real on a small log (`make smoke`)."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks.serving.checkouts import SINCE
from bundle.write import publish
from tests.factories import make_index, make_model, make_serving
from tests.training.logs import cyclic_dataset
from training.config import read_config
from training.data.dataset import write_dataset
from training.run import RunConfig

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"

pytestmark = pytest.mark.smoke


def measured(module: str, *arguments: object) -> str:
    """What `python -m benchmarks.…` prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_memory_of_training(tmp_path: Path) -> None:
    dataset = cyclic_dataset(users=200, length=30)
    users = [user for user in dataset.user_ids for _ in range(30)]
    log = {"user_id": users, "item_id": dataset.items, "timestamp": dataset.timestamps}
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    out = tmp_path / "memory.json"
    asked = ("--events", tmp_path / "log.parquet", "--times", 2, "--steps", 2, "--out", out)
    said = measured("quality.training_memory", "compare", *asked)
    found = json.loads(out.read_text())
    assert [log["events"] for log in found["logs"]] == [6000, 12_000]
    assert all(log["peak_mb"] >= log["read_mb"] > 50 for log in found["logs"])
    assert "12,000 events" in said


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A directory of prepared data, with a bundle of an untrained model in `bundles`."""
    dataset = cyclic_dataset()
    write_dataset(dataset, tmp_path)
    model = make_model(len(dataset.catalogue))
    publish(
        tmp_path / "bundles",
        model,
        dataset.catalogue,
        make_index(model),
        serving=make_serving(),
        metrics={},
        data_fingerprint=dataset.fingerprint,
    )
    return tmp_path


def test_the_numbers_behind_constants(published: Path) -> None:
    """In a log that only ever goes on in a circle, what was met together says what comes next."""
    data = ("--data", published)
    ndcg = [
        float(line.split()[-1]) for line in measured("quality.constants", "cooccurrence", *data).splitlines()
    ]
    assert len(ndcg) == 11
    assert min(ndcg) > 0.3
    assert "500  ndcg" in measured("quality.constants", "neighbours", *data)
    said = measured("quality.constants", "explanations", "--bundles", published / "bundles", *data)
    assert said.startswith("50  0.8  own ")


def test_the_cost_of_explanations(published: Path) -> None:
    said = measured(
        "quality.explanations", "--bundles", published / "bundles", "--data", published, "--pairs", 3
    )
    rows = [line.split() for line in said.splitlines() if line.split() and line.split()[0].isdigit()]
    assert [(row[0], row[1]) for row in rows] == [
        (str(k), str(at_once)) for k in (10, 100, 500) for at_once in (1, 64)
    ]


def test_the_plots_of_the_results_that_are_kept(tmp_path: Path) -> None:
    measured("quality.plots", RESULTS / "quality.json", tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (REPOSITORY / "docs" / "images").glob("quality-*.svg")}


def test_what_earlier_commits_are_not_told_is_what_a_run_says_by_default() -> None:
    """Else a run would mean something else to the code of before that `make bench` compares with."""
    config = read_config(None, [])
    said = RunConfig(training=config, data_fingerprint="x").model_dump()
    for (*parents, key), nothing in SINCE.items():
        part = said
        for parent in parents:
            part = part[parent]
        assert part[key] == nothing
