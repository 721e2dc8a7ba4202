"""A refit learns from every event, and nothing that has seen a held-out event is ever measured."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from bundle.read import read_bundle
from model.checkpoint import read_checkpoint
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher, config
from training.data.dataset import Dataset
from training.errors import ConfigError, TrainingError
from training.publishing import publish_run
from training.refit import MODEL_FILE, REFIT_DIRECTORY, refit, refitted
from training.run import BEST_FILE, LAST_FILE, best_of, read_run_config
from training.trainer import train

SETTINGS = config(epochs=6, learning_rate=0.02, model=config().model.model_copy(update={"dropout": 0.2}))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return cyclic_dataset()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """A run with its refit."""
    run = tmp_path_factory.mktemp("run")
    train(dataset, SETTINGS, run, Watcher())
    refit(dataset, run, Watcher())
    return run


def copied(run: Path, to: Path) -> Path:
    """The run as it was before its refit."""
    to.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    return to


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(path)
    return found


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_refit_learns_from_all_events_for_the_epochs_that_were_kept(
    tmp_path: Path, dataset: Dataset, run: Path
) -> None:
    again, watcher = copied(run, tmp_path / "again"), Watcher()
    before = {name: (again / name).read_bytes() for name in (BEST_FILE, LAST_FILE, "metrics.jsonl")}
    kept = best_of(run).epoch
    assert refit(dataset, again, watcher) == kept
    assert watcher.examples == [50 * 11] * kept  # 12 events, the first has none before it
    assert all(record.validation == {} for record in watcher.records)
    assert {name: (again / name).read_bytes() for name in before} == before
    refit_model = again / REFIT_DIRECTORY / MODEL_FILE
    assert refitted(again) == refit_model
    assert equal(weights(refit_model), weights(run / REFIT_DIRECTORY / MODEL_FILE))  # seeded
    assert not equal(weights(refit_model), weights(run / BEST_FILE))
    assert read_run_config(again).refit_epochs is None
    assert read_run_config(again / REFIT_DIRECTORY).refit_epochs == kept


def test_a_refit_is_the_training_of_a_run_that_holds_nothing_out(tmp_path: Path) -> None:
    """A run of twelve events learns from ten; refitted on these ten it takes the same steps again."""
    run, again = tmp_path / "run", tmp_path / "again"
    train(cyclic_dataset(length=12), config(epochs=2), run, Watcher())
    assert best_of(run).epoch == 2  # the last one, whose model is kept
    refit(cyclic_dataset(length=10), copied(run, again), Watcher())
    assert equal(weights(again / REFIT_DIRECTORY / MODEL_FILE), weights(run / BEST_FILE))


def test_a_refit_that_was_interrupted_ends_where_an_undisturbed_one_does(
    tmp_path: Path, dataset: Dataset, run: Path
) -> None:
    cut = copied(run, tmp_path / "cut")
    kept = best_of(run).epoch
    assert kept > 1
    with pytest.raises(KeyboardInterrupt):
        refit(dataset, cut, Watcher(stop_in_epoch=kept))
    with pytest.raises(TrainingError, match=r"unfinished: let `dimerec train --refit` go on, or remove"):
        refitted(cut)
    resumed = Watcher()
    refit(dataset, cut, resumed)
    assert [record.epoch for record in resumed.records] == [kept]
    for name in (MODEL_FILE, LAST_FILE):
        assert equal(weights(cut / REFIT_DIRECTORY / name), weights(run / REFIT_DIRECTORY / name))


def test_the_minutes_of_a_run_bound_no_refit(tmp_path: Path, dataset: Dataset) -> None:
    train(dataset, config(epochs=1000, minutes=1e-6), tmp_path, Watcher())
    assert refit(dataset, tmp_path, Watcher()) == 1
    planned = read_run_config(tmp_path / REFIT_DIRECTORY).training
    assert (planned.epochs, planned.minutes) == (1, None)


def test_the_refit_of_another_run_is_not_published(tmp_path: Path, dataset: Dataset, run: Path) -> None:
    train(dataset, SETTINGS.model_copy(update={"seed": 9}), tmp_path / "other", Watcher())
    (tmp_path / "other" / REFIT_DIRECTORY).mkdir()
    for path in (run / REFIT_DIRECTORY).iterdir():
        (tmp_path / "other" / REFIT_DIRECTORY / path.name).write_bytes(path.read_bytes())
    with pytest.raises(TrainingError, match="is the refit of another run: remove it"):
        publish_run(tmp_path / "other", dataset, tmp_path / "bundles")
    with pytest.raises(ConfigError, match=r"another seed \(0, not 9\)"):
        refit(dataset, tmp_path / "other", Watcher())


def test_a_refit_is_published_with_what_was_measured_before_it(
    tmp_path: Path, dataset: Dataset, run: Path
) -> None:
    plain = read_bundle(tmp_path / "plain", publish_run(run, dataset, tmp_path / "plain", refit=False))
    whole = read_bundle(tmp_path / "whole", publish_run(run, dataset, tmp_path / "whole"))
    assert (plain.manifest.refit, whole.manifest.refit) == (False, True)
    for name in ("metrics", "standing", "repeat_weight", "serving", "data_fingerprint", "split"):
        assert getattr(whole.manifest, name) == getattr(plain.manifest, name), name
    assert whole.manifest.metrics["validation/ndcg@10"] == best_of(run).validation["ndcg@10"]
    for bundle, model in ((plain, run / BEST_FILE), (whole, run / REFIT_DIRECTORY / MODEL_FILE)):
        vectors = read_checkpoint(model).item_vectors().detach().numpy()
        np.testing.assert_allclose(bundle.table.all, vectors, atol=1e-6)


def test_the_content_map_leads_to_the_refit_and_was_measured_before_it(tmp_path: Path) -> None:
    dataset, run = cyclic_dataset(users=80, items=60), tmp_path / "run"
    train(dataset, config(epochs=2), run, Watcher())
    refit(dataset, run, Watcher())
    angles = 2 * np.pi * np.arange(60) / 60
    numbers = np.stack([np.cos(angles), np.sin(angles), np.cos(2 * angles)], axis=1).tolist()
    content = tmp_path / "content.parquet"
    pq.write_table(pa.table({"item_id": list(dataset.catalogue.item_ids), "content": numbers}), content)
    facts = []
    for root, of_refit in ((tmp_path / "plain", False), (tmp_path / "whole", True)):
        publish_run(run, dataset, root, content=content, refit=of_refit)
        found = read_bundle(root).manifest.content
        assert found is not None
        facts.append(found.model_dump(exclude={"ridge"}))
    assert facts[0] == facts[1]
