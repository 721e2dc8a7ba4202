"""Few denoising steps are as good as many, of a small model whose users may do one of several things next."""

from pathlib import Path

import pytest

from bundle.manifest import ServingDefaults
from model.checkpoint import read_checkpoint
from model.dimerec import DimeRec
from tests.training.logs import forking_dataset
from tests.training.test_trainer import Watcher
from training.config import read_config
from training.data.splits import leave_one_out
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.draws import measure_draws
from training.evaluation.ranking import evaluate
from training.run import BEST_FILE
from training.trainer import train

STEPS = (1, 2, 4, 8, 16)


@pytest.fixture
def trained(tmp_path: Path) -> DimeRec:
    small = [
        "recipe=large",
        "model.dim=32",
        "model.dropout=0.1",
        "model.temperature=0.1",
        "epochs=15",
        "batch_size=128",
    ]
    train(forking_dataset(), read_config(None, small), tmp_path, Watcher())
    return read_checkpoint(tmp_path / BEST_FILE)


def asked(steps: int) -> ServingDefaults:
    return ServingDefaults(steps=steps, draws=8, interest_mode="draws", temperature=0.1)


def test_the_curve_over_steps_is_flat_while_the_draws_differ(trained: DimeRec) -> None:
    targets = leave_one_out(forking_dataset()).test
    ndcg = [
        evaluate(DimeRecScorer(trained, asked(steps)), targets, exclude_seen=True).metrics["ndcg@10"]
        for steps in STEPS
    ]
    chance = sum(1 / (rank + 1) for rank in range(1, 11)) / 60
    assert max(ndcg) > 2 * chance
    few = ndcg[: STEPS.index(4) + 1]
    assert max(few) >= 0.97 * max(ndcg)
    assert min(ndcg) >= 0.9 * max(ndcg)
    # A list shorter than the four items that may come next: one draw cannot have them all.
    draws = measure_draws(trained, asked(4), targets, k=2)
    assert draws.pairwise_cosine < 0.98
    assert draws.best_of[8] > 1.1 * draws.best_of[1]
