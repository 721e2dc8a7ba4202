"""Splits: the events that a model learns from, and those that it has to predict.

A split never copies histories: a target's history is a stretch of the data set's flat log, given by where it
starts and ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.dataset import WINDOWS, Dataset
from training.errors import DataError

Positions = npt.NDArray[np.int64]
"""Places in the flat log."""

SplitName = Literal["leave-one-out", "last-events", "time", "window"]

TEST_EVENTS, VALIDATION_EVENTS = 10, 5
"""Chosen: of a user's last events, the sessions that retrieval is judged by (`leave_last_out`)."""


@dataclass(frozen=True)
class Sequences:
    """The training events of each user, oldest first, as stretches of one flat log."""

    items: npt.NDArray[np.int32]
    """`(events,)` item rows."""
    offsets: Positions
    """`(users + 1,)`: sequence u is `items[offsets[u] : offsets[u + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def events_per_item(self, items: int) -> npt.NDArray[np.int64]:
        """The events of each of `items` items `(items,)`."""
        return np.bincount(self.items, minlength=items + 1)[1:]


@dataclass(frozen=True)
class Histories:
    """Histories as stretches of one flat log; none is empty."""

    items: npt.NDArray[np.int32]
    """`(events,)` item rows of all users: the whole log, shared and never copied."""
    starts: Positions
    """`(rows,)`; history i is `items[starts[i] : ends[i]]`, oldest first."""
    ends: Positions

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.items[self.starts[row] : self.ends[row]]

    def batch(self, first: int, size: int) -> "Histories":
        """At most `size` histories from row `first` on."""
        rows = slice(first, first + size)
        return Histories(self.items, self.starts[rows], self.ends[rows])

    def flattened(self) -> tuple[Positions, Positions]:
        """Each event of each history: its row here `(events,)` and its position in `items` `(events,)`."""
        lengths = self.ends - self.starts
        rows = np.repeat(np.arange(len(self)), lengths)
        before = np.cumsum(lengths) - lengths
        return rows, np.arange(len(rows)) - before[rows] + self.starts[rows]


@dataclass(frozen=True)
class Targets:
    """Items to be predicted, each from the history before it."""

    histories: Histories
    items: npt.NDArray[np.int32]
    """`(rows,)` the item row that followed each history."""
    users: Positions
    """`(rows,)` index of the user in the data set; a user may have several targets."""
    ends: Positions
    """`(rows,)` where the user's held-out events, the target and those after it, end in the flat log."""

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, count: int, random: np.random.Generator) -> "Targets":
        """`count` of them in their order, drawn without replacement; all where there are no more."""
        if count >= len(self):
            return self
        return self.chosen(np.sort(random.choice(len(self), count, replace=False)))

    def chosen(self, rows: npt.NDArray[np.intp]) -> "Targets":
        """Those at `rows`."""
        histories = Histories(self.histories.items, self.histories.starts[rows], self.histories.ends[rows])
        return Targets(histories, self.items[rows], self.users[rows], self.ends[rows])


@dataclass(frozen=True)
class Split:
    """Events to learn from, to choose hyper-parameters on, and to report."""

    name: str
    train: Sequences
    validation: Targets
    test: Targets


def held_out_after(split: Split) -> Targets:
    """The first event of each user that a split holds out, for validation or for test, up to its last.

    For what people go on to over both parts. Of a split whose parts follow each other in a user's events.
    """
    first, second = (
        part.chosen(np.unique(part.users, return_index=True)[1]) for part in (split.validation, split.test)
    )
    last = dict(zip(second.users.tolist(), second.ends.tolist(), strict=True))
    ends = [last.get(user, end) for user, end in zip(first.users.tolist(), first.ends.tolist(), strict=True)]
    new = second.chosen(np.flatnonzero(~np.isin(second.users, first.users)))
    histories = Histories(
        first.histories.items,
        np.concatenate([first.histories.starts, new.histories.starts]),
        np.concatenate([first.histories.ends, new.histories.ends]),
    )
    return Targets(
        histories,
        np.concatenate([first.items, new.items]),
        np.concatenate([first.users, new.users]),
        np.concatenate([np.array(ends, dtype=new.ends.dtype), new.ends]),
    )


def leave_one_out(dataset: Dataset) -> Split:
    """Each user's last event is the test target, the one before it the validation target.

    The validation item belongs to the history at test. A user with fewer than three events only trains.
    """
    starts, ends = dataset.offsets[:-1], dataset.offsets[1:]
    held_out = ends - starts >= 3
    return Split(
        name="leave-one-out",
        train=_prefixes(dataset, np.where(held_out, ends - 2, ends)),
        validation=_targets_at(dataset, ends[held_out] - 2, ends[held_out] - 1),
        test=_targets_at(dataset, ends[held_out] - 1, ends[held_out]),
    )


def leave_last_out(dataset: Dataset) -> Split:
    """Each user's last ten events are test, the five before them validation; the first of each is its target.

    For what people go on to, `training.evaluation.horizon`. A user without an event before these only trains.
    """
    starts, ends = dataset.offsets[:-1], dataset.offsets[1:]
    held_out = ends - starts > TEST_EVENTS + VALIDATION_EVENTS
    tested = ends[held_out] - TEST_EVENTS
    validated = tested - VALIDATION_EVENTS
    trained = ends.copy()
    trained[held_out] = validated
    return Split(
        name="last-events",
        train=_prefixes(dataset, trained),
        validation=_targets_at(dataset, validated, tested),
        test=_targets_at(dataset, tested, ends[held_out]),
    )


def by_time(dataset: Dataset) -> Split:
    """Sequences in the order of their last event: the first 80 % train, then 10 % validate, 10 % test.

    The protocol of DreamRec (Yang et al., NeurIPS 2023): a held-out sequence takes no part in training, and
    every event of it but the first is a target. Raises DataError where timestamps are no real time.
    """
    if dataset.timestamp_unit == "order":
        raise DataError("the split by time needs real timestamps, these are an order; split leave-one-out")
    users, starts, ends = len(dataset), dataset.offsets[:-1], dataset.offsets[1:]
    if users < 10:
        raise DataError(f"the split by time is 8:1:1 and needs at least 10 users, here are {users}")
    by_end = np.argsort(dataset.timestamps[ends - 1], kind="stable")
    part = np.empty(users, np.int8)
    part[by_end] = np.searchsorted([users * 8 // 10, users * 9 // 10], np.arange(users), side="right")
    part_of_event, end_of_event = np.repeat(part, ends - starts), np.repeat(ends, ends - starts)

    def events_of(number: int) -> Targets:
        positions = np.flatnonzero(part_of_event == number)
        return _targets_at(dataset, positions, end_of_event[positions])

    return Split(
        name="time",
        train=_prefixes(dataset, np.where(part == 0, ends, starts)),
        validation=events_of(1),
        test=events_of(2),
    )


def by_window(dataset: Dataset) -> Split:
    """Train on the events in the log's `train` window; predict each user's first event in the later two.

    The history at test holds the validation window's events. Raises DataError where the log has no windows.
    """
    if dataset.windows is None:
        raise DataError("the split by window needs a window column; name it with `prepare --window-column`")
    users = np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))
    if np.any((np.diff(dataset.windows) < 0) & (np.diff(users) == 0)):
        raise DataError(f"the windows of a user's events must follow each other as {', '.join(WINDOWS)}")
    trained = np.bincount(users[dataset.windows == 0], minlength=len(dataset))

    def first_in(window: int) -> Targets:
        positions = np.flatnonzero(dataset.windows == window)
        _, first, events = np.unique(users[positions], return_index=True, return_counts=True)
        return _targets_at(dataset, positions[first], positions[first] + events)

    return Split(
        name="window",
        train=_prefixes(dataset, dataset.offsets[:-1] + trained),
        validation=first_in(1),
        test=first_in(2),
    )


SPLITS: dict[str, Callable[[Dataset], Split]] = {
    "leave-one-out": leave_one_out,
    "last-events": leave_last_out,
    "time": by_time,
    "window": by_window,
}
"""The splits by name, as the command line and a training configuration name them."""


def _prefixes(dataset: Dataset, ends: Positions) -> Sequences:
    """The events of each user before the position `ends[user]`."""
    edges = np.zeros(len(dataset.items) + 1, np.int8)  # +1 where a prefix begins, -1 where it has ended
    np.add.at(edges, dataset.offsets[:-1], 1)
    np.subtract.at(edges, ends, 1)
    kept = np.cumsum(edges[:-1], dtype=np.int8).astype(bool)
    offsets = np.concatenate([[0], np.cumsum(ends - dataset.offsets[:-1])])
    return Sequences(dataset.items[kept], offsets)


def _targets_at(dataset: Dataset, positions: Positions, ends: Positions) -> Targets:
    """The events at `positions` as targets, but for those that have no event of their user before them."""
    users = np.searchsorted(dataset.offsets, positions, side="right") - 1
    preceded = positions > dataset.offsets[users]
    positions, users = positions[preceded], users[preceded]
    histories = Histories(dataset.items, dataset.offsets[users], positions)
    return Targets(histories, dataset.items[positions], users, ends[preceded])
