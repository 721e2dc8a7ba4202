"""Training on a CUDA device, beside the same on the processor: `pytest -m gpu`."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from model.batch import PrefixBatch, collate
from model.checkpoint import read_checkpoint
from model.config import DenoiserKind, GuidanceKind
from model.dimerec import DimeRec
from tests.factories import make_model
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher, config
from training.baselines.network import Baseline
from training.benchmark.networks import NETWORKS, NetworkRecipe
from training.benchmark.recipe import Budget
from training.data.splits import leave_one_out
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import evaluate
from training.learner import Learner
from training.run import BEST_FILE, read_records
from training.trainer import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def prefixes(items: int) -> PrefixBatch:
    """Every prefix of some histories of several lengths."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, items + 1, (6, 9), generator=generator)
    history = collate([row[: 4 + index].tolist() for index, row in enumerate(rows)], 20)
    positions = history.mask.flatten().nonzero().squeeze(1)
    targets = torch.randint(1, items + 1, (len(positions),), generator=generator)
    later = torch.randint(0, items + 1, (len(positions),), generator=generator)
    return PrefixBatch(history, positions, targets, later)


def losses_and_gradients(model: DimeRec, batch: PrefixBatch) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses = model.loss(batch)
    losses.total.backward()
    gradients = {name: own.grad.cpu() for name, own in model.named_parameters() if own.grad is not None}
    return [float(loss.detach()) for loss in losses], gradients


@pytest.mark.parametrize("denoiser", get_args(DenoiserKind))
@pytest.mark.parametrize("guidance", get_args(GuidanceKind))
def test_the_losses_and_their_gradients_are_those_of_the_processor(guidance: str, denoiser: str) -> None:
    # Without noise and with the whole catalogue to choose from, nothing of a loss is random.
    model = make_model(60, guidance=guidance, denoiser=denoiser, process="none", item_dropout=0.0)
    batch = prefixes(60)
    here = losses_and_gradients(model.train(), batch)
    model.zero_grad()
    there = losses_and_gradients(model.to("cuda"), batch.to("cuda"))
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    assert here[1].keys() == there[1].keys()
    for name, gradient in here[1].items():
        assert there[1][name].numpy() == pytest.approx(gradient.numpy(), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_learns_there_is_resumed_there_and_asked_here(tmp_path: Path, precision: str) -> None:
    dataset, wanted = cyclic_dataset(), config(epochs=30, patience=30, device="cuda", precision=precision)
    watcher = Watcher(stop_in_epoch=12)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, wanted, tmp_path, watcher)
    outcome = train(dataset, wanted, tmp_path, Watcher())
    assert [record.epoch for record in read_records(tmp_path)] == list(range(1, 31))
    assert outcome.best.validation["ndcg@20"] > 0.9

    model = read_checkpoint(tmp_path / BEST_FILE, "cpu")
    scorer = DimeRecScorer(model, wanted.serving, seed=0)
    found = evaluate(scorer, leave_one_out(dataset).validation, exclude_seen=True)
    assert found.metrics["ndcg@20"] == pytest.approx(outcome.best.validation["ndcg@20"], abs=0.02)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_baseline_that_was_trained_there_scores_here_as_there(tmp_path: Path, name: str) -> None:
    made = NETWORKS[name]()
    assert isinstance(made, NetworkRecipe)
    changed = made.config.model_dump() | {"dim": 16, "max_length": 8, "epochs": 2, "device": "cuda"}
    recipe = type(made)(type(made.config).model_validate(changed))
    dataset = cyclic_dataset()
    split = leave_one_out(dataset)
    there = recipe.fit(dataset, split, Budget(0, None, tmp_path, Watcher())).variants[0].scorer
    here: Learner = recipe.config.learner(len(dataset.catalogue))
    here.read(tmp_path / BEST_FILE)
    assert isinstance(here, Baseline)
    histories = split.test.histories
    assert there.score(histories).shape == (len(histories), len(dataset.catalogue))
    if name not in ("dreamrec", "diffurec"):  # these start from the device's own noise
        torch.testing.assert_close(
            torch.from_numpy(there.score(histories)),
            torch.from_numpy(here.eval().scorer().score(histories)),
            rtol=1e-3,
            atol=1e-3,
        )
