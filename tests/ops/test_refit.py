"""Events set aside before anything is prepared, and a model and its refit that are measured on them."""

import json
from pathlib import Path

import numpy as np
import typer
from typer.testing import CliRunner

from benchmarks.quality import refit
from model.checkpoint import read_checkpoint
from tests.training.logs import cyclic_dataset
from training.data.dataset import read_dataset, write_dataset
from training.data.prepare import prepare
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.run import BEST_FILE, read_run_config


def test_what_is_prepared_is_the_log_without_each_users_last_event(tmp_path: Path) -> None:
    whole = cyclic_dataset(users=5)
    aside = refit.set_aside(whole, tmp_path)
    prepare(tmp_path / "events.parquet", None, tmp_path / "data")
    left = read_dataset(tmp_path / "data")
    names, known = whole.catalogue.item_ids, left.catalogue.item_ids
    for user, name in enumerate(whole.user_ids):
        events = [names[row - 1] for row in whole.history(user)]
        assert [known[row - 1] for row in left.history(user)] == events[:-1]
        assert aside[name] == events[-1]
    targets = refit.targets_of(left, aside)
    expected = [user for user, name in enumerate(left.user_ids) if aside[name] in known]
    assert expected == [1, 2, 3, 4]  # the last item of user 0 occurs nowhere else
    assert targets.users.tolist() == expected
    for index, user in enumerate(expected):
        assert known[targets.items[index] - 1] == aside[left.user_ids[user]]
        assert targets.histories[index].tolist() == left.history(user).tolist()


def test_both_models_are_measured_into_a_file(tmp_path: Path) -> None:
    write_dataset(cyclic_dataset(), tmp_path / "data")
    app = typer.Typer()
    app.command()(refit.main)
    asked = ["--data", tmp_path / "data", "--work", tmp_path / "work", "--out", tmp_path / "refit.json"]
    settings = ["--set", "epochs=2", "--set", "model.dim=16", "--set", "batch_size=64"]
    done = CliRunner().invoke(app, [*map(str, asked), *settings])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "refit.json").read_text())
    assert found["learned_events"] == {"run": 50 * 9, "refit": 50 * 11}
    assert found["users"] == 50

    aside = dict(zip(cyclic_dataset().user_ids, last_items(), strict=True))
    left, run = read_dataset(tmp_path / "work" / "data"), tmp_path / "work" / "run"
    config = read_run_config(run).training
    for name, path in (("run", run / BEST_FILE), ("refit", run / "refit" / "model.safetensors")):
        targets = refit.targets_of(left, aside)
        scores = DimeRecScorer(read_checkpoint(path), config.serving, config.seed).score(targets.histories)
        hits = 0
        for index in range(len(targets)):
            scores[index, targets.histories[index] - 1] = -np.inf
            hits += int((scores[index] > scores[index, targets.items[index] - 1]).sum() < 10)
        assert found["metrics"][name]["hr@10"]["mean"] == round(hits / 50, 5)


def last_items() -> list[str]:
    dataset = cyclic_dataset()
    return [dataset.catalogue.item_ids[row - 1] for row in dataset.items[dataset.offsets[1:] - 1]]
