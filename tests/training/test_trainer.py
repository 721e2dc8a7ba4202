"""Training runs as a user sees them: learning, stopping, resuming, warm starts."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from index.catalogue import Catalogue
from model.checkpoint import read_checkpoint
from model.config import Architecture
from tests.training.logs import cyclic_dataset
from training.config import TrainingConfig
from training.cooccurrence import item_directions
from training.data.dataset import Dataset, write_dataset
from training.data.splits import leave_one_out
from training.errors import ConfigError, TrainingError
from training.log_recipe import typical_dropout
from training.run import BEST_FILE, LAST_FILE, METRICS_FILE, EpochRecord, RunConfig, open_run, read_records
from training.trainer import Outcome, Trainer, train
from training.warm_start import Initial


class Watcher:
    """Remembers what a run reports; can stop it after an epoch or in the middle of one."""

    def __init__(self, stop_in_epoch: int | None = None) -> None:
        self.examples: list[int] = []
        self.records: list[EpochRecord] = []
        self.stop_in_epoch = stop_in_epoch

    def epoch_started(self, epoch: int, examples: int) -> None:
        self.examples.append(0)

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        if len(self.examples) == self.stop_in_epoch:
            raise KeyboardInterrupt
        self.examples[-1] += examples

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        self.records.append(record)


def config(**fields: object) -> TrainingConfig:
    values: dict[str, object] = {
        "model": {
            "dim": 16,
            "hidden": 64,
            "guidance_vectors": 2,
            "max_length": 8,
            "timesteps": 4,
            "dropout": 0.0,
        },
        "serving": {"steps": 2, "draws": 4, "temperature": 0.1},
        "batch_size": 64,
        "epochs": 3,
        "recipe": "large",
        "warmup_steps": 5,
        "learning_rate": 5e-3,
    }
    return TrainingConfig.model_validate(values | fields)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned all there is in the log of fifty users."""
    run = tmp_path_factory.mktemp("learned")
    train(cyclic_dataset(), config(epochs=60, patience=60), run, Watcher())
    return run


def test_records_name_a_card_only_where_one_trained(learned: Path) -> None:
    # Else older programs, which do not know the key, could not read the run.
    assert "card" not in (learned / METRICS_FILE).read_text()
    with safe_open(learned / LAST_FILE, "pt") as file:
        assert "card" not in file.metadata()["records"]


def test_a_model_overfits_a_log_of_fifty_users(learned: Path) -> None:
    records = read_records(learned)
    best = max(records, key=lambda record: record.validation["ndcg@10"])
    assert best.validation["hr@5"] > 0.9
    assert best.validation["ndcg@10"] > 0.6
    first, last = records[0], records[-1]
    assert last.losses["total"] < first.losses["total"] / 2


def test_every_example_is_seen_and_every_epoch_reported(tmp_path: Path) -> None:
    watcher = Watcher()
    outcome = train(cyclic_dataset(), config(), tmp_path, watcher)
    assert watcher.examples == [50 * 9] * 3  # 12 events, 2 held out, the first has none before it
    assert outcome.epochs == 3
    assert outcome.reason == "all 3 epochs done"
    assert [record.epoch for record in watcher.records] == [1, 2, 3]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert set(lines[0]["losses"]) == {"guidance", "later", "reconstruction", "softmax", "total"}


def test_a_run_says_which_dropout_its_log_was_given_and_resumes_with_it(tmp_path: Path) -> None:
    given = config().model.model_dump(exclude_unset=True, exclude={"dropout"})
    settings = config(epochs=1, model=Architecture(**given))
    for _ in range(2):
        train(cyclic_dataset(), settings, tmp_path, Watcher())
    told = json.loads((tmp_path / "config.json").read_text())["training"]["model"]["dropout"]
    assert told == typical_dropout(50 * 10 / 40)  # 10 training events of each user, 40 items
    assert read_checkpoint(tmp_path / BEST_FILE).config.dropout == told


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    weights = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(cyclic_dataset(), config(seed=seed, epochs=2), tmp_path / name, Watcher())
        weights[name] = load_file(tmp_path / name / LAST_FILE)
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
    table = "model.items.table.weight"
    assert not torch.equal(weights["a"][table], weights["c"][table])


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_was_interrupted_ends_where_an_undisturbed_one_does(tmp_path: Path, epoch: int) -> None:
    settings = config(epochs=4, model=config().model.model_copy(update={"dropout": 0.3}))
    train(cyclic_dataset(), settings, tmp_path / "whole", Watcher())
    with pytest.raises(KeyboardInterrupt):
        train(cyclic_dataset(), settings, tmp_path / "cut", Watcher(stop_in_epoch=epoch))
    resumed = Watcher()
    train(cyclic_dataset(), settings, tmp_path / "cut", resumed)
    assert [record.epoch for record in resumed.records] == list(range(epoch, 5))
    for file in (LAST_FILE, BEST_FILE):
        whole, cut = (load_file(tmp_path / name / file) for name in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


@pytest.mark.parametrize("item_start", ["cooccurrence", "random"])
def test_the_items_of_a_fresh_run_start_from_their_cooccurrence(tmp_path: Path, item_start: str) -> None:
    dataset = cyclic_dataset()
    standing = config(epochs=1, learning_rate=1e-9, item_start=item_start)
    train(dataset, standing, tmp_path, Watcher())
    vectors = read_checkpoint(tmp_path / BEST_FILE).item_vectors().detach().numpy()
    directions = item_directions(leave_one_out(dataset).train, items=40, dim=16)
    cosines = (vectors * directions).sum(axis=1)
    if item_start == "cooccurrence":
        assert cosines.min() > 0.6
        assert cosines.mean() > 0.8
        assert len(np.unique(vectors.round(3), axis=0)) == 40  # not all the way: each is random in part
    else:
        assert abs(cosines.mean()) < 0.2


def test_training_survives_kill_9_and_loses_no_more_than_an_epoch(tmp_path: Path) -> None:
    write_dataset(cyclic_dataset(users=400, length=30), tmp_path / "data")
    command = [sys.executable, "-m", "cli.main", "train", "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "run"), "--set", "epochs=6", "--set", "patience=6"]
    command += ["--set", "model.dim=16", "--set", "model.hidden=64", "--set", "serving.draws=2"]
    metrics = tmp_path / "run" / "metrics.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = len(read_records(tmp_path / "run"))
    read_checkpoint(tmp_path / "run" / BEST_FILE)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    records = read_records(tmp_path / "run")
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5, 6]
    assert 2 <= before < 6
    assert f"epoch {before + 1:>3}" in done.stdout
    assert f"epoch {before:>3} " not in done.stdout


def test_training_stops_when_validation_no_longer_rises(tmp_path: Path) -> None:
    outcome = train(cyclic_dataset(), config(epochs=200, patience=2, learning_rate=1e-9), tmp_path, Watcher())
    assert outcome.reason == "no better ndcg@10 in 2 epochs"
    assert outcome.epochs < 200


def test_training_stops_when_its_minutes_are_used_up(tmp_path: Path) -> None:
    outcome = train(cyclic_dataset(), config(epochs=1000, minutes=1e-6), tmp_path, Watcher())
    assert outcome.epochs == 1
    assert "minutes" in outcome.reason


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    outcome = train(cyclic_dataset(), config(epochs=6, learning_rate=0.05), tmp_path, Watcher())
    monitored = [record.validation["ndcg@10"] for record in read_records(tmp_path)]
    assert outcome.best.validation["ndcg@10"] == max(monitored)
    assert outcome.best.epoch == monitored.index(max(monitored)) + 1


def test_a_directory_with_another_run_is_refused(tmp_path: Path) -> None:
    train(cyclic_dataset(), config(epochs=1), tmp_path, Watcher())
    with pytest.raises(ConfigError, match=r"another seed \(0, not 9\)"):
        train(cyclic_dataset(), config(epochs=1, seed=9), tmp_path, Watcher())
    with pytest.raises(ConfigError, match="another data set"):
        train(cyclic_dataset(seed=9), config(epochs=1), tmp_path, Watcher())


def test_a_second_training_in_a_directory_waits_outside(tmp_path: Path) -> None:
    """Each would overwrite the other's files, and publish the better of two models as its own."""

    class Intruder(Watcher):
        def epoch_started(self, epoch: int, examples: int) -> None:
            super().epoch_started(epoch, examples)
            with pytest.raises(TrainingError, match="another process trains there; wait for it, or name"):
                train(cyclic_dataset(), config(epochs=2), tmp_path, Watcher())

    intruder = Intruder()
    train(cyclic_dataset(), config(epochs=2), tmp_path, intruder)
    assert len(intruder.records) == 2
    assert train(cyclic_dataset(), config(epochs=2), tmp_path, Watcher()).epochs == 2


def test_a_loss_that_is_no_number_stops_the_run_with_a_clear_message(tmp_path: Path) -> None:
    dataset = cyclic_dataset()
    settings = config()
    open_run(tmp_path, RunConfig(training=settings, data_fingerprint=dataset.fingerprint))
    trainer = Trainer(settings, leave_one_out(dataset), dataset.catalogue, tmp_path)

    class Poison(Watcher):
        def epoch_started(self, epoch: int, examples: int) -> None:
            super().epoch_started(epoch, examples)
            if epoch == 2:
                torch.nn.init.constant_(trainer.model.get_parameter("items.table.weight"), float("nan"))

    with pytest.raises(TrainingError, match="no longer a number in epoch 2"):
        trainer.run(Poison())
    assert read_checkpoint(tmp_path / BEST_FILE).item_vectors().isfinite().all()


def test_the_learning_rate_warms_up_and_falls_to_nothing_over_the_epochs(tmp_path: Path) -> None:
    rates: list[float] = []

    class Reader(Watcher):
        def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
            super().batch_done(examples, losses)
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    dataset, settings = cyclic_dataset(), config(epochs=5, learning_rate=0.01, warmup_steps=4)
    open_run(tmp_path, RunConfig(training=settings, data_fingerprint=dataset.fingerprint))
    trainer = Trainer(settings, leave_one_out(dataset), dataset.catalogue, tmp_path)
    trainer.run(Reader())
    steps = 5 * 450 / 64  # epochs · examples / batch size
    expected = [
        0.01 * min(1, step / 4) * (1 + np.cos(np.pi * min(1, step / steps))) / 2
        for step in range(1, len(rates) + 1)
    ]
    assert rates == pytest.approx(expected, rel=1e-9)
    assert rates[-1] < 1e-4 < max(rates)


def test_the_learning_rate_falls_over_the_epochs_that_the_minutes_allow(tmp_path: Path) -> None:
    rates: list[float] = []

    class Slow(Watcher):
        def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
            super().batch_done(examples, losses)
            time.sleep(0.05)
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    dataset = cyclic_dataset()
    settings = config(epochs=1000, minutes=2.5 / 60, learning_rate=0.01, warmup_steps=0, patience=1000)
    open_run(tmp_path, RunConfig(training=settings, data_fingerprint=dataset.fingerprint))
    trainer = Trainer(settings, leave_one_out(dataset), dataset.catalogue, tmp_path)
    outcome = trainer.run(Slow())
    assert 1 < outcome.epochs < 10
    assert rates[0] == pytest.approx(0.01, rel=1e-3)
    assert rates[-1] < 0.003


def test_a_kill_between_the_two_files_of_an_epoch_loses_no_record(tmp_path: Path) -> None:
    train(cyclic_dataset(), config(epochs=2), tmp_path, Watcher())
    (tmp_path / METRICS_FILE).unlink()
    assert [record.epoch for record in read_records(tmp_path)] == [1, 2]
    outcome = train(cyclic_dataset(), config(epochs=2), tmp_path, Watcher())
    assert outcome.reason == "all 2 epochs done"
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 2


def test_a_log_without_anything_to_learn_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least four events"):
        train(cyclic_dataset(length=3), config(epochs=1), tmp_path, Watcher())


def test_a_run_is_resumed_only_from_the_start_that_it_had(tmp_path: Path) -> None:
    dataset = cyclic_dataset()
    train(dataset, config(epochs=1), tmp_path / "old", Watcher())
    initial = Initial(read_checkpoint(tmp_path / "old" / BEST_FILE), dataset.catalogue, "v1")
    train(dataset, config(epochs=1), tmp_path / "warm", Watcher(), initial)
    with pytest.raises(ConfigError, match=r"another --init \(v1, not None\)"):
        train(dataset, config(epochs=1), tmp_path / "warm", Watcher())


def test_a_damaged_progress_file_is_told_in_one_line(tmp_path: Path) -> None:
    train(cyclic_dataset(), config(epochs=1), tmp_path, Watcher())
    path = tmp_path / LAST_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(cyclic_dataset(), config(epochs=1), tmp_path, Watcher())


def test_a_warm_start_keeps_what_was_known_of_a_changed_catalogue(tmp_path: Path, learned: Path) -> None:
    initial = Initial(read_checkpoint(learned / BEST_FILE), cyclic_dataset().catalogue, "v1")
    shifted = renamed(cyclic_dataset(items=42))
    unaided = config(epochs=1, seed=5, item_start="random")
    fresh = first_epoch(train(shifted, unaided, tmp_path / "fresh", Watcher()))
    warm = first_epoch(train(shifted, unaided, tmp_path / "warm", Watcher(), initial))
    assert warm["ndcg@10"] > fresh["ndcg@10"] + 0.2


def test_a_warm_start_from_another_architecture_names_the_key(tmp_path: Path) -> None:
    dataset = cyclic_dataset()
    train(dataset, config(epochs=1), tmp_path / "old", Watcher())
    initial = Initial(read_checkpoint(tmp_path / "old" / BEST_FILE), dataset.catalogue, "v1")
    wider = config(epochs=1, model=config().model.model_copy(update={"dim": 32}))
    with pytest.raises(ConfigError, match=r"model\.dim is 32.*has 16"):
        train(dataset, wider, tmp_path / "new", Watcher(), initial)


def test_a_warm_start_has_the_depth_of_the_older_model_where_nobody_chose_one(tmp_path: Path) -> None:
    contextual = config(epochs=1, model=config().model.model_copy(update={"guidance": "contextual"}))
    sparse, dense = cyclic_dataset(), cyclic_dataset(users=150)  # 12 and 37 training events per item
    train(sparse, contextual, tmp_path / "old", Watcher())
    initial = Initial(read_checkpoint(tmp_path / "old" / BEST_FILE), sparse.catalogue, "v1")
    train(dense, contextual, tmp_path / "warm", Watcher(), initial)
    depths = [read_checkpoint(tmp_path / run / BEST_FILE).config.blocks for run in ("old", "warm")]
    assert depths == [2, 2]


def first_epoch(outcome: Outcome) -> dict[str, float]:
    return outcome.best.validation


def renamed(dataset: Dataset) -> Dataset:
    """The same log with its rows in another order: row r becomes n + 1 − r, ids stay with their items."""
    old = dataset.catalogue
    catalogue = Catalogue(
        item_ids=old.item_ids[::-1],
        titles=list(old.titles)[::-1],
        categories=[list(categories) for categories in old.categories][::-1],
        popularity=np.asarray(old.popularity)[::-1].copy(),
    )
    return replace(dataset, items=(len(old) + 1 - dataset.items).astype(np.int32), catalogue=catalogue)
