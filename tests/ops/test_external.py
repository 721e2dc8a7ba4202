"""Recommenders of other projects: what goes out, what comes back, and what is made of it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.external import exchange
from benchmarks.external.exchange import Arrays, exported, list_scorer, merged
from benchmarks.external.recipe import RecToolsSASRec
from benchmarks.quality import quality
from tests.training.benchmark.test_benchmark import Chance, Watched
from tests.training.random_logs import random_dataset
from training.benchmark.data import Data
from training.benchmark.execute import Job, run
from training.benchmark.recipe import Budget, Fitted, Variant
from training.benchmark.registry import REGISTRY, plan
from training.benchmark.store import Store
from training.data.dataset import Dataset
from training.data.splits import Split, leave_one_out
from training.errors import BenchmarkError
from training.evaluation.metrics import top_items
from training.evaluation.ranking import evaluate, evaluate_both, without_seen

ITEMS, K = 200, 50

PROCESS = """
import json, sys
import numpy as np
split, settings, out = sys.argv[1:]
told = json.load(open(settings))
quality, records = [0.1, 0.3, 0.2, 0.2], []
for line in sys.stdin:
    if told["seed"] == 13:
        sys.exit("no luck")
    number = len(records)
    records.append({"epoch": number + 1, "losses": {}, "validation": {"ndcg@10": quality[number]},
                    "examples": 8, "examples_per_s": 4.0, "seconds": 2.0 * number})
    print("something else", json.dumps(records[-1]), sep="\\n", flush=True)
arrays = dict(np.load(split))
lists = {f"{part}_{kind}": np.tile(np.arange(1, 51, dtype=np.int32), (len(arrays[part + "_targets"]), 1))
         for part in ("validation", "test") for kind in ("kept", "removed")}
np.savez(out, ms_per_user=7.0, records=json.dumps(records), **lists)
"""


class Listed:
    """A scorer of which only lists are known."""

    settings: dict[str, Any] = {"listed": True}  # noqa: RUF012

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        scorer = list_scorer(split, ITEMS, answers(Chance(ITEMS), split))
        return Fitted((Variant(scorer, ms_per_user=7.0),), train_s=0.0)


@pytest.fixture(scope="module")
def data() -> Data:
    dataset = random_dataset(np.random.default_rng(1), np.full(40, 30), ITEMS)
    return Data("random", dataset, leave_one_out(dataset))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, environment = tmp_path / "process.py", tmp_path / "environment"
    script.write_text(PROCESS)
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(exchange, "_SCRIPT", script)
    monkeypatch.setattr(exchange, "ENVIRONMENT", environment)


def answers(scorer: Chance, split: Split) -> Arrays:
    found: Arrays = {}
    for name, targets in exchange.parts(split).items():
        scores = scorer.score(targets.histories)
        found[f"{name}_kept"] = top_items(scores, K).astype(np.int32)
        found[f"{name}_removed"] = top_items(without_seen(scores, targets.histories), K).astype(np.int32)
    return found


def test_rows_of_lists_are_those_of_the_scores_behind_them(data: Data, tmp_path: Path) -> None:
    outcome = run([Job(data, "listed", Listed(), 0)], Store(tmp_path), Watched())
    outcome.check()
    scorer, split, catalogue = Chance(ITEMS), data.split, data.dataset.catalogue
    expected = [
        evaluate(scorer, split.validation, catalogue, exclude_seen=True),
        *evaluate_both(scorer, split.test, catalogue),
    ]
    for row, evaluation in zip(outcome.rows, expected, strict=True):
        assert row.ms_per_user == 7
        for name, value in evaluation.metrics.items():
            if name.startswith(("hr@", "ndcg@")) or name == "coverage@20":
                assert row.metric(name) == pytest.approx(value, abs=1e-6), name


def test_one_ranking_has_both_lists() -> None:
    kept = np.array([[4, 1, 3], [1, 2, 0]], np.int32)
    removed = np.array([[4, 3, 7], [0, 0, 0]], np.int32)  # 1 is seen, the other has seen all
    assert merged(kept, removed).tolist() == [[4, 1, 3, 0, 0, 7], [1, 2, 0, 0, 0, 0]]


def test_the_split_goes_out_as_flat_arrays(data: Data) -> None:
    arrays = exported(data.split)
    for name, targets in exchange.parts(data.split).items():
        items, offsets = arrays[f"{name}_items"], arrays[f"{name}_offsets"]
        assert arrays[f"{name}_targets"].tolist() == targets.items.tolist()
        for row in range(len(targets)):
            history = items[offsets[row] : offsets[row + 1]]
            assert history.tolist() == targets.histories[row].tolist()


@pytest.mark.usefixtures("process")
def test_a_process_trains_until_patience_ends_and_is_not_asked_twice(data: Data, tmp_path: Path) -> None:
    watcher, recipe = Watched(), RecToolsSASRec(patience=2)
    first, *_ = run([Job(data, "outside", recipe, 0)], Store(tmp_path), watcher).rows
    assert watcher.failures == []
    assert (watcher.epochs, first.epochs, first.train_s, first.ms_per_user) == (4, 2, 2.0, 7.0)
    for path in (tmp_path / "rows").iterdir():
        path.unlink()
    again, *_ = run([Job(data, "outside", recipe, 0)], Store(tmp_path), watcher).rows
    assert (watcher.epochs, again) == (4, first)


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(("limits", "epochs"), [({"epochs": 3}, 3), ({"patience": 1}, 3)])
def test_a_process_stops_at_its_limits(
    data: Data, tmp_path: Path, limits: dict[str, int], epochs: int
) -> None:
    watcher = Watched()
    run([Job(data, "outside", RecToolsSASRec(**limits), 0)], Store(tmp_path), watcher).check()  # type: ignore[arg-type]
    assert watcher.epochs == epochs
    watcher = Watched()
    run([Job(data, "outside", RecToolsSASRec(**limits), 0, minutes=0.01)], Store(tmp_path), watcher).check()  # type: ignore[arg-type]
    assert watcher.epochs == 2


@pytest.mark.usefixtures("process")
def test_a_process_that_fails_is_quoted(data: Data, tmp_path: Path) -> None:
    watcher = Watched()
    run([Job(data, "outside", RecToolsSASRec(), 13)], Store(tmp_path), watcher)
    (failure,) = watcher.failures
    assert isinstance(failure, BenchmarkError)
    assert str(failure).startswith("process.py failed: no luck (all: ")


def test_a_missing_environment_is_named(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ENVIRONMENT", tmp_path / "nowhere")
    watcher = Watched()
    run([Job(data, "outside", RecToolsSASRec(), 0)], Store(tmp_path), watcher)
    assert "`make external` lays it there" in str(watcher.failures[0])


def test_quality_knows_the_external_recommenders(data: Data) -> None:
    jobs = plan(data, quality.recommenders(["rectools-sasrec", "itemknn"], []), seeds=2)
    assert [(job.model, job.seed) for job in jobs] == [
        ("itemknn", 0),
        ("rectools-sasrec", 0),
        ("rectools-sasrec", 1),
    ]
    assert not set(quality.EXTERNAL) & set(REGISTRY)


def test_its_requirements_are_pinned_and_share_our_torch() -> None:
    root = Path(exchange.__file__).parent
    lines = [line for line in (root / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert all("==" in line for line in lines)
    pinned = (root.parents[1] / "constraints.txt").read_text().splitlines()
    assert {line for line in lines if line.startswith("torch==")} <= set(pinned)
    assert f"RecTools=={RecToolsSASRec.package.split()[1]}" in lines
