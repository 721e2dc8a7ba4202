"""`make retrieval-stage`: one command from a log to the table."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import quality, retrieval_stage
from tests.training.logs import cyclic_dataset
from training.data.splits import leave_one_out
from training.evaluation.horizon import horizon

TRAINING = ("epochs=1", "model.dim=8", "model.blocks=1", "model.timesteps=4", "serving.draws=2")


def test_a_data_set_is_measured_into_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = cyclic_dataset()
    users = [user for user in dataset.user_ids for _ in range(12)]
    events = zip(users, dataset.items, dataset.timestamps, strict=True)
    lines = [f"{user},{item},{time}" for user, item, time in events]
    (tmp_path / "walks.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]))
    items = [f"{item},{item % 3}" for item in range(1, 41)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,category", *items]))
    monkeypatch.setitem(quality.SOURCES, "walks", quality.Source("walks", "walks.csv", "items.csv"))
    app, out = typer.Typer(), tmp_path / "out"
    app.command()(retrieval_stage.main)
    asked = ["--shared", str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(out)]
    chosen = [word for change in TRAINING for word in ("--set", change)]
    done = CliRunner().invoke(
        app,
        [*asked, *chosen, "--data", "walks", "--others", "popularity", "--horizons", "rest", "--users", "20"],
    )
    assert done.exit_code == 0, done.output
    found = retrieval_stage.Results.model_validate_json((out / "retrieval-stage.json").read_text())
    (stage,) = found.stages
    assert (stage.users, stage.seeds, found.epoch, found.epochs, found.dim) == (20, 5, 1, 1, 8)
    assert len(horizon(leave_one_out(dataset).test, None)) > 20
    text = (out / "retrieval-stage.md").read_text()
    assert "## All that was held out, 20 users, 5 seeds of noise" in text
    recall = stage.sides["guidance"].metrics["recall@50"]
    (row,) = [line for line in text.splitlines() if line.startswith("| recall@50 |")]
    assert f"{recall:.4f}" in row.split("|")[6]
    assert "--set epochs=1" in text
    assert "| control (b), samples | " in text

    run = next((tmp_path / "work" / "runs").glob("*"))
    again = [*asked, "--data", "walks", "--others", "popularity", "--horizons", "1", "--noise-seeds", "1"]
    done = CliRunner().invoke(app, [*again, "--run", str(run)])
    assert done.exit_code == 0, done.output
    assert f"--run {run}" in (out / "retrieval-stage.md").read_text()
    (run / "config.json").write_text((run / "config.json").read_text().replace('"leave-one-out"', '"time"'))
    unfit = CliRunner().invoke(app, [*again, "--run", str(run)])
    assert unfit.exit_code == 1
    assert "the model was trained on the split time" in unfit.stderr

    nowhere = CliRunner().invoke(app, [*asked, "--data", "nothing"])
    assert nowhere.exit_code == 1
    assert "'nothing' is none of movielens-100k," in nowhere.stderr
    odd = CliRunner().invoke(app, [*asked, "--data", "walks", "--horizons", "soon"])
    assert odd.exit_code == 1
    assert "--horizons: 'soon'" in odd.stderr
