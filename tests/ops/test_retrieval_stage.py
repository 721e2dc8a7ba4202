"""`make retrieval-stage`: one command from a log to the table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import quality, retrieval_stage
from benchmarks.quality.stage_tables import markdown, read_results
from benchmarks.quality.stage_targets import steps_row, target_rows
from tests.training.logs import cyclic_dataset
from training.baselines.comirec import ComiRecConfig
from training.benchmark.networks import NetworkRecipe
from training.benchmark.registry import REGISTRY, Entry, find, plan
from training.benchmark.store import Store
from training.data.splits import leave_one_out
from training.evaluation.bootstrap import Compared
from training.evaluation.horizon import horizon, measure
from training.evaluation.stage.report import SideReport, StageReport

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SESSIONS = "movielens-1m-last-events"
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
    (found,) = read_results(out / "retrieval-stage.json").values()
    (stage,) = found.stages
    assert (stage.users, stage.seeds, found.epoch, found.epochs, found.dim) == (20, 5, 1, 1, 8)
    assert len(horizon(leave_one_out(dataset).test, None)) > 20
    text = (out / "retrieval-stage.md").read_text()
    assert "### walks, leave-one-out split: all that was held out, 20 users, 5 seeds of noise" in text
    recall = stage.sides["guidance"].metrics["recall@50"]
    row, of_steps = (line for line in text.splitlines() if line.startswith("| recall@50 |"))
    assert f"{recall:.4f}" in row.split("|")[6]
    assert list(found.by_steps.sides) == ["DimeRec", "1 step", "2 steps"]
    assert f"{found.by_steps.sides['2 steps'].metrics['recall@50']:.4f}" in of_steps.split("|")[4]
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

    through = CliRunner().invoke(app, [*again, "--both", "--users", "10"])
    assert through.exit_code == 0, through.output
    assert read_results(out / "retrieval-stage.json").keys() == {"walks", "walks-both"}
    assert "### walks, leave-one-out split, both parts: the next 1 events, 10 users" in through.output

    nowhere = CliRunner().invoke(app, [*asked, "--data", "nothing"])
    assert nowhere.exit_code == 1
    assert "'nothing' is none of movielens-100k," in nowhere.stderr
    odd = CliRunner().invoke(app, [*asked, "--data", "walks", "--horizons", "soon"])
    assert odd.exit_code == 1
    assert "--horizons: 'soon'" in odd.stderr
    far = CliRunner().invoke(app, [*asked, "--data", "walks", "--horizons", "500"])
    assert (far.exit_code, far.exception.__class__) == (1, SystemExit)
    assert "nobody has 500 new events" in far.stderr


def test_sessions_at_the_end_of_each_history_beside_several_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log without categories, and a baseline whose figures are means over its fits."""
    dataset = cyclic_dataset(users=60, items=150, length=20)
    users = [user for user in dataset.user_ids for _ in range(20)]
    pl.DataFrame({"user_id": users, "item_id": dataset.items, "timestamp": dataset.timestamps}).write_parquet(
        tmp_path / "movielens-1m-file-order.parquet"
    )
    small = NetworkRecipe(ComiRecConfig(extractor="self_attentive", epochs=1, dim=8))
    monkeypatch.setitem(REGISTRY, "comirec-sa", Entry("small", lambda _: small))
    app, work, out = typer.Typer(), tmp_path / "work", tmp_path / "out"
    app.command()(retrieval_stage.main)
    asked = ["--shared", str(tmp_path), "--work", str(work), "--out", str(out), "--data", SESSIONS]
    asked += [word for change in TRAINING for word in ("--set", change)]
    done = CliRunner().invoke(
        app, [*asked, "--others", "comirec-sa", "--seeds", "2", "--horizons", "10", "--noise-seeds", "1"]
    )
    assert done.exit_code == 0, done.output
    found = read_results(out / "retrieval-stage.json")[SESSIONS]
    assert (found.data, found.split) == ("movielens-1m", "last-events")
    assert "--seeds 2" in found.command
    (stage,) = found.stages
    assert (stage.events, stage.users) == (10, 60)
    side = stage.sides["comirec-sa"]
    assert side.settings["fits"] == 2
    log, store = quality.prepared(SESSIONS, tmp_path, work), Store(work)
    ahead = horizon(log.split.test, 10)
    recalls = []
    for job in plan(log, find(["comirec-sa"]), seeds=2):
        scorer = retrieval_stage.fitted(job, store).variants[0].scorer
        recalls.append(measure(scorer, ahead, log.dataset.catalogue, log.split.train)["recall@50"].mean())
    assert recalls[0] != recalls[1]
    assert side.metrics["recall@50"] == pytest.approx(np.mean(recalls))
    text = (out / "retrieval-stage.md").read_text()
    assert "| E4, ECE | ≤ 0.03 | – | – |" in text
    assert "(comirec-sa) |" in next(
        line for line in text.splitlines() if line.startswith("| E1, recall@200 over ComiRec")
    )


def stage_of(
    metrics: dict[str, dict[str, float]], differences: Mapping[tuple[str, str], tuple[float, float, float]]
) -> StageReport:
    return StageReport(
        events=10,
        users=3,
        seeds=1,
        sides={name: SideReport(settings={}, metrics=of) for name, of in metrics.items()},
        comparisons=[
            Compared(first="DimeRec", second=second, metric=metric, mean=mean, low=low, high=high)
            for (second, metric), (mean, low, high) in differences.items()
        ],
    )


def test_a_target_is_held_against_the_side_that_is_nearest() -> None:
    metrics = {
        "DimeRec": {"recall@200": 0.52, "ece": 0.02, "categories_at_equal_recall@20": 0.6},
        "guidance": {"recall@200": 0.51, "categories_at_equal_recall@20": 0.5},
        "control (a), chance": {"recall@200": 0.515, "categories_at_equal_recall@20": 0.59},
        "control (b), samples": {"recall@200": 0.4, "categories_at_equal_recall@20": 0.3},
        "sasrec": {"recall@200": 0.4},
        "comirec-sa": {"recall@200": 0.5},
    }
    differences = {
        ("guidance", "recall@200"): (0.01, 0.005, 0.015),
        ("control (a), chance", "recall@200"): (0.005, -0.001, 0.011),
        ("guidance", "nll"): (-0.02, -0.03, -0.01),
        ("guidance", "brier"): (0.01, 0.005, 0.02),
    }
    found = {name: (cells, met) for name, _, cells, met in target_rows([stage_of(metrics, differences)])}
    assert found["E1, recall@200 over SASRec"] == (["+30.0% (sasrec)"], "yes")
    assert found["E1, recall@200 over ComiRec"] == (["+4.0% (comirec-sa)"], "yes")
    assert found["E1, recall@200 less own guidance and both controls"] == (
        ["+0.0050 [-0.0010, +0.0110] (control (a), chance)"],
        "**no**",
    )
    equal = "E3, categories at equal recall@20 over own guidance and both controls"
    assert found[equal] == (["+1.7% (control (a), chance)"], "**no**")
    assert found["E3, categories at equal recall@50 over own guidance and both controls"] == (["–"], "–")
    assert found["E4, ECE"] == (["0.0200"], "yes")
    assert found["E4, Brier score less own guidance's"][1] == "**no**"
    assert found["E5, nll less own guidance's"] == (["-0.0200 [-0.0300, -0.0100] (guidance)"], "yes")


@pytest.mark.parametrize(
    ("steps", "recall", "shown", "met"),
    [
        (4, 0.5, "4 steps, 100.0%", "yes"),
        (4, 0.48, "4 steps, 98.0% of that of 16 steps", "**no**"),
        (8, 0.5, "8 steps, 100.0%", "**no**"),
    ],
)
def test_few_steps_have_to_do_as_well_as_many(steps: int, recall: float, shown: str, met: str) -> None:
    metrics = {"DimeRec": {"recall@200": recall}, "16 steps": {"recall@200": 0.4898}}
    assert steps_row(stage_of(metrics, {}), steps)[2:] == (shown, met)


def test_the_tables_are_those_of_the_results() -> None:
    written = (RESULTS / "retrieval-stage.md").read_text(encoding="utf-8")
    assert written == markdown(read_results(RESULTS / "retrieval-stage.json"))
