"""The neural baselines as the benchmark sees them: fitted by the trainer, resumed, asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.batch import PrefixBatch, collate
from tests.training.logs import cyclic_dataset
from tests.training.random_logs import random_dataset
from tests.training.test_trainer import Watcher
from training.baselines.comirec import ComiRec, ComiRecConfig
from training.baselines.diffurec import DiffuRecConfig
from training.baselines.mind import MINDConfig
from training.baselines.network import Baseline
from training.baselines.sasrec import SASRecConfig
from training.batches import PrefixBatches
from training.benchmark.networks import NETWORKS, NetworkRecipe
from training.benchmark.recipe import Budget, Fitted
from training.config import TrainingConfig
from training.data.splits import leave_one_out
from training.errors import ConfigError, TrainingError
from training.evaluation.ranking import evaluate
from training.run import BEST_FILE, LAST_FILE
from training.trainer import train
from training.warm_start import Initial

SMALL = {
    "dim": 16,
    "max_length": 8,
    "dropout": 0.0,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "learning_rate_decay": "none",
    "warmup_steps": 5,
    "patience": 100,
}

EPOCHS = {"comirec-sa": 40, "comirec-dr": 40, "mind": 30, "dreamrec": 40}
"""That they need, where it is more than those that see the order of events do."""


def recipe(name: str, **fields: object) -> NetworkRecipe:
    made = NETWORKS[name]()
    assert isinstance(made, NetworkRecipe)
    config = made.config.model_dump() | SMALL | fields
    return type(made)(type(made.config).model_validate(config))


def fit(recipe: NetworkRecipe, out: Path, seed: int = 0, watcher: Watcher | None = None) -> Fitted:
    dataset = cyclic_dataset()
    budget = Budget(seed=seed, minutes=None, directory=out, observer=watcher or Watcher())
    return recipe.fit(dataset, leave_one_out(dataset), budget)


def untrained(name: str, items: int, **fields: object) -> Baseline:
    torch.manual_seed(0)
    network = recipe(name, **fields).config.learner(items)
    assert isinstance(network, Baseline)
    return network.eval()


def prefix_batch(items: int = 30) -> PrefixBatch:
    dataset = random_dataset(np.random.default_rng(1), np.array([5, 9, 3, 14, 2]), items)
    batches = PrefixBatches(leave_one_out(dataset).train, 64, SMALL["max_length"])  # type: ignore[arg-type]
    return next(batches.epoch(np.random.default_rng(0)))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.smoke) if name in EPOCHS else name for name in NETWORKS],
)
def test_every_network_learns_what_follows_what(name: str, tmp_path: Path) -> None:
    epochs = EPOCHS.get(name, 12)
    fitted = fit(recipe(name, epochs=epochs), tmp_path)
    measured = evaluate(fitted.variants[0].scorer, leave_one_out(cyclic_dataset()).test, exclude_seen=True)
    assert measured.metrics["hr@5"] > 0.9
    assert fitted.epochs is not None
    assert fitted.epochs <= epochs
    assert fitted.train_s > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_answers_and_another_seed_others(name: str, tmp_path: Path) -> None:
    small, split = recipe(name, epochs=2, dropout=0.2), leave_one_out(cyclic_dataset())
    first, again, other = (
        fit(small, tmp_path / out, seed).variants[0].scorer.score(split.test.histories)
        for out, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_history_is_scored_alike_in_any_company(name: str) -> None:
    dataset = random_dataset(np.random.default_rng(0), np.arange(3, 20), items=30)
    histories, scorer = leave_one_out(dataset).test.histories, untrained(name, 30).scorer()
    together = scorer.score(histories)
    alone = np.concatenate([scorer.score(histories.batch(row, 1)) for row in range(len(histories))])
    assert together.shape == (len(histories), scorer.items) == (17, 30)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["sasrec", "comirec-sa", "comirec-dr", "mind"])
def test_one_pass_learns_what_a_row_for_each_prefix_would(name: str) -> None:
    network, batch = untrained(name, 30, negatives=None), prefix_batch()
    flat, length = batch.history.items.flatten(), batch.history.items.shape[1]
    prefixes = []
    for position in batch.positions.tolist():
        prefix = flat[position - position % length : position + 1]
        prefixes.append(prefix[prefix > 0].tolist())
    history = collate(prefixes, length)
    newest = torch.arange(1, len(prefixes) + 1) * history.items.shape[1] - 1
    rows = batch._replace(history=history, positions=newest)
    assert network.loss(rows).total.item() == pytest.approx(network.loss(batch).total.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "comirec-sa", "comirec-dr", "mind", "diffurec"])
def test_as_many_negatives_as_items_are_the_full_softmax(name: str) -> None:
    batch, losses = prefix_batch(), []
    for negatives in (None, 30, 31, 29):
        network = untrained(name, 30, negatives=negatives)
        torch.nn.init.normal_(network.table.weight)
        losses.append(network.loss(batch, torch.Generator().manual_seed(0)).total.item())
    assert losses[0] == losses[1] == losses[2]
    assert losses[3] != losses[0]


def test_a_baseline_that_was_interrupted_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    small = recipe("sasrec", epochs=4, dropout=0.3, negatives=8)
    fit(small, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(small, tmp_path / "cut", watcher=Watcher(stop_in_epoch=3))
    resumed = Watcher()
    fit(small, tmp_path / "cut", watcher=resumed)
    assert [record.epoch for record in resumed.records] == [3, 4]
    for file in (LAST_FILE, BEST_FILE):
        whole, cut = (load_file(tmp_path / name / file) for name in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_run_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(recipe("sasrec", epochs=1), tmp_path)
    with pytest.raises(ConfigError, match=r"another dropout \(0\.0, not 0\.1\)"):
        fit(recipe("sasrec", epochs=1, dropout=0.1), tmp_path)
    with pytest.raises(TrainingError, match="unusable"):
        fit(recipe("comirec-sa", epochs=1), tmp_path)


def test_damaged_weights_are_told_in_one_line(tmp_path: Path) -> None:
    fit(recipe("sasrec", epochs=1), tmp_path)
    path = tmp_path / BEST_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="train anew"):
        fit(recipe("sasrec", epochs=1), tmp_path)


def test_a_baseline_does_not_start_from_a_bundle(tmp_path: Path) -> None:
    dataset, model = cyclic_dataset(), TrainingConfig().learner(40).network
    initial = Initial(model, dataset.catalogue, "v1")
    with pytest.raises(ConfigError, match="SASRec cannot start from a bundle"):
        train(dataset, SASRecConfig(), tmp_path, Watcher(), initial)


def test_the_budget_decides_seed_minutes_and_split_and_the_settings_do_not_name_them(tmp_path: Path) -> None:
    made = recipe("sasrec", epochs=1000, seed=5, minutes=99.0)
    assert not {"seed", "minutes", "split"} & made.settings.keys()
    assert made.settings["kind"] == "sasrec"
    dataset = cyclic_dataset()
    fitted = made.fit(dataset, leave_one_out(dataset), Budget(0, 1e-6, tmp_path, Watcher()))
    assert fitted.epochs == 1


def test_a_dimerec_is_fitted_as_any_other(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": {"dim": 16, "hidden": 32, "timesteps": 4}, "epochs": 2}
    settings["serving"] = {"steps": 2, "draws": 2}
    fitted = fit(NetworkRecipe(TrainingConfig.model_validate(settings)), tmp_path)
    assert fitted.variants[0].scorer.items == 40


def test_settings_tell_all_recipes_apart() -> None:
    settings = [str(make().settings) for make in NETWORKS.values()]
    assert len(set(settings)) == len(NETWORKS)


def test_interests_differ_from_each_other() -> None:
    history = collate([[1, 2, 3], [4, 5, 6, 7]], 8)
    for config in (ComiRecConfig(extractor="dynamic_routing"), ComiRecConfig(), MINDConfig()):
        network = config.learner(30).eval()
        interests = network.interests(history)
        assert interests.shape == (2, 4, 64)
        assert not torch.allclose(interests[:, 0], interests[:, 1], rtol=1e-3, atol=1e-9)


def test_a_diffusion_baseline_is_measured_with_more_steps_than_it_is_validated(tmp_path: Path) -> None:
    fitted = fit(recipe("diffurec", epochs=1, steps=16, validation_steps=2), tmp_path)
    assert [(variant.steps, variant.draws) for variant in fitted.variants] == [(16, 1)]


def test_the_noised_target_enters_diffurec_with_its_uncertainty_alone() -> None:
    network, batch = (
        DiffuRecConfig.model_validate(SMALL | {"uncertainty": 0.0}).learner(30).eval(),
        prefix_batch(),
    )
    losses = {network.loss(batch, torch.Generator().manual_seed(seed)).total.item() for seed in range(3)}
    assert len(losses) == 1


def test_the_best_of_several_interests_counts() -> None:
    network = ComiRec(ComiRecConfig(dim=8), 30).eval()
    histories = leave_one_out(cyclic_dataset(users=3, items=30)).test.histories
    history = collate([list(histories[row]) for row in range(3)], 50)
    with torch.inference_mode():
        products = network.interests(history) @ network.item_vectors().T
    np.testing.assert_allclose(
        network.scorer().score(histories), products.amax(1).numpy(), rtol=1e-4, atol=1e-7
    )
