"""From a run to a bundle, and the gate between a worse model and the service."""

from pathlib import Path
from shutil import copytree

import polars as pl
import pytest

from bundle.read import current_version, read_bundle, verify, versions
from bundle.write import publish
from index.faiss_index import FaissIndex
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher, config
from training.counts import count_followers
from training.data.dataset import Dataset
from training.data.splits import Sequences, leave_one_out
from training.errors import ConfigError, QualityError, TrainingError
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import evaluate
from training.evaluation.served import engine_for, evaluate_served
from training.publishing import publish_run
from training.refit import refit
from training.run import RunConfig, open_run
from training.trainer import train


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return cyclic_dataset()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """A run that learned and one that hardly did."""
    root = tmp_path_factory.mktemp("runs")
    train(dataset, config(epochs=25, patience=25), root / "good", Watcher())
    train(dataset, config(epochs=1, learning_rate=1e-8), root / "poor", Watcher())
    return root


def test_a_published_run_is_current_and_whole(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    asked = config().serving.interest_mode
    version = publish_run(runs / "good", dataset, tmp_path, interest_mode=asked, source_revision="abc123")
    bundle = read_bundle(tmp_path)
    assert bundle.version == version
    assert bundle.manifest.serving == config().serving
    assert bundle.manifest.data_fingerprint == dataset.fingerprint
    assert bundle.manifest.source_revision == "abc123"
    assert 0 < bundle.manifest.metrics["validation/ndcg@10"] <= 1
    assert list(bundle.catalogue.item_ids) == list(dataset.catalogue.item_ids)
    assert bundle.index.kind == "flat"


def test_a_bundle_knows_how_often_users_come_back(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    assert read_bundle(tmp_path, publish_run(runs / "good", dataset, tmp_path)).manifest.repeat_weight < 0.1
    chosen = publish_run(runs / "good", dataset, tmp_path, repeat_weight=1.0)
    assert read_bundle(tmp_path, chosen).manifest.repeat_weight == 1


def test_a_repeat_weight_needs_probabilities(tmp_path: Path, dataset: Dataset) -> None:
    nearest = config(epochs=1, serving={"steps": 2, "draws": 2, "merge": "max"})
    train(dataset, nearest, tmp_path / "run", Watcher())
    with pytest.raises(ConfigError, match=r"needs serving\.merge mean"):
        publish_run(tmp_path / "run", dataset, tmp_path / "root", repeat_weight=0.5)
    assert (
        read_bundle(
            tmp_path / "root", publish_run(tmp_path / "run", dataset, tmp_path / "root")
        ).manifest.repeat_weight
        == 1
    )


def test_a_model_that_fell_by_more_than_the_margin_is_refused_unless_forced(
    tmp_path: Path, runs: Path, dataset: Dataset
) -> None:
    good = publish_run(runs / "good", dataset, tmp_path)
    with pytest.raises(QualityError, match=r"ndcg@10 .* it fell by more than 5%; .*--force"):
        publish_run(runs / "poor", dataset, tmp_path)
    assert current_version(tmp_path) == good
    assert versions(tmp_path) == [good]
    assert publish_run(runs / "good", dataset, tmp_path, margin=0.0) > good
    forced = publish_run(runs / "poor", dataset, tmp_path, force=True)
    assert current_version(tmp_path) == forced
    assert publish_run(runs / "poor", dataset, tmp_path, margin=0.0) > forced


@pytest.mark.parametrize("damaged", ["CURRENT", "model.safetensors"])
def test_a_damaged_bundle_in_service_is_replaced_by_force(
    tmp_path: Path, runs: Path, dataset: Dataset, damaged: str
) -> None:
    version = publish_run(runs / "good", dataset, tmp_path)
    path = tmp_path / damaged if damaged == "CURRENT" else tmp_path / version / damaged
    path.write_text("nonsense")
    with pytest.raises(QualityError, match="--force"):
        publish_run(runs / "good", dataset, tmp_path)
    assert read_bundle(tmp_path, publish_run(runs / "good", dataset, tmp_path, force=True))


def test_metrics_of_different_splits_are_not_compared(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    bundle = read_bundle(tmp_path, publish_run(runs / "good", dataset, tmp_path))
    assert bundle.manifest.split == "leave-one-out"
    assert isinstance(bundle.index, FaissIndex)
    publish(
        tmp_path,
        bundle.model,
        bundle.catalogue,
        bundle.index,
        serving=bundle.manifest.serving,
        metrics=bundle.manifest.metrics,
        data_fingerprint=dataset.fingerprint,
        split="time",
    )
    with pytest.raises(QualityError, match="on the split leave-one-out"):
        publish_run(runs / "good", dataset, tmp_path)


def test_the_index_is_of_the_kind_asked_for(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    publish_run(runs / "good", dataset, tmp_path, index_kind="hnsw")
    assert read_bundle(tmp_path).index.kind == "hnsw"


def test_a_run_on_other_data_is_refused(tmp_path: Path, runs: Path) -> None:
    with pytest.raises(ConfigError, match="trained on other data"):
        publish_run(runs / "good", cyclic_dataset(seed=5), tmp_path)
    assert not versions(tmp_path)


def test_a_run_without_an_epoch_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    open_run(tmp_path / "run", RunConfig(training=config(), data_fingerprint=dataset.fingerprint))
    with pytest.raises(TrainingError, match="has not finished an epoch"):
        publish_run(tmp_path / "run", dataset, tmp_path / "bundles")
    with pytest.raises(TrainingError, match="holds no training run"):
        publish_run(tmp_path, dataset, tmp_path / "bundles")


def test_the_catalogue_in_the_bundle_is_readable_on_its_own(
    tmp_path: Path, runs: Path, dataset: Dataset
) -> None:
    version = publish_run(runs / "good", dataset, tmp_path)
    assert len(pl.read_ipc(tmp_path / version / "items.arrow")) == 40


def test_counts_are_in_a_bundle_where_they_bring_something(
    tmp_path: Path, runs: Path, dataset: Dataset
) -> None:
    version = publish_run(runs / "poor", dataset, tmp_path, counts=True)
    bundle, facts = read_bundle(tmp_path, version), verify(tmp_path, version).counts
    assert facts is not None
    assert facts.lead is not None
    assert facts.lead[0] > 0
    split = leave_one_out(dataset)
    expected = count_followers(split.train, len(dataset.catalogue))
    assert bundle.counts is not None
    assert bundle.counts.followers.tolist() == expected.followers.tolist()
    assert (bundle.counts.weight, bundle.counts.decay) == (facts.weight, facts.decay)
    assert facts.weight > 0
    scorer = DimeRecScorer(bundle.model, bundle.manifest.serving, counts=bundle.counts)
    alone = DimeRecScorer(bundle.model, bundle.manifest.serving)
    for own, told in ((alone, facts.before), (scorer, facts.after)):
        found = evaluate(own, split.validation, ks=(10, 50), exclude_seen=True).metrics
        assert (found["ndcg@10"], found["hr@50"]) == pytest.approx((told["ndcg@10"], told["hr@50"]))


def test_what_is_served_with_counts_is_what_is_evaluated(
    tmp_path: Path, runs: Path, dataset: Dataset
) -> None:
    bundle = read_bundle(tmp_path, publish_run(runs / "poor", dataset, tmp_path, counts=True))
    assert bundle.counts is not None
    scorer = DimeRecScorer(bundle.model, bundle.manifest.serving, counts=bundle.counts)
    targets = leave_one_out(dataset).test
    served = evaluate_served(engine_for(bundle), scorer, targets, dataset.catalogue.item_ids)
    assert served.same_first == 1
    ranked = evaluate(scorer, targets, ks=(10, 20), exclude_seen=True).metrics
    assert {name: served.metrics[name] for name in ranked} == pytest.approx(ranked)


def test_counts_are_left_out_where_they_bring_nothing_or_nobody_wants_them(
    tmp_path: Path, runs: Path, dataset: Dataset
) -> None:
    good = publish_run(runs / "good", dataset, tmp_path, counts=True)
    facts = verify(tmp_path, good).counts
    assert facts is not None
    assert facts.weight == 0
    assert read_bundle(tmp_path, good).counts is None
    without = publish_run(runs / "poor", dataset, tmp_path, force=True, counts=False)
    assert verify(tmp_path, without).counts is None
    assert read_bundle(tmp_path, without).counts is None


def test_what_is_done_next_is_said(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    heard: dict[bool, list[str]] = {True: [], False: []}
    for counts, stages in heard.items():
        publish_run(runs / "good", dataset, tmp_path, counts=counts, on_stage=stages.append)
    assert heard[True][-1] == "Writing the bundle"
    (only,) = [stage for stage in heard[True] if stage not in heard[False]]
    assert only.startswith("Counting what followed what")


def test_counts_need_probabilities(tmp_path: Path, dataset: Dataset) -> None:
    nearest = config(epochs=1, learning_rate=1e-8, serving={"steps": 2, "draws": 2, "merge": "max"})
    train(dataset, nearest, tmp_path / "run", Watcher())
    with pytest.raises(ConfigError, match=r"counts need serving\.merge mean.*leave --counts out"):
        publish_run(tmp_path / "run", dataset, tmp_path / "root", counts=True)


def test_a_refit_counts_all_events(tmp_path: Path, runs: Path, dataset: Dataset) -> None:
    copytree(runs / "poor", tmp_path / "run")
    refit(dataset, tmp_path / "run", Watcher())
    bundle = read_bundle(
        tmp_path / "root", publish_run(tmp_path / "run", dataset, tmp_path / "root", counts=True)
    )
    everything = Sequences(dataset.items, dataset.offsets)
    assert bundle.manifest.refit
    assert bundle.counts is not None
    expected = count_followers(everything, len(dataset.catalogue))
    assert bundle.counts.parts.tolist() == expected.parts.tolist()
