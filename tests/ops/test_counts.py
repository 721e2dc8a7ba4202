"""Short sessions out of a log, and the measurement of counts beside a model."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from benchmarks.quality import counts
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher, config
from training.counts import WEIGHTS
from training.data.dataset import write_dataset
from training.trainer import train


@pytest.mark.parametrize("each", [1, 3])
def test_sessions_are_the_end_of_each_users_events(tmp_path: Path, each: int) -> None:
    lengths = {f"user-{number}": 3 + number for number in range(20)}
    log = pl.DataFrame(
        [(user, f"{user}:{place}", place) for user, length in lengths.items() for place in range(length)],
        schema=["user_id", "item_id", "timestamp"],
        orient="row",
    )
    log.sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "log.parquet")
    asked = ["sessions", tmp_path / "log.parquet", tmp_path / "out.parquet", "--each", each]
    done = CliRunner().invoke(counts.application, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    found = pl.read_parquet(tmp_path / "out.parquet")
    for user, length in lengths.items():
        end = length
        for number in range(each):
            own = found.filter(pl.col("user_id") == f"{user}-{number}")
            if not len(own):
                assert number > 0
                assert end < 3
                break
            assert 3 <= len(own) <= 6
            expected = [f"{user}:{place}" for place in range(end - len(own), end)]
            assert own["item_id"].to_list() == expected
            assert own["timestamp"].to_list() == list(range(len(own)))
            end -= len(own)


def test_counts_are_measured_into_a_file(tmp_path: Path) -> None:
    dataset = cyclic_dataset()
    write_dataset(dataset, tmp_path / "data")
    train(dataset, config(epochs=1, learning_rate=1e-8), tmp_path / "run", Watcher())
    out = tmp_path / "counts.json"
    out.write_text('{"another": 1}')
    asked = ["measure", "cyclic", "--run", tmp_path / "run", "--data", tmp_path / "data", "--out", out]
    done = CliRunner().invoke(counts.application, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert set(found) == {"another", "cyclic"}
    for kind in ("followers", "alike"):
        row = found["cyclic"][kind]
        assert row["weight"] in (0, *WEIGHTS)
        assert set(row["test"]) == {"ndcg@10", "hr@10", "hr@50"}
        for metric, one in row["test"].items():
            assert one["low"] <= one["mean"] <= one["high"]
            assert one["counted"] == row["by_weight"][str(float(row["weight"]))][metric]
            assert one["alone"] == row["by_weight"]["0.0"][metric]
