"""What people went on to, against plain loops over sets."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.evaluation.test_evaluation import RandomScorer
from tests.training.random_logs import datasets, random_dataset
from training.data.dataset import Dataset
from training.data.splits import Targets, by_time, by_window, leave_last_out
from training.errors import DataError
from training.evaluation.horizon import LIST_KS, RECALL_KS, Horizon, horizon, measure, report


def plain(dataset: Dataset, targets: Targets, events: int | None) -> dict[int, tuple[list[int], set[int]]]:
    """User → history before the first target, and the new items that followed."""
    found: dict[int, tuple[list[int], set[int]]] = {}
    first = {user: row for row, user in reversed(list(enumerate(targets.users.tolist())))}
    for user, row in first.items():
        everything = dataset.history(user).tolist()
        begins = len(targets.histories[row])
        held_out = int(targets.ends[row] - dataset.offsets[user])
        if events is not None and begins + events > held_out:
            continue
        future = everything[begins : held_out if events is None else begins + events]
        new = set(future) - set(everything[:begins])
        if new:
            found[user] = everything[:begins], new
    return found


@given(
    datasets(min_users=10, max_events=22),
    st.sampled_from(["time", "window", "last-events"]),
    st.sampled_from([1, 3, 12, None]),
    st.sampled_from(["validation", "test"]),
)
def test_a_horizon_is_the_plain_loop(dataset: Dataset, split: str, events: int | None, part: str) -> None:
    of = {"time": by_time, "window": by_window, "last-events": leave_last_out}[split]
    targets: Targets = getattr(of(dataset), part)
    expected = plain(dataset, targets, events)
    if not expected:
        with pytest.raises(DataError, match="nobody has"):
            horizon(targets, events)
        return
    found = horizon(targets, events)
    assert {
        int(user): (found.histories[row].tolist(), set(found.relevant(row).tolist()))
        for row, user in enumerate(found.users)
    } == expected


@given(datasets(max_events=22))
def test_the_last_events_of_each_user_are_held_out(dataset: Dataset) -> None:
    split = leave_last_out(dataset)
    for part, held_out, later in ((split.test, 10, 0), (split.validation, 5, 10)):
        expected = {
            user: dataset.history(user)[-held_out - later : len(dataset.history(user)) - later].tolist()
            for user in range(len(dataset))
            if len(dataset.history(user)) > 15
        }
        found = {
            int(user): dataset.items[part.histories.ends[row] : part.ends[row]].tolist()
            for row, user in enumerate(part.users)
        }
        assert found == expected
    trained = np.diff(split.train.offsets).tolist()
    assert trained == [
        len(dataset.history(user)) - (15 if len(dataset.history(user)) > 15 else 0)
        for user in range(len(dataset))
    ]


def long_log(categories: bool = True) -> Dataset:
    dataset = random_dataset(np.random.default_rng(1), np.full(40, 24), items=600)
    if categories:
        return dataset
    catalogue = dataset.catalogue
    bare = type(catalogue)(
        item_ids=catalogue.item_ids,
        titles=list(catalogue.titles),
        categories=[()] * len(catalogue),
        popularity=catalogue.popularity,
    )
    return replace(dataset, catalogue=bare)


def test_a_horizon_of_validation_ends_before_the_test() -> None:
    split = leave_last_out(long_log())
    assert horizon(split.validation, 5).ends.tolist() == split.test.histories.ends.tolist()
    with pytest.raises(DataError, match="nobody has 6 new events"):
        horizon(split.validation, 6)


def ranking(scorer: RandomScorer, ahead: Horizon, row: int) -> list[int]:
    history = ahead.histories[row].tolist()
    scores = scorer.row(history)
    return sorted(set(range(1, scorer.items + 1)) - set(history), key=lambda item: (-scores[item - 1], item))


def test_the_metrics_are_those_of_plain_sets() -> None:
    dataset = long_log()
    split, scorer = leave_last_out(dataset), RandomScorer(600)
    ahead = horizon(split.test, None)
    found = measure(scorer, ahead, dataset.catalogue, split.train)
    trained = split.train.items.tolist()
    weight = {
        name: -math.log(sum(name in dataset.catalogue.category(item) for item in trained) / len(trained))
        for name in dataset.catalogue.category_names
        if any(name in dataset.catalogue.category(item) for item in trained)
    }
    for row in range(len(ahead)):
        order, relevant = ranking(scorer, ahead, row), set(ahead.relevant(row).tolist())
        for k in RECALL_KS:
            assert found[f"recall@{k}"][row] == pytest.approx(len(relevant & set(order[:k])) / len(relevant))
        for k in LIST_KS:
            assert found[f"hit@{k}"][row] == bool(relevant & set(order[:k]))
            wanted = {name for item in relevant for name in dataset.catalogue.category(item)}
            served = {name for item in order[:k] for name in dataset.catalogue.category(item)}
            total = sum(weight.get(name, 0) for name in wanted)
            value = found[f"category_recall@{k}"][row]
            if total:
                assert value == pytest.approx(sum(weight.get(name, 0) for name in wanted & served) / total)
            else:
                assert math.isnan(value)


def test_without_categories_recall_is_all_that_is_told() -> None:
    dataset = long_log(categories=False)
    split = leave_last_out(dataset)
    ahead = horizon(split.test, 5)
    measured = {
        "first": measure(RandomScorer(600), ahead, dataset.catalogue, split.train),
        "second": measure(RandomScorer(600), ahead, dataset.catalogue, split.train),
    }
    found = report(ahead, measured, generator=np.random.default_rng(0))
    assert set(found.recommenders["first"]) == {f"recall@{k}" for k in RECALL_KS} | {
        f"hit@{k}" for k in LIST_KS
    }
    assert {(one.mean, one.low, one.high) for one in found.comparisons} == {(0, 0, 0)}
    assert (found.users, found.events) == (40, 5)
    assert found.relevant == np.mean([len(ahead.relevant(row)) for row in range(40)])
