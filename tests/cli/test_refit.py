"""`dimerec train --refit`, and what the other commands make of such a run and its bundle."""

import json
from pathlib import Path

import pytest

from bundle.read import read_bundle
from tests.cli.conftest import Run
from tests.training.logs import cyclic_dataset
from training.data.dataset import write_dataset
from training.run import EpochRecord, best_of

TRAINED = (
    "--set",
    "epochs=3",
    "--set",
    "model.dim=16",
    "--set",
    "batch_size=64",
    "--set",
    "learning_rate=5e-3",
)
MEASURED = "Measured is the run before its refit: the refit has learned from the events that are held out."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(cyclic_dataset(), tmp_path / "data")
    return tmp_path / "data"


def test_a_run_and_its_refit_from_training_to_the_bundle(dimerec: Run, data: Path, tmp_path: Path) -> None:
    run, bundles, plain = (tmp_path / name for name in ("run", "bundles", "plain"))
    train = ("train", "--data", data, "--out", run, *TRAINED)
    assert json.loads(dimerec(*train, "--json").out)["refit"] is None
    measured = dimerec("evaluate", "--run", run, "--data", data, "--json")
    assert MEASURED not in measured.err

    done = dimerec(*train, "--refit")
    assert done.code == 0, done.err
    epochs = best_of(run).epoch
    assert f"Refit on all 600 events, up to epoch {epochs}\n" in done.out
    assert done.out.endswith(f"Refitted on all events, up to epoch {epochs} → {run / 'refit'}\n")
    assert len((run / "refit" / "metrics.jsonl").read_text().splitlines()) == epochs
    assert json.loads(dimerec(*train, "--refit", "--json").out)["refit"] == {"epochs": epochs}

    again = dimerec("evaluate", "--run", run, "--data", data, "--json")
    assert again.out == measured.out
    assert MEASURED in again.err.splitlines()
    assert MEASURED in dimerec("evaluate", "--run", run, "--data", data).out.splitlines()

    published = dimerec("publish", "--run", run, "--data", data, "--bundles", bundles)
    version = read_bundle(bundles).version
    assert f"Published {version} (refitted on all events) under {bundles}; it is CURRENT." in published.out
    (listed,) = json.loads(dimerec("bundles", "list", "--bundles", bundles, "--json").out)
    assert listed["refit"] is True
    assert "whole, refit" in dimerec("bundles", "list", "--bundles", bundles).out

    refused = dimerec("evaluate", "--bundles", bundles, "--data", data)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert f"{version} was refitted on all events and knows those that are held out" in refused.err
    refused = dimerec("train", "--data", data, "--out", tmp_path / "next", *TRAINED, "--init", bundles)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert f"{version} was refitted on all events" in refused.err
    assert "publish --no-refit" in refused.err

    said = dimerec("publish", "--run", run, "--data", data, "--bundles", plain, "--no-refit", "--json").out
    assert json.loads(said)["refit"] is False
    counted = dimerec("publish", "--run", run, "--data", data, "--bundles", plain, "--no-refit", "--counts")
    assert "What followed what in the log" in counted.out
    warm = dimerec("train", "--data", data, "--out", tmp_path / "next", *TRAINED, "--init", plain, "--refit")
    assert warm.code == 0, warm.err
    assert (tmp_path / "next" / "refit" / "model.safetensors").exists()


def test_an_interrupted_refit_says_what_is_kept_and_is_not_published(
    dimerec: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train = ("train", "--data", data, "--out", run, *TRAINED)
    assert dimerec(*train).code == 0

    def stopped(self: object, record: EpochRecord, improved: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.train.TrainingProgress.epoch_done", stopped)
    told = dimerec(*train, "--refit")
    monkeypatch.undo()
    assert told.code == 130
    assert told.err == (
        f"dimerec: interrupted; kept up to epoch 3 in {run}, of its refit up to epoch 1;"
        " give the same command again to go on from there\n"
    )
    refused = dimerec("publish", "--run", run, "--data", data, "--bundles", tmp_path / "bundles")
    assert refused.code == 1
    assert f"the refit of {run} is unfinished: let `dimerec train --refit` go on" in refused.err
    assert not (tmp_path / "bundles").exists()
    assert dimerec(*train, "--refit").code == 0
    assert dimerec("publish", "--run", run, "--data", data, "--bundles", tmp_path / "bundles").code == 0
