"""`dimerec train` and `publish` on a small log: which recipe, and whether the model earns its place."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bundle.read import read_bundle
from tests.cli.conftest import Run
from tests.training.logs import cyclic_dataset
from training.baselines.item_knn import ItemKNN
from training.baselines.popularity import Popularity
from training.data.dataset import Dataset, write_dataset
from training.data.splits import leave_one_out
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import evaluate
from training.evaluation.report import warning
from training.evaluation.scorer import Scorer

ITEMS = 40
DOES_NOT_EARN = "DimeRec does not earn its place on this log"
UNTRAINED = ("--set", "epochs=1", "--set", "learning_rate=1e-8", "--set", "item_start=random")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return cyclic_dataset(items=ITEMS)


@pytest.fixture
def data(dataset: Dataset, tmp_path: Path) -> Path:
    write_dataset(dataset, tmp_path / "data")
    return tmp_path / "data"


def test_the_recipe_is_said_and_kept(dimerec: Run, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = dimerec("train", "--data", data, "--out", run, "--set", "epochs=1", "--set", "model.dim=16")
    first, second, *_ = done.out.splitlines()
    assert first.startswith("Recipe small, for 500 training events (fewer than 125,000): ")
    assert 'model.guidance="recency_attentive"' in first
    assert "model.dim" not in first
    assert second == "Override any key with --set KEY=VALUE, all of them with --set recipe=large."
    kept = json.loads((run / "config.json").read_text())["training"]
    for key, value in re.findall(r"(\S+)=([^,\s]+)", first):
        section, _, name = key.rpartition(".")
        assert (kept[section] if section else kept)[name] == json.loads(value), key
    assert (kept["recipe"], kept["model"]["dim"]) == ("small", 16)


def test_a_recipe_that_is_asked_for_is_said(dimerec: Run, data: Path, tmp_path: Path) -> None:
    asked = ("--set", "recipe=large", "--set", "epochs=1", "--set", "model.dim=16")
    said = dimerec("train", "--data", data, "--out", tmp_path / "run", *asked).out
    assert said.startswith("Recipe large, as set: ")
    assert "--set recipe=small." in said


def test_a_warm_start_says_whose_architecture_it_has(dimerec: Run, data: Path, tmp_path: Path) -> None:
    asked = ("--data", data, "--set", "epochs=1")
    dimerec(
        "train",
        *asked,
        "--out",
        tmp_path / "old",
        "--set",
        "model.dim=16",
        "--set",
        "model.guidance_vectors=3",
    )
    bundles = tmp_path / "bundles"
    dimerec("publish", "--run", tmp_path / "old", "--data", data, "--bundles", bundles)
    done = dimerec("train", *asked, "--out", tmp_path / "new", "--init", bundles)
    assert done.code == 0, done.err
    assert done.out.startswith(f"Architecture of {read_bundle(bundles).version}, recipe small: ")
    model = json.loads((tmp_path / "new" / "config.json").read_text())["training"]["model"]
    assert (model["dim"], model["guidance_vectors"], model["guidance"]) == (16, 3, "recency_attentive")


def test_a_model_that_ranks_worse_than_itemknn_is_published_and_said_to_be_so(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path
) -> None:
    run, bundles = tmp_path / "run", tmp_path / "bundles"
    dimerec("train", "--data", data, "--out", run, *UNTRAINED)
    evaluated = dimerec("evaluate", "--run", run, "--data", data, "--no-counts").out
    published = dimerec("publish", "--run", run, "--data", data, "--bundles", bundles, "--no-counts")
    assert published.code == 0
    bundle = read_bundle(bundles)
    split, standing = leave_one_out(dataset), bundle.manifest.standing
    assert standing is not None
    assert standing.targets == len(split.test)
    scorers: dict[str, Scorer] = {
        "DimeRec": DimeRecScorer(bundle.model, bundle.manifest.serving),
        "ItemKNN": ItemKNN.tuned(split, ITEMS),
        "Popularity": Popularity(split.train, ITEMS),
    }
    assert list(standing.metrics) == list(scorers)
    for name, scorer in scorers.items():
        expected = evaluate(scorer, split.test, ks=(10,), exclude_seen=True).metrics
        assert standing.metrics[name] == pytest.approx(expected)
    ours, best = (standing.metrics[name]["ndcg@10"] for name in ("DimeRec", "ItemKNN"))
    for said in (evaluated, published.out):
        (line,) = (line for line in said.splitlines() if line.startswith(DOES_NOT_EARN))
        assert f"its NDCG@10 {ours:.4f} is not above ItemKNN's {best:.4f}" in line


def test_counts_are_measured_and_published_unless_they_are_left_out(
    dimerec: Run, data: Path, tmp_path: Path
) -> None:
    """An untrained model knows nothing; what followed what in the log does."""
    run, bundles = tmp_path / "run", tmp_path / "bundles"
    dimerec("train", "--data", data, "--out", run, *UNTRAINED)

    def evaluated(*options: str) -> tuple[Any, Any]:
        found = json.loads(dimerec("evaluate", "--data", data, "--json", *options).out)
        ours = found["recommenders"]["DimeRec"]
        return ours["settings"].get("counts"), ours["seen_removed"]["ndcg@10"]

    weight, counted = evaluated("--run", str(run))
    alone = evaluated("--run", str(run), "--no-counts")
    assert weight == 0.3
    assert alone[0] is None
    assert counted > 2 * alone[1]
    published = json.loads(
        dimerec("publish", "--run", run, "--data", data, "--bundles", bundles, "--json").out
    )
    assert published["counts"]["weight"] == weight
    assert published["standing"]["metrics"]["DimeRec"]["ndcg@10"] == pytest.approx(counted)
    assert evaluated("--bundles", str(bundles)) == (weight, counted)
    assert evaluated("--bundles", str(bundles), "--no-counts")[1] == alone[1]
    assert evaluated("--bundles", str(bundles), "--merge", "max")[0] is None


def test_a_model_that_ranks_better_is_published_without_a_word(
    dimerec: Run, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    learned = ("--set", "epochs=20", "--set", "batch_size=64", "--set", "learning_rate=5e-3")
    dimerec("train", "--data", data, "--out", run, *learned)
    assert DOES_NOT_EARN not in dimerec("evaluate", "--run", run, "--data", data).out
    published = dimerec("publish", "--run", run, "--data", data, "--bundles", tmp_path / "bundles")
    first, draws, counts, novelty = published.out.splitlines()
    assert first.startswith("Published ")
    assert draws.startswith("The draws add ")
    assert counts.startswith("What followed what in the log ")
    assert novelty.startswith("At a novelty of 1, ")


def test_the_best_of_the_simple_recommenders_is_named() -> None:
    def of(*ndcg: float) -> str | None:
        return warning({name: {"ndcg@10": value} for name, value in zip("MAB", ndcg, strict=True)})

    assert of(0.3, 0.2, 0.1) is None
    for worse in ((0.1, 0.1, 0.05), (0.1, 0.2, 0.15)):
        assert "A's" in str(of(*worse))
    assert "B's" in str(of(0.1, 0.05, 0.2))
