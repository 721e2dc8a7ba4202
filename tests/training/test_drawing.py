"""Draws in the answers only where they add to the guidance, by hand and as `dimerec publish` decides it."""

from pathlib import Path

import numpy as np
import pytest

from bundle.manifest import ServingDefaults
from bundle.read import read_bundle
from model.dimerec import DimeRec
from tests.factories import make_model, make_serving
from tests.training.logs import cyclic_dataset, forking_dataset
from tests.training.test_trainer import Watcher, config
from training.data.dataset import Dataset
from training.data.splits import Targets, leave_one_out
from training.drawing import fit_draws, said
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.publishing import publish_run
from training.trainer import train


def ndcg_by_hand(model: DimeRec, serving: ServingDefaults, targets: Targets) -> float:
    """NDCG@10 of one relevant item a list: 1 / log₂(1 + its rank), seen items removed."""
    found = []
    for row, target in enumerate(targets.items.tolist()):
        history = targets.histories.batch(row, 1)
        scores = DimeRecScorer(model, serving).score(history)[0]
        scores[history.items[history.starts[0] : history.ends[0]] - 1] = -np.inf
        rank = 1 + np.count_nonzero(scores > scores[target - 1])
        seen = scores[target - 1] == -np.inf
        found.append(0.0 if seen or rank > 10 else 1 / np.log2(1 + rank))
    return float(np.mean(found))


def test_what_both_ways_bring_is_what_they_bring_by_hand() -> None:
    model, serving = make_model(60), make_serving(interest_mode="both")
    validation = leave_one_out(forking_dataset(users=80)).validation
    fitted = fit_draws(model, serving, validation)
    assert fitted.facts is not None
    assert fitted.facts.targets == len(validation)
    alone = serving.model_copy(update={"interest_mode": "guidance"})
    assert fitted.facts.after["ndcg@10"] == pytest.approx(ndcg_by_hand(model, serving, validation))
    assert fitted.facts.before["ndcg@10"] == pytest.approx(ndcg_by_hand(model, alone, validation))
    lead = fitted.facts.after["ndcg@10"] - fitted.facts.before["ndcg@10"]
    assert fitted.facts.lead[0] <= lead <= fitted.facts.lead[1]


POOLED = {"guidance": "recency_attentive", "denoiser": "mlp", "dim": 16, "max_length": 8, "timesteps": 4}


@pytest.mark.parametrize(
    ("dataset", "fields", "mode"),
    [
        # Pooled vectors do not see the order that the steps follow, what denoises from them finds more.
        (forking_dataset(), {"model": POOLED, "recipe": "small", "epochs": 40, "patience": 40}, "both"),
        # An encoder knows all there is.
        (cyclic_dataset(users=150), {"epochs": 25, "patience": 25}, "guidance"),
    ],
    ids=["pooled", "encoder"],
)
def test_draws_have_a_part_only_where_they_lead(
    tmp_path: Path, dataset: Dataset, fields: dict[str, object], mode: str
) -> None:
    train(dataset, config(**fields), tmp_path / "run", Watcher())
    published = publish_run(tmp_path / "run", dataset, tmp_path / "bundles")
    manifest = read_bundle(tmp_path / "bundles", published).manifest
    assert manifest.serving.interest_mode == mode
    assert manifest.draws is not None
    assert manifest.draws.used == (manifest.draws.lead[0] > 0) == (mode == "both")
    assert ("add nothing" in said(manifest.draws)) == (mode == "guidance")


@pytest.mark.parametrize("mode", ["draws", "guidance"])
def test_a_mode_that_was_chosen_stays(mode: str) -> None:
    serving = make_serving(interest_mode=mode)
    fitted = fit_draws(make_model(40), serving, leave_one_out(cyclic_dataset()).validation)
    assert fitted == (serving, None)


def test_what_is_published_asks_by_the_mode_that_is_named(tmp_path: Path) -> None:
    dataset = cyclic_dataset()
    train(dataset, config(epochs=1), tmp_path / "run", Watcher())
    for mode in ("both", "draws", "guidance"):
        version = publish_run(tmp_path / "run", dataset, tmp_path / "bundles", interest_mode=mode)
        manifest = read_bundle(tmp_path / "bundles", version).manifest
        assert (manifest.serving.interest_mode, manifest.draws) == (mode, None)
