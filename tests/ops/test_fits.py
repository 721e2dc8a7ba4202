"""Fits made ahead of a measurement: `python -m benchmarks.quality.fits`."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import fits
from benchmarks.quality.quality import prepared
from tests.training.test_trainer import Watcher
from training.benchmark.recipe import Budget
from training.benchmark.registry import find, plan
from training.benchmark.store import Store

RUNNER = CliRunner()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory with a log of thirty users who walk a circle of items."""
    users, events, items = 30, 10, 12
    starts = np.random.default_rng(0).integers(items, size=users)
    directory = tmp_path / "shared"
    directory.mkdir()
    pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), events),
            "item_id": ((starts[:, None] + np.arange(events)) % items).ravel(),
            "timestamp": np.tile(np.arange(events), users),
        }
    ).write_parquet(directory / "amazon-beauty.parquet")
    return directory


def run(shared: Path, work: Path, *asked: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(fits.main)
    done = RUNNER.invoke(app, ["--shared", str(shared), "--work", str(work), *asked])
    return done.exit_code, done.output


def test_the_benchmark_finds_what_was_trained_ahead(shared: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    code, output = run(shared, work, "amazon-beauty:sasrec-ce:1", "amazon-beauty:comirec-sa:0")
    assert code == 0, output
    data = prepared("amazon-beauty", shared, work)
    for name, seed in (("sasrec-ce", 1), ("comirec-sa", 0)):
        job = plan(data, find([name]), seeds=seed + 1)[-1]
        watcher = Watcher()
        directory = Store(work).training(job.training)
        fitted = job.recipe.fit(data.dataset, data.split, Budget(seed, None, directory, watcher))
        assert fitted.epochs
        assert not watcher.records  # nothing was trained again


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("amazon-beauty:sasrec", "DATA:MODEL:SEED"),
        ("nowhere:sasrec:0", "nowhere"),
        ("amazon-beauty:nothing:0", "nothing"),
        ("amazon-beauty:sasrec:-1", "amazon-beauty:sasrec:-1"),
        ("amazon-beauty:itemknn:0", "not trained"),
    ],
)
def test_what_is_no_fit_is_refused_before_anything_is_trained(
    shared: Path, tmp_path: Path, asked: str, named: str
) -> None:
    code, output = run(shared, tmp_path / "work", "amazon-beauty:sasrec:0", asked)
    assert code == 1
    assert named in output
    assert "Traceback" not in output
    assert not list((tmp_path / "work").glob("runs/*"))
