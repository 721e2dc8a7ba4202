"""`make small-logs`: whose events a small log has, and where its results are."""

from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import small_logs
from tests.training.logs import cyclic_dataset
from training.benchmark.store import read_rows


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    dataset = cyclic_dataset()
    return pl.DataFrame(
        {
            "user_id": [user for user in dataset.user_ids for _ in range(12)],
            "item_id": dataset.items.astype(str),
            "timestamp": dataset.timestamps,
            "weight": 1.0,
        }
    )


def test_a_sample_has_all_events_of_its_users_whatever_the_order_of_the_log(log: pl.DataFrame) -> None:
    sample = small_logs.of_users(log, 20, 0)
    assert sample.columns == ["user_id", "item_id", "timestamp"]
    assert sample["user_id"].n_unique() == 20
    assert sample["user_id"].value_counts()["count"].to_list() == [12] * 20
    shuffled = small_logs.of_users(log.sample(fraction=1, shuffle=True, seed=1), 20, 0)
    assert shuffled.sort(shuffled.columns).equals(sample.sort(sample.columns))
    other = small_logs.of_users(log, 20, 1)
    assert set(other["user_id"]) != set(sample["user_id"])


def test_the_samples_are_measured_into_files(
    log: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_parquet(tmp_path / "walks.parquet")
    monkeypatch.setattr(small_logs, "SAMPLES", {"walks-sample": small_logs.Sample(30, "walks.parquet")})
    app, out = typer.Typer(), tmp_path / "out"
    app.command()(small_logs.main)
    asked = ["--shared", str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(out)]
    done = CliRunner().invoke(app, [*asked, "--models", "itemknn,popularity"])
    assert done.exit_code == 0, done.output
    rows = read_rows(out / "small-logs.json")
    assert {(row.data, row.model, row.targets) for row in rows} == {
        ("walks-sample", "itemknn", 30),
        ("walks-sample", "popularity", 30),
    }
    assert "## walks-sample, leave-one-out split" in (out / "small-logs.md").read_text()
    (tmp_path / "walks.parquet").unlink()
    missing = CliRunner().invoke(app, asked)
    assert missing.exit_code == 1
    assert "walks.parquet is not there" in missing.stderr
