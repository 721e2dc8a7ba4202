"""Items that are held out before a training, and the log without them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import cold
from benchmarks.quality.cold_content import column_content
from tests.training.logs import cyclic_dataset
from training.data.dataset import write_dataset


def test_the_log_without_a_tenth_of_its_items() -> None:
    dataset = cyclic_dataset()
    out = cold.held_out(dataset, seed=3)
    gone = {dataset.catalogue.item_ids[row - 1] for row in np.flatnonzero(out)}
    assert len(gone) == 4
    warm = cold.without(dataset, out)
    assert not gone & set(warm.catalogue.item_ids)
    for user in range(len(dataset)):
        before = [dataset.catalogue.item_ids[row - 1] for row in dataset.history(user)]
        after = [warm.catalogue.item_ids[row - 1] for row in warm.history(user)]
        assert after == [item for item in before if item not in gone]
    counted = dict(zip(dataset.catalogue.item_ids, dataset.catalogue.popularity.tolist(), strict=True))
    assert all(
        counted[item] == count
        for item, count in zip(warm.catalogue.item_ids, warm.catalogue.popularity.tolist(), strict=True)
    )


def test_each_watch_of_an_item_that_is_out_is_a_case() -> None:
    dataset = cyclic_dataset()
    out = cold.held_out(dataset, seed=3)
    found = cold.cases_of(dataset, out)
    expected = [
        (user, row)
        for user in range(len(dataset))
        for place, row in enumerate(dataset.history(user).tolist())
        if out[row] and not out[dataset.history(user)[:place]].all()
    ]
    assert [(case.user, case.item_id) for case in found] == [(user, f"item-{row}") for user, row in expected]
    assert all(case.history for case in found)


def test_metrics_of_ranks() -> None:
    found = cold.metrics(np.array([1, 3, 11, np.inf]))
    assert found["hr@10"].tolist() == [1, 1, 0, 0]
    assert found["hr@50"].tolist() == [1, 1, 1, 0]
    assert found["ndcg@10"] == pytest.approx([1, 0.5, 0, 0])


def test_cold_items_are_measured_into_a_file(tmp_path: Path) -> None:
    write_dataset(cyclic_dataset(users=120, items=70), tmp_path / "data")
    app = typer.Typer()
    app.command()(cold.main)
    asked = ["--data", tmp_path / "data", "--work", tmp_path / "work", "--out", tmp_path / "cold.json"]
    done = CliRunner().invoke(app, [*map(str, asked), "--epochs", "1"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "cold.json").read_text())["movielens-100k"]
    assert found["cold_items"] == 7
    assert set(found["metrics"]) == {"content", "categories", "random"}
    for some in found["metrics"].values():
        assert all(0 <= one["low"] <= one["mean"] <= one["high"] <= 1 for one in some.values())


def test_of_a_log_with_windows_the_new_items_are_measured_beside_the_others(tmp_path: Path) -> None:
    """Users walk a circle: those that start late come to the last items only after the training window."""
    dataset = cyclic_dataset(users=200, items=90)
    windows = np.tile(np.array([0] * 10 + [1, 2], np.int8), len(dataset))
    are_new = np.isin(dataset.items, [7, 30, 61])
    windows[are_new] = 2
    for user in range(len(dataset)):  # as a log has it: no window before an earlier one
        events = slice(dataset.offsets[user], dataset.offsets[user + 1])
        windows[events] = np.maximum.accumulate(windows[events])
    write_dataset(replace(dataset, windows=windows), tmp_path / "data")
    columns = {"author": [row // 9 for row in range(90)], "seconds": [8.0 + row for row in range(90)]}
    table = pl.DataFrame({"item_id": list(dataset.catalogue.item_ids), "category": "a", **columns})
    table.write_parquet(tmp_path / "items.parquet")
    (tmp_path / "cold.json").write_text('{"another": {}}')
    app = typer.Typer()
    app.command()(cold.main)
    asked = {"data": "data", "work": "work", "out": "cold.json", "items": "items.parquet"}
    options = [word for name, file in asked.items() for word in (f"--{name}", str(tmp_path / file))]
    done = CliRunner().invoke(app, [*options, "--name", "circle", "--epochs", "1"])
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "cold.json").read_text())
    assert list(results) == ["another", "circle"]
    found = results["circle"]
    assert found["cold_items"] == 3
    with_nothing_before = are_new[dataset.offsets[:-1]]
    assert found["targets"] == are_new.sum() - with_nothing_before.sum()


def test_columns_of_a_file_as_content(tmp_path: Path) -> None:
    table = {
        "item_id": ["a", "b", "c", "d"],
        "category": ["1", "1", "1", "1"],
        "author": ["x", "y", "x", None],
        "duration": [3.9, 2.1, 5.0, None],
    }
    pl.DataFrame(table).write_parquet(tmp_path / "items.parquet")
    found = column_content(tmp_path / "items.parquet")
    assert found == {"a": [1, 1], "b": [0, 1], "c": [1, 0], "d": [0, 0]}
