"""The whole comparison of a small model, each number by a plain way of its own."""

import math

import numpy as np
import pytest

from model.batch import collate
from model.dimerec import DimeRec
from model.interests import InterestFinder, Interests, InterestSettings, history_seeds
from tests.factories import make_model, make_serving
from tests.training.evaluation.test_evaluation import RandomScorer
from tests.training.random_logs import random_dataset
from training.baselines.popularity import Popularity
from training.data.dataset import Dataset
from training.data.splits import Split, leave_last_out
from training.errors import ConfigError
from training.evaluation.horizon import Horizon, horizon, sample
from training.evaluation.scorer import Scorer
from training.evaluation.stage.fitting import Fitted, fitted_sides, sides_by_steps
from training.evaluation.stage.report import StageReport, stage_report

ITEMS, DRAWS = 120, 4
SERVING = make_serving(interest_mode="both", draws=DRAWS)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return random_dataset(np.random.default_rng(3), np.full(25, 20), ITEMS)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return leave_last_out(dataset)


@pytest.fixture(scope="module")
def model() -> DimeRec:
    return make_model(ITEMS)


@pytest.fixture(scope="module")
def sides(model: DimeRec, split: Split) -> dict[str, Fitted]:
    return fitted_sides(model, SERVING, {"random": [RandomScorer(ITEMS)]}, split)


@pytest.fixture(scope="module")
def report(sides: dict[str, Fitted], dataset: Dataset, split: Split) -> StageReport:
    return measured(sides, dataset, split, horizon(split.test, 5))


def measured(sides: dict[str, Fitted], dataset: Dataset, split: Split, ahead: Horizon) -> StageReport:
    generator = np.random.default_rng(0)
    return stage_report(sides, ahead, dataset.catalogue, split.train, seeds=(0, 1), generator=generator)


def interests(model: DimeRec, history: list[int], seed: int) -> Interests:
    batch = collate([history], model.config.max_length)
    settings = InterestSettings(DRAWS, SERVING.steps, "both", SERVING.guidance_weight)
    (found,) = InterestFinder(model).find(batch, [settings], history_seeds(batch, seed))
    return found


def probabilities(model: DimeRec, history: list[int], temperature: float, seed: int) -> dict[int, float]:
    """p of every unseen item, by plain loops over what the finder finds."""
    found = interests(model, history, seed)
    vectors = model.item_vectors().detach().numpy().astype(float)
    total = dict.fromkeys(set(range(1, ITEMS + 1)) - set(history), 0.0)
    for vector, weight in zip(found.vectors.astype(float), found.weights, strict=True):
        grown = {item: math.exp(float(vector @ vectors[item - 1]) / temperature) for item in total}
        for item, value in grown.items():
            total[item] += float(weight) * value / sum(grown.values())
    return total


def test_dimerec_s_own_figures_are_those_of_plain_loops(
    model: DimeRec, sides: dict[str, Fitted], report: StageReport, dataset: Dataset, split: Split
) -> None:
    ahead = horizon(split.test, 5)
    temperature = sides["DimeRec"].settings["temperature"]
    recalls, of_next, of_all, brier = [], [], [], []
    for seed in (0, 1):
        for row in range(len(ahead)):
            history, relevant = ahead.histories[row].tolist(), set(ahead.relevant(row).tolist())
            p = probabilities(model, history, temperature, seed)
            first = sorted(p, key=lambda item: -p[item])[:50]
            recalls.append(len(relevant & set(first)) / len(relevant))
            of_all.append(-sum(math.log(p[item]) for item in relevant) / len(relevant))
            following = int(ahead.histories.items[ahead.histories.ends[row]])
            if following in p:
                of_next.append(-math.log(p[following]))
                brier.append(
                    sum(
                        (
                            sum(
                                share for item, share in p.items() if name in dataset.catalogue.category(item)
                            )
                            - (name in dataset.catalogue.category(following))
                        )
                        ** 2
                        for name in dataset.catalogue.category_names
                    )
                )
    found = report.sides["DimeRec"].metrics
    assert found["recall@50"] == pytest.approx(np.mean(recalls), abs=1e-3)
    assert found["nll"] == pytest.approx(np.mean(of_all), rel=1e-4)
    assert found["nll-next"] == pytest.approx(np.mean(of_next), rel=1e-4)
    assert found["brier"] == pytest.approx(np.mean(brier), rel=1e-4)


def test_budgets_and_draws_are_those_of_plain_loops(
    model: DimeRec, report: StageReport, split: Split
) -> None:
    ahead = horizon(split.test, 5)
    vectors = model.item_vectors().detach().numpy()
    recalls, read = [], []
    best_of: dict[int, list[bool]] = {count: [] for count in (1, 2, 4)}
    pairs, with_guidance = [], []
    for seed in (0, 1):
        for row in range(len(ahead)):
            history, relevant = ahead.histories[row].tolist(), set(ahead.relevant(row).tolist())
            found = interests(model, history, seed)
            unseen = [item for item in range(1, ITEMS + 1) if item not in history]
            affinities = found.vectors @ vectors.T
            lists = [[item + 1 for item in np.argsort(-of) if item + 1 in unseen] for of in affinities]
            met: list[int] = []
            looked = 0
            for item in (of[turn] for turn in range(len(unseen)) for of in lists):
                if len(met) < 50:
                    looked += 1
                    met += [] if item in met else [item]
            recalls.append(len(relevant & set(met)) / len(relevant))
            read.append(looked)
            following = int(ahead.histories.items[ahead.histories.ends[row]])
            for count, hits in best_of.items():
                hits.append(any(following in of[:20] for of in lists[:count]))
            draws, guidance = found.vectors[:DRAWS], found.vectors[DRAWS:]
            pairs.append(np.mean([draws[i] @ draws[j] for i in range(DRAWS) for j in range(DRAWS) if i != j]))
            with_guidance.append(np.mean([max(float(draw @ one) for one in guidance) for draw in draws]))
    metrics = report.sides["DimeRec"].metrics
    assert metrics["budget_recall@50"] == pytest.approx(np.mean(recalls), abs=1e-3)
    assert metrics["read@50"] == pytest.approx(np.mean(read), rel=1e-3)
    for count, hits in best_of.items():
        assert metrics[f"best_of_{count}"] == pytest.approx(np.mean(hits))
    assert metrics["pairwise_cosine"] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert metrics["guidance_cosine"] == pytest.approx(np.mean(with_guidance), abs=1e-5)


def test_several_fits_are_one_side_with_their_mean(dataset: Dataset, split: Split, model: DimeRec) -> None:
    first, second = RandomScorer(ITEMS), Popularity(split.train, ITEMS)
    others: dict[str, list[Scorer]] = {"first": [first], "second": [second], "both": [first, second]}
    fitted = fitted_sides(model, SERVING, others, split)
    assert [fitted[name].settings["fits"] for name in others] == [1, 1, 2]
    found = measured(fitted, dataset, split, horizon(split.test, 5)).sides
    for metric, value in found["both"].metrics.items():
        if not metric.startswith("categories_at"):
            assert value == pytest.approx(
                (found["first"].metrics[metric] + found["second"].metrics[metric]) / 2
            )


def test_other_numbers_of_steps_are_asked_of_the_same_model(
    model: DimeRec, dataset: Dataset, split: Split, report: StageReport
) -> None:
    sides = sides_by_steps(model, SERVING, split, (1, 2, 8, 16))  # served with 2, and the model has 8
    assert list(sides) == ["DimeRec", "1 step", "8 steps"]
    found = measured(sides, dataset, split, horizon(split.test, 5)).sides
    own = report.sides["DimeRec"].metrics
    assert found["DimeRec"].metrics["nll"] == own["nll"]
    assert found["1 step"].metrics["nll"] != own["nll"]


def test_the_sides_are_the_model_s_the_controls_and_the_others(
    sides: dict[str, Fitted], report: StageReport
) -> None:
    assert list(report.sides) == [
        *("DimeRec", "draws alone", "control (a), chance", "control (b), samples", "guidance", "random")
    ]
    assert {side: of.settings["interests"] for side, of in report.sides.items()} == {
        **dict.fromkeys(list(sides)[:4], DRAWS + 2),
        "draws alone": DRAWS,
        "guidance": 2,
        "random": 1,
    }
    assert report.sides["random"].settings["distances"] == ITEMS
    assert report.sides["guidance"].settings["merge"] in ("mean", "max")


def test_the_controls_are_as_near_to_the_guidance_as_the_draws(report: StageReport) -> None:
    cosine = {name: side.metrics.get("guidance_cosine") for name, side in report.sides.items()}
    own = cosine["DimeRec"]
    assert cosine["control (a), chance"] == pytest.approx(own, abs=1e-5)
    assert cosine["control (b), samples"] == pytest.approx(own, abs=0.03)
    assert report.sides["control (b), samples"].settings["pull"] > 0


def test_all_draws_together_have_the_best_of_each(report: StageReport) -> None:
    for name in ("DimeRec", "control (a), chance", "control (b), samples"):
        metrics = report.sides[name].metrics
        assert metrics["best_of_1"] <= metrics["best_of_2"] <= metrics["best_of_4"]
    assert "best_of_1" not in report.sides["guidance"].metrics


def test_differences_are_the_first_less_each_other(report: StageReport) -> None:
    assert {one.first for one in report.comparisons} == {"DimeRec"}
    assert {one.metric for one in report.comparisons if one.second == "guidance"} >= {
        *("recall@50", "budget_recall@200", "nll", "nll-next", "brier", "ece", "category_recall@20")
    }
    for one in report.comparisons:
        means = [report.sides[name].metrics[one.metric] for name in (one.first, one.second)]
        assert one.mean == pytest.approx(means[0] - means[1], abs=1e-9)
        assert one.low <= one.mean <= one.high
        assert one.lower_is_better == (one.metric in ("nll", "nll-next", "brier", "ece"))


def test_a_loss_is_better_low(report: StageReport) -> None:
    one = next(one for one in report.comparisons if one.metric == "nll")
    clear = one.model_copy(update={"mean": -1.0, "low": -2.0, "high": -0.5})
    assert clear.verdict == f"{one.first} is better"
    assert clear.model_copy(update={"metric": "hit@20"}).verdict == f"{one.second} is better"


def test_the_same_seeds_give_the_same_report(
    sides: dict[str, Fitted], report: StageReport, dataset: Dataset, split: Split
) -> None:
    assert measured(sides, dataset, split, horizon(split.test, 5)) == report


def test_a_user_s_values_do_not_depend_on_the_other_users(
    sides: dict[str, Fitted], dataset: Dataset, split: Split
) -> None:
    ahead = horizon(split.test, 5)
    some = {name: sides[name] for name in ("DimeRec", "control (b), samples")}
    each = [sample(ahead, count, 1) for count in (1, 24)]
    assert [len(one) for one in each] == [1, 24]
    alone = measured(some, dataset, split, each[0])
    assert alone.users == 1
    assert alone.sides["DimeRec"].metrics["nll"] > 0
    assert sample(ahead, None, 0) is ahead
    assert sample(ahead, 25, 0) is ahead


def test_draws_that_are_all_there_is_stand_once(model: DimeRec, split: Split) -> None:
    serving = SERVING.model_copy(update={"interest_mode": "draws"})
    assert "draws alone" not in fitted_sides(model, serving, {}, split)


def test_guidance_alone_has_no_draws_to_judge(model: DimeRec, split: Split) -> None:
    serving = SERVING.model_copy(update={"interest_mode": "guidance"})
    with pytest.raises(ConfigError, match="--interest-mode guidance has none"):
        fitted_sides(model, serving, {}, split)
