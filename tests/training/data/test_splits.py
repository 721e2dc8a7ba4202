from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.training.random_logs import datasets, random_dataset
from training.data.dataset import Dataset
from training.data.splits import (
    Sequences,
    Split,
    Targets,
    by_time,
    by_window,
    held_out_after,
    leave_one_out,
)
from training.errors import DataError

Expected = list[tuple[int, list[int], int]]
"""(user, history, target)"""


def listed(targets: Targets) -> Expected:
    return [
        (int(user), targets.histories[row].tolist(), int(item))
        for row, (user, item) in enumerate(zip(targets.users, targets.items, strict=True))
    ]


def sequences(train: Sequences) -> list[list[int]]:
    return [
        train.items[start:end].tolist() for start, end in zip(train.offsets, train.offsets[1:], strict=False)
    ]


def check(split: Split, train: list[list[int]], validation: Expected, test: Expected) -> None:
    assert sequences(split.train) == train
    assert listed(split.validation) == validation
    assert listed(split.test) == test


@given(datasets())
def test_leave_one_out_is_the_plain_loop(dataset: Dataset) -> None:
    train, validation, test = [], [], []
    for user in range(len(dataset)):
        events = dataset.history(user).tolist()
        if len(events) < 3:
            train.append(events)
            continue
        train.append(events[:-2])
        validation.append((user, events[:-2], events[-2]))
        test.append((user, events[:-1], events[-1]))
    check(leave_one_out(dataset), train, validation, test)


@given(datasets(min_users=10))
def test_by_time_holds_out_the_sequences_that_end_last(dataset: Dataset) -> None:
    users = len(dataset)
    ends = [dataset.timestamps[end - 1] for end in dataset.offsets[1:]]
    in_order = sorted(range(users), key=lambda user: (ends[user], user))
    trained, validated = in_order[: users * 8 // 10], in_order[users * 8 // 10 : users * 9 // 10]
    train, validation, test = [], Expected(), Expected()
    for user in range(users):
        events = dataset.history(user).tolist()
        train.append(events if user in trained else [])
        if user not in trained:
            held_out = validation if user in validated else test
            held_out += [(user, events[:place], events[place]) for place in range(1, len(events))]
    check(by_time(dataset), train, validation, test)


@given(datasets())
def test_by_window_predicts_the_first_event_of_each_later_window(dataset: Dataset) -> None:
    assert dataset.windows is not None
    train, held_out = [], {window: Expected() for window in (1, 2)}
    for user in range(len(dataset)):
        events = dataset.history(user).tolist()
        windows = dataset.windows[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()
        train.append([item for item, window in zip(events, windows, strict=True) if window == 0])
        for window, targets in held_out.items():
            if window in windows and windows.index(window) > 0:
                place = windows.index(window)
                targets.append((user, events[:place], events[place]))
    check(by_window(dataset), train, held_out[1], held_out[2])


@given(datasets())
def test_both_later_windows_are_what_follows_the_first_event_of_either(dataset: Dataset) -> None:
    assert dataset.windows is not None
    expected = []
    for user in range(len(dataset)):
        events = dataset.history(user).tolist()
        windows = dataset.windows[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()
        places = [windows.index(window) for window in (1, 2) if window in windows and windows.index(window)]
        if places:
            expected.append((user, events[: min(places)], events[min(places) :]))
    found = held_out_after(by_window(dataset))
    items, ends = found.histories.items, found.histories.ends
    futures = [items[begin:end].tolist() for begin, end in zip(ends, found.ends, strict=True)]
    listed_futures = [
        (user, history, future) for (user, history, _), future in zip(listed(found), futures, strict=True)
    ]
    assert sorted(listed_futures) == expected
    assert found.items.tolist() == [future[0] for future in futures]


def test_the_flattened_histories_say_where_each_event_is() -> None:
    dataset = random_dataset(np.random.default_rng(1), np.array([4, 7, 3]), items=9)
    histories = leave_one_out(dataset).test.histories
    rows, positions = histories.flattened()
    assert rows.tolist() == [0] * 3 + [1] * 6 + [2] * 2
    assert dataset.items[positions].tolist() == [int(item) for i in range(3) for item in histories[i]]
    second = histories.batch(1, 1)
    assert [second[0].tolist(), len(second)] == [histories[1].tolist(), 1]


def test_histories_share_the_log() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.full(20, 8), items=5)
    for split in (leave_one_out(dataset), by_time(dataset), by_window(dataset)):
        assert split.test.histories.items is dataset.items


def test_time_that_is_only_an_order_cannot_be_split_by() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.full(20, 8), items=5)
    with pytest.raises(DataError, match="needs real timestamps"):
        by_time(replace(dataset, timestamp_unit="order"))


def test_too_few_users_cannot_be_split_by_time() -> None:
    with pytest.raises(DataError, match="at least 10 users, here are 9"):
        by_time(random_dataset(np.random.default_rng(0), np.full(9, 8), items=5))


def test_windows_must_be_there_and_in_order() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.array([3]), items=5)
    with pytest.raises(DataError, match="--window-column"):
        by_window(replace(dataset, windows=None))
    with pytest.raises(DataError, match="must follow each other as train, validation, test"):
        by_window(replace(dataset, windows=np.array([0, 2, 1], np.int8)))
