"""Probabilities, budgets, calibration and lists at one recall, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brute

from tests.factories import make_catalogue
from training.data.splits import Histories, Targets
from training.errors import DataError
from training.evaluation.reranking import DELTAS
from training.evaluation.stage.budgets import fetched
from training.evaluation.stage.calibration import (
    BINS,
    brier_scores,
    calibration_error,
    category_shares,
    ece_differences,
    happened,
    surpluses,
)
from training.evaluation.stage.equal_recall import Curve, at_equal_recall, curves, equal_recall_differences
from training.evaluation.stage.mixture import fitted_temperature, log_probabilities, unseen
from training.evaluation.stage.sides import Answer


def random_affinities(seed: int, rows: int, interests: int, items: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (rows, interests, items)).astype("f4"))


@given(st.integers(0, 1000), st.floats(0.05, 3))
def test_probabilities_are_the_weighted_softmaxes_over_unseen_items(seed: int, temperature: float) -> None:
    affinities = random_affinities(seed, 2, 3, 9)
    histories = Histories(np.array([1, 4, 4, 9], np.int32), np.array([0, 3]), np.array([3, 4]))
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]], np.float32)
    found = log_probabilities(unseen(affinities, histories), weights, temperature).exp().numpy()
    for row, seen in ((0, {1, 4}), (1, {9})):
        expected = [0.0] * 9
        for interest in range(3):
            grown = {
                item: math.exp(float(affinities[row, interest, item - 1]) / temperature)
                for item in range(1, 10)
                if item not in seen
            }
            for item, value in grown.items():
                expected[item - 1] += float(weights[row, interest]) * value / sum(grown.values())
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert found[row].sum() == pytest.approx(1, abs=1e-5)


class Mixture:
    """Random interests, a function of the newest event."""

    seeded = False
    items = 12
    interests = 2

    def answer(self, histories: Histories, seed: int) -> Answer:
        newest = histories.items[histories.ends - 1].tolist()
        affinities = torch.cat([random_affinities(item + seed, 1, 2, 12) for item in newest])
        return Answer(affinities, np.array([[1 - item / 20, item / 20] for item in newest], np.float32))


def test_the_temperature_makes_validation_likeliest() -> None:
    generator = np.random.default_rng(0)
    items = generator.integers(1, 13, 300).astype(np.int32)
    starts = np.arange(300)
    histories = Histories(items, starts, starts + 1)
    side = Mixture()
    answer = side.answer(histories, 0)
    stated = log_probabilities(unseen(answer.affinities, histories), answer.weights, 0.4)
    cumulated = stated.double().exp().numpy().cumsum(axis=1)
    drawn = (cumulated[:, :-1] <= generator.random((300, 1)) * cumulated[:, -1:]).sum(axis=1) + 1
    targets = Targets(histories, drawn.astype(np.int32), starts, starts + 1)

    def cost(log_temperature: np.ndarray) -> float:
        temperature = math.exp(float(np.ravel(log_temperature)[0]))
        log_p = log_probabilities(unseen(answer.affinities, histories), answer.weights, temperature)
        return -float(log_p[range(300), drawn - 1].mean())

    expected = brute(cost, (slice(math.log(0.1), math.log(2), 0.02),), finish=None)
    found = fitted_temperature(side, targets)
    assert math.log(found) == pytest.approx(float(expected), abs=0.03)
    assert found == pytest.approx(0.4, rel=0.3)


def test_a_temperature_needs_an_event_that_is_new() -> None:
    histories = Histories(np.array([3], np.int32), np.array([0]), np.array([1]))
    targets = Targets(histories, np.array([3], np.int32), np.array([0]), np.array([1]))
    with pytest.raises(DataError, match="no event of validation is new"):
        fitted_temperature(Mixture(), targets)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 15))
def test_candidates_are_read_from_the_interests_in_turn(seed: int, interests: int, k: int) -> None:
    affinities = random_affinities(seed, 2, interests, 11)
    affinities[0, :, :4] = -torch.inf
    found = fetched(affinities, k)
    for row in range(2):
        lists = [
            sorted(
                (item for item in range(1, 12) if affinities[row, one, item - 1] > -1e9),
                key=lambda item: -float(affinities[row, one, item - 1]),
            )
            for one in range(interests)
        ]
        met: list[int] = []
        counts: list[int] = []
        read = 0
        for turn in range(min(k, 11)):
            for one in range(interests):
                read += 1
                if turn < len(lists[one]) and lists[one][turn] not in met and len(met) < k:
                    met.append(lists[one][turn])
                    counts.append(read)
        assert found.items[row].tolist() == met + [0] * (k - len(met))
        assert found.read[row, : len(met)].tolist() == counts


@given(st.integers(0, 1000), st.integers(1, 40))
def test_calibration_is_that_of_plain_bins(seed: int, users: int) -> None:
    generator = np.random.default_rng(seed)
    catalogue = make_catalogue(30, seed)
    probabilities = generator.dirichlet(np.ones(30), users)
    items = generator.integers(1, 31, users)
    shares, outcomes = category_shares(probabilities, catalogue), happened(items, catalogue)
    names = catalogue.category_names
    pairs = []
    brier = []
    for user in range(users):
        total = 0.0
        for column, name in enumerate(names):
            share = sum(
                probabilities[user, row - 1] for row in range(1, 31) if name in catalogue.category(row)
            )
            outcome = name in catalogue.category(int(items[user]))
            assert shares[user, column] == pytest.approx(share)
            pairs.append((float(shares[user, column]), outcome))
            total += (share - outcome) ** 2
        brier.append(total)
    assert brier_scores(shares, outcomes) == pytest.approx(brier)
    pairs.sort(key=lambda pair: pair[0])
    expected = 0.0
    for part in np.array_split(np.arange(len(pairs)), BINS):
        if len(part):
            said = sum(pairs[index][0] for index in part) / len(part)
            was = sum(pairs[index][1] for index in part) / len(part)
            expected += len(part) / len(pairs) * abs(said - was)
    assert calibration_error(surpluses(shares, outcomes), len(names)) == pytest.approx(expected)


def test_what_is_stated_truly_is_calibrated_and_what_is_not_is_told_apart() -> None:
    generator = np.random.default_rng(0)
    shares = generator.uniform(0, 0.4, (3000, 5))
    outcomes = generator.random((3000, 5)) < shares
    told = {"true": [surpluses(shares, outcomes)], "bold": [surpluses(shares * 1.5, outcomes)]}
    assert calibration_error(told["true"][0], 5) < 0.015
    assert calibration_error(told["bold"][0], 5) == pytest.approx(0.1, abs=0.01)
    found = ece_differences(told, 5, generator=generator)["bold"]
    assert found.low < found.mean < found.high < 0
    assert found.mean == pytest.approx(
        calibration_error(told["true"][0], 5) - calibration_error(told["bold"][0], 5)
    )
    same = ece_differences({"one": told["true"], "other": told["true"]}, 5, generator=generator)["other"]
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_categories_at_one_recall_lie_between_two_deltas() -> None:
    falling = np.linspace(0.8, 0.3, 11)[:, None]
    rising = np.linspace(0.1, 0.6, 11)[:, None] + np.array([[0.0, 0.2]])
    strong = Curve(np.repeat(falling, 2, axis=1), rising)
    weak = Curve(np.repeat(falling - 0.05, 2, axis=1), rising)
    hopeless = Curve(np.repeat(falling - 0.5, 2, axis=1), rising)
    sides = {"strong": {20: strong, 50: strong}, "weak": {20: weak, 50: weak}}
    found = at_equal_recall(sides | {"hopeless": {20: hopeless, 50: hopeless}}, ["strong", "weak"])
    # .9 of .75 is .675: 2.5 steps of .05 after .8, 1.5 after .75
    assert found["strong"] == pytest.approx(
        {f"categories_at_equal_recall@{k}": 0.2 + 2.5 * 0.05 for k in (20, 50)}
    )
    assert found["weak"] == pytest.approx(
        {f"categories_at_equal_recall@{k}": 0.2 + 1.5 * 0.05 for k in (20, 50)}
    )
    assert found["hopeless"] == {}


def test_lists_by_delta_are_those_of_a_plain_choice() -> None:
    generator = np.random.default_rng(5)
    catalogue, weights = make_catalogue(120, 5), generator.random(len(make_catalogue(120, 5).category_names))
    top = np.stack([generator.permutation(120)[:110] + 1 for _ in range(3)])
    relevant = [np.sort(generator.permutation(120)[:size] + 1).astype(np.int32) for size in (1, 6, 9)]
    found = curves(top, relevant, catalogue, weights)[20]

    def overlap(one: int, other: int) -> float:
        first, second = set(catalogue.category(one)), set(catalogue.category(other))
        return len(first & second) / max(len(first | second), 1)

    def worth(names: set[str]) -> float:
        return sum(weights[catalogue.category_names.index(name)] for name in names)

    for step, delta in enumerate(DELTAS):
        for user in range(3):
            pool, chosen = top[user, :100].tolist(), list[int]()
            while len(chosen) < 20:
                scores = {
                    item: (1 - delta) / math.log2(2 + rank)
                    - delta * sum(overlap(item, other) for other in chosen) / max(len(chosen), 1)
                    for rank, item in enumerate(pool)
                    if item not in chosen
                }
                chosen.append(max(scores, key=scores.__getitem__))
            wanted = relevant[user].tolist()
            assert found.recalls[step, user] == pytest.approx(len({*wanted} & {*chosen}) / len(wanted))
            tastes = {name for item in wanted for name in catalogue.category(item)}
            listed = {name for item in chosen for name in catalogue.category(item)}
            assert found.categories[step, user] == pytest.approx(worth(tastes & listed) / worth(tastes))


def flat_at_first(best: float, rising: np.ndarray, users: int) -> dict[int, Curve]:
    """A curve as they are: recall falls with the square of δ, categories rise with δ."""
    deltas = np.linspace(0, 1, 11)[:, None]
    curve = Curve(np.repeat(best * (1 - 0.5 * deltas**2), users, axis=1), 0.5 + 0.4 * deltas + rising)
    return {20: curve, 50: curve}


def test_a_recall_that_is_hardly_higher_is_worth_hardly_more_categories() -> None:
    alike = {
        name: flat_at_first(best, np.zeros((1, 4)), 4) for name, best in (("one", 0.235), ("two", 0.233))
    }
    found = at_equal_recall(alike, ["one", "two"])
    one, two = (found[name]["categories_at_equal_recall@20"] for name in ("one", "two"))
    assert 0 < one - two < 0.02 * two


def test_differences_at_one_recall_are_those_of_resampled_users() -> None:
    generator = np.random.default_rng(0)
    users = 60
    noise = generator.normal(0, 0.05, (1, users))
    sides = {
        name: {
            k: Curve(
                np.clip(of.recalls + generator.normal(0, 0.1, (1, users)), 0, 1),
                np.where(np.arange(users) == 7, np.nan, of.categories),
            )
            for k, of in flat_at_first(0.5, noise + shift, users).items()
        }
        for name, shift in (("first", 0.1), ("second", 0.0))
    }
    (found,) = equal_recall_differences(sides, list(sides), generator=np.random.default_rng(1)).values()
    drawn = []
    for _ in range(400):
        rows = generator.integers(users, size=users)
        parts = {
            name: {k: Curve(of.recalls[:, rows], of.categories[:, rows]) for k, of in side.items()}
            for name, side in sides.items()
        }
        values = at_equal_recall(parts, list(sides))
        first, second = (values[name]["categories_at_equal_recall@20"] for name in sides)
        drawn.append(first - second)
    of = found["categories_at_equal_recall@20"]
    values = at_equal_recall(sides, list(sides))
    assert of.mean == pytest.approx(
        values["first"]["categories_at_equal_recall@20"] - values["second"]["categories_at_equal_recall@20"]
    )
    assert [of.low, of.high] == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]), abs=0.3 * float(np.std(drawn))
    )


def test_a_side_without_the_recall_has_no_difference_in_categories() -> None:
    sides = {name: flat_at_first(best, np.zeros((1, 5)), 5) for name, best in (("own", 0.5), ("poor", 0.3))}
    assert equal_recall_differences(sides, ["own"], generator=np.random.default_rng(0)) == {"poor": {}}
