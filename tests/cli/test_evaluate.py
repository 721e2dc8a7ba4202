import json
from pathlib import Path

import numpy as np
import pytest

from bundle.write import publish
from model.checkpoint import write_checkpoint
from tests.cli.conftest import Run
from tests.factories import make_index, make_model, make_serving
from tests.training.random_logs import random_dataset
from training.baselines.item_knn import ItemKNN
from training.baselines.popularity import Popularity
from training.config import TrainingConfig
from training.data.dataset import Dataset, write_dataset
from training.data.splits import by_time, leave_last_out, leave_one_out
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.horizon import horizon, measure, sample
from training.evaluation.ranking import evaluate
from training.evaluation.repeat_weight import fit_repeat_weight
from training.evaluation.scorer import Scorer
from training.evaluation.stage.fitting import fitted_sides
from training.evaluation.stage.report import StageReport, stage_report
from training.run import BEST_FILE, RunConfig, open_run

ITEMS = 30


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return random_dataset(np.random.default_rng(0), np.full(40, 7), ITEMS)


@pytest.fixture(scope="module")
def data(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_dataset(dataset, directory)
    return directory


@pytest.fixture
def run_directory(dataset: Dataset, tmp_path: Path) -> Path:
    config = TrainingConfig.model_validate({"serving": make_serving(), "split": "leave-one-out"})
    open_run(tmp_path / "run", RunConfig(training=config, data_fingerprint=dataset.fingerprint))
    write_checkpoint(tmp_path / "run" / BEST_FILE, make_model(ITEMS))
    return tmp_path / "run"


def published(root: Path, dataset: Dataset, fingerprint: str, split: str | None = None) -> str:
    model = make_model(ITEMS)
    return publish(
        *(root, model, dataset.catalogue, make_index(model)),
        serving=make_serving(),
        metrics={},
        data_fingerprint=fingerprint,
        split=split,
    )


def test_a_run_is_measured_next_to_the_baselines(
    dimerec: Run, dataset: Dataset, data: Path, run_directory: Path
) -> None:
    done = dimerec("evaluate", "--run", run_directory, "--data", data)
    assert (done.code, done.err) == (0, "")
    for shown in ("DimeRec", "ItemKNN", "Popularity", "HR@20", "NDCG@20", "catalogue coverage@10"):
        assert shown in done.out

    report = json.loads((run_directory / "evaluation-test.json").read_text())
    split = leave_one_out(dataset)
    model, serving = make_model(ITEMS), make_serving()
    repeat_weight = fit_repeat_weight(DimeRecScorer(model, serving), split.validation)
    assert report["recommenders"]["DimeRec"]["settings"]["repeat_weight"] == pytest.approx(repeat_weight)
    scorers: dict[str, Scorer] = {
        "DimeRec": DimeRecScorer(model, serving, repeat_weight=repeat_weight),
        "ItemKNN": ItemKNN.tuned(split, ITEMS),
        "Popularity": Popularity(split.train, ITEMS),
    }
    assert list(report["recommenders"]) == list(scorers)
    for name, scorer in scorers.items():
        for key, exclude_seen in (("seen_removed", True), ("seen_kept", False)):
            expected = evaluate(scorer, split.test, dataset.catalogue, exclude_seen=exclude_seen).metrics
            assert report["recommenders"][name][key] == pytest.approx(expected)
    assert (report["split"], report["part"], report["targets"]) == ("leave-one-out", "test", 40)
    assert report["data_fingerprint"] == dataset.fingerprint
    assert len(report["comparisons"]) == 8
    first = report["comparisons"][0]
    difference = [report["recommenders"][name]["seen_removed"]["hr@10"] for name in ("DimeRec", "ItemKNN")]
    assert first["mean"] == pytest.approx(difference[0] - difference[1])
    assert first["low"] <= first["mean"] <= first["high"]


def test_how_the_model_is_asked_can_be_changed(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path
) -> None:
    published(tmp_path / "bundles", dataset, dataset.fingerprint)
    done = dimerec(
        *("evaluate", "--bundles", tmp_path / "bundles", "--data", data, "--on", "validation", "--seed", 3),
        *(
            "--steps",
            1,
            "--draws",
            2,
            "--interest-mode",
            "both",
            "--merge",
            "max",
            "--out",
            tmp_path / "r.json",
        ),
    )
    assert done.code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    serving = make_serving(steps=1, draws=2, interest_mode="both", merge="max")
    scorer = DimeRecScorer(make_model(ITEMS), serving, seed=3)
    expected = evaluate(scorer, leave_one_out(dataset).validation, dataset.catalogue, exclude_seen=True)
    assert report["recommenders"]["DimeRec"]["seen_removed"] == pytest.approx(expected.metrics)
    assert report["recommenders"]["DimeRec"]["settings"]["merge"] == "max"
    assert report["part"] == "validation"


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ((), "guidance"),
        (("--draws", 3), "both"),
        (("--steps", 1), "both"),
        (("--interest-mode", "draws"), "draws"),
    ],
    ids=str,
)
def test_a_run_is_asked_as_it_would_be_published(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path, given: tuple[object, ...], mode: str
) -> None:
    # Of a log of chance no draws of untrained weights lead beyond chance.
    training = TrainingConfig.model_validate(
        {"serving": make_serving(interest_mode="both"), "split": "leave-one-out"}
    )
    run = tmp_path / "run"
    open_run(run, RunConfig(training=training, data_fingerprint=dataset.fingerprint))
    write_checkpoint(run / BEST_FILE, make_model(ITEMS))
    done = dimerec("evaluate", "--run", run, "--data", data, *given)
    assert done.code == 0, done.err
    report = json.loads((run / "evaluation-test.json").read_text())
    assert report["recommenders"]["DimeRec"]["settings"]["interest_mode"] == mode
    assert (
        ("The draws add nothing to the guidance" in done.out)
        == (report["decided"] is not None)
        == (not given)
    )


def test_the_baselines_alone_on_another_split(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path
) -> None:
    done = dimerec("evaluate", "--data", data, "--split", "time", "--out", tmp_path / "report.json")
    assert done.code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["recommenders"]) == ["ItemKNN", "Popularity"]
    assert report["targets"] == len(by_time(dataset).test)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--split", "time"), "trained on the split leave-one-out and may know what time holds out"),
        (("--bundles", "bundles"), "--run and --bundles name two models"),
        (("--steps", "9"), "--steps is 9, the model has 8"),
        (("--temperature", "0"), "--temperature: Input should be greater than or equal to 0.001"),
        (("--served",), "--served measures a bundle as it is served; name its directory with --bundles"),
        (("--index", "hnsw"), "--index says what --served searches; give --served as well"),
        (("--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("--device", "garbage"), "device 'garbage' is none: say cpu"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    dimerec: Run, data: Path, run_directory: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = dimerec("evaluate", "--run", run_directory, "--data", data, *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_a_model_of_other_data_is_refused(dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path) -> None:
    published(tmp_path / "bundles", dataset, "0123456789abcdef")
    done = dimerec("evaluate", "--bundles", tmp_path / "bundles", "--data", data)
    assert done.code == 1
    assert "trained on other data (0123456789abcdef)" in done.err


def test_a_bundle_is_measured_on_the_split_that_it_was_trained_on(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path
) -> None:
    published(tmp_path / "bundles", dataset, dataset.fingerprint, split="leave-one-out")
    asked = ("evaluate", "--bundles", tmp_path / "bundles", "--data", data)
    assert "leave-one-out split" in dimerec(*asked).out
    refused = dimerec(*asked, "--split", "time")
    assert refused.code == 1
    assert "was trained on the split leave-one-out" in refused.err


def test_what_is_not_there_is_said(dimerec: Run, data: Path, run_directory: Path, tmp_path: Path) -> None:
    assert "is not a prepared data set" in dimerec("evaluate", "--data", tmp_path).err
    assert "holds no training run" in dimerec("evaluate", "--run", tmp_path, "--data", data).err
    assert "nothing is published" in dimerec("evaluate", "--bundles", tmp_path, "--data", data).err
    (run_directory / BEST_FILE).unlink()
    done = dimerec("evaluate", "--run", run_directory, "--data", data)
    assert done.code == 1
    assert "best.safetensors" in done.err


@pytest.mark.parametrize("index", [None, "flat", "hnsw", "ivf"])
def test_what_users_get_stands_beside_the_full_ranking(
    dimerec: Run, dataset: Dataset, data: Path, tmp_path: Path, index: str | None
) -> None:
    published(tmp_path / "bundles", dataset, dataset.fingerprint)
    asked = ("evaluate", "--bundles", tmp_path / "bundles", "--data", data, "--served", "--json")
    report = json.loads(dimerec(*asked, *(("--index", index) if index else ())).out)
    served, ranked = report["served"], report["recommenders"]["DimeRec"]["seen_removed"]
    assert served["index"] == (index or "whole")
    assert sorted(served["metrics"]) == ["hr@10", "hr@20", "ndcg@10", "ndcg@20"]
    if index is None:
        assert served["same_first"] == 1.0
        assert served["metrics"] == pytest.approx({name: ranked[name] for name in served["metrics"]})
    done = dimerec(*asked[:-1], "--steps", 1)
    assert "--served asks as the bundle says; leave out --steps" in done.err


def test_recommenders_are_judged_by_what_people_went_on_to(dimerec: Run, tmp_path: Path) -> None:
    dataset = random_dataset(np.random.default_rng(0), np.full(30, 25), 600)
    write_dataset(dataset, tmp_path / "data")
    asked = ("evaluate", "--data", tmp_path / "data", "--split", "last-events")
    done = dimerec(*asked, "--horizon", 5, "--horizon", "rest", "--out", tmp_path / "report.json")
    assert done.code == 0
    assert "the next 5 events of 30 users" in done.out
    assert "all that was held out of 30 users" in done.out
    five, rest = json.loads((tmp_path / "report.json").read_text())["horizons"]
    split = leave_last_out(dataset)
    scorer = Popularity(split.train, 600)
    for found, events in ((five, 5), (rest, None)):
        ahead = horizon(split.test, events)
        expected = measure(scorer, ahead, dataset.catalogue, split.train)["recall@50"].mean()
        assert found["recommenders"]["Popularity"]["recall@50"] == pytest.approx(expected)
    assert rest["relevant"] > five["relevant"]


def test_a_model_s_draws_are_held_against_controls(dimerec: Run, tmp_path: Path) -> None:
    dataset = random_dataset(np.random.default_rng(1), np.full(25, 20), 40)
    write_dataset(dataset, tmp_path / "data")
    serving = make_serving(interest_mode="both")
    config = TrainingConfig.model_validate({"serving": serving, "split": "last-events"})
    run = tmp_path / "run"
    open_run(run, RunConfig(training=config, data_fingerprint=dataset.fingerprint))
    write_checkpoint(run / BEST_FILE, make_model(40))
    asked = ("evaluate", "--run", run, "--data", tmp_path / "data")
    done = dimerec(*asked, "--horizon", 5, "--controls", "--noise-seeds", 2, "--users", 20)
    assert done.code == 0
    for shown in ("(b), samples", "budget recall@200", "nll-next", "brier", "ece", "as a retrieval stage"):
        assert shown in done.out
    report = json.loads((run / "evaluation-test.json").read_text())
    (found,) = report["stages"]
    assert (found["events"], found["users"], found["seeds"]) == (5, 20, 2)
    split, model = leave_last_out(dataset), make_model(40)
    others: dict[str, list[Scorer]] = {
        "ItemKNN": [ItemKNN.tuned(split, 40)],
        "Popularity": [Popularity(split.train, 40)],
    }
    expected = stage_report(
        fitted_sides(model, serving, others, split),
        sample(horizon(split.test, 5), 20, 0),
        dataset.catalogue,
        split.train,
        seeds=(0, 1),
        generator=np.random.default_rng(0),
    )
    assert StageReport.model_validate(found) == expected


@pytest.mark.parametrize("given", [("--horizon", "5"), ("--run", "run")])
def test_controls_need_a_model_and_a_horizon(
    dimerec: Run, data: Path, run_directory: Path, given: tuple[str, ...]
) -> None:
    model = [run_directory if word == "run" else word for word in given]
    done = dimerec("evaluate", "--data", data, *model, "--controls")
    assert (done.code, done.out) == (1, "")
    assert "give --run or --bundles, and --horizon" in done.err


def test_controls_judge_the_draws_that_a_bundle_has_where_guidance_answers(
    dimerec: Run, tmp_path: Path
) -> None:
    dataset = random_dataset(np.random.default_rng(1), np.full(25, 20), 40)
    write_dataset(dataset, tmp_path / "data")
    model = make_model(40)
    publish(
        *(tmp_path / "bundles", model, dataset.catalogue, make_index(model)),
        serving=make_serving(interest_mode="guidance"),
        metrics={},
        data_fingerprint=dataset.fingerprint,
        split="last-events",
    )
    asked = ("evaluate", "--bundles", tmp_path / "bundles", "--data", tmp_path / "data", "--horizon", 5)
    done = dimerec(*asked, "--controls", "--noise-seeds", 1, "--users", 5, "--out", tmp_path / "r.json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["recommenders"]["DimeRec"]["settings"]["interest_mode"] == "guidance"
    assert report["stages"][0]["sides"]["DimeRec"]["settings"]["interests"] == 4 + 2
    refused = dimerec(*asked, "--controls", "--interest-mode", "guidance")
    assert (refused.code, refused.out) == (1, "")
    assert "take draws or both" in refused.err


@pytest.mark.parametrize("given", ["0", "-1", "five", "10001", "٥", ""])
def test_a_horizon_that_is_none_is_refused(dimerec: Run, data: Path, given: str) -> None:
    done = dimerec("evaluate", "--data", data, f"--horizon={given}")
    assert (done.code, done.out) == (1, "")
    assert "--horizon" in done.err
    assert "1 to 10000, or rest" in done.err


def test_a_horizon_beyond_what_is_held_out_is_refused_before_anything_is_measured(
    dimerec: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.evaluate.baselines", lambda *_: pytest.fail("baselines were fitted"))
    done = dimerec("evaluate", "--data", data, "--horizon", "5")
    assert done.code == 1
    assert "--split last-events or window" in done.err
