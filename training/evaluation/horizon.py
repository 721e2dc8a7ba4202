"""Recommendations judged as a retrieval stage is: by all that people went on to, not by one next item.

A horizon is the next N events of a user, or the rest of the part that is held out. Relevant are its distinct
items that the history does not have; every item is a candidate, those of the history are removed. The
protocol is that of ComiRec (Cen et al., KDD 2020, section 4.1): recall@k = |L ∩ R| / |R|, mean over users.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from index.catalogue import Catalogue
from training.data.splits import Histories, Positions, Sequences, Targets
from training.errors import DataError
from training.evaluation.bootstrap import Compared, resampled
from training.evaluation.metrics import top_items
from training.evaluation.ranking import block_of, without_seen
from training.evaluation.scorer import Scorer

RECALL_KS = (50, 200, 500)
"""Sizes of candidate sets that a ranker is given."""
LIST_KS = (20, 50)
"""Lists that are judged by whether they serve the session at all, and each taste in it."""

Values = dict[str, npt.NDArray[np.float64]]
"""A metric's name → its value for each user `(users,)`; NaN where it is undefined."""


@dataclass(frozen=True)
class Horizon:
    """Histories, and what followed each, as stretches of one flat log; one a user."""

    events: int | None
    """Events looked ahead; None: all that are held out."""
    histories: Histories
    ends: Positions
    """`(users,)`; the future of user i is `items[histories.ends[i] : ends[i]]`."""
    users: Positions

    def __len__(self) -> int:
        return len(self.users)

    def relevant(self, row: int) -> npt.NDArray[np.int32]:
        """The distinct items of a user's future that the history does not have."""
        future = self.histories.items[self.histories.ends[row] : self.ends[row]]
        new: npt.NDArray[np.int32] = np.setdiff1d(future, self.histories[row])
        return new


class HorizonReport(BaseModel):
    """Recommenders by what people went on to; written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int | None
    """Events looked ahead; None: all that are held out."""
    users: int
    relevant: float
    """Mean number of relevant items of a user."""
    recommenders: dict[str, dict[str, float]]
    """`recall@k`, `hit@k` and, where items have categories, `category_recall@k`: means over users."""
    comparisons: list[Compared]


def horizon(targets: Targets, events: int | None) -> Horizon:
    """The events of each user of `targets` from the first of the user's targets on, within the part.

    `events`: so many, and users of whom fewer are held out are left out; None: all that are. Users with
    nothing new are left out, too. Raises DataError where nobody is left.
    """
    users, first = np.unique(targets.users, return_index=True)
    begins = targets.histories.ends[first]
    held_out = targets.ends[first]
    ends = held_out if events is None else begins + events
    long_enough = ends <= held_out
    found = _chosen(Horizon(events, targets.histories, ends, users), first, long_enough)
    new = np.array([len(found.relevant(row)) > 0 for row in range(len(found))], bool)
    found = _chosen(found, np.arange(len(found)), new)
    if not len(found):
        raise DataError(
            f"nobody has {events or 'any'} new events after the history at this part of the split;"
            " take a shorter horizon, or --split last-events or window"
        )
    return found


def future(events: int | None) -> str:
    """A horizon of so many events, or of all that are held out, in words."""
    return "all that was held out" if events is None else f"the next {events} events"


def sample(ahead: Horizon, users: int | None, seed: int) -> Horizon:
    """`users` of a horizon in their order, drawn without replacement; None, or no more there: all."""
    if users is None or users >= len(ahead):
        return ahead
    kept = np.zeros(len(ahead), bool)
    kept[np.random.default_rng(seed).choice(len(ahead), users, replace=False)] = True
    return _chosen(ahead, np.arange(len(ahead)), kept)


def measure(
    scorer: Scorer,
    horizon: Horizon,
    catalogue: Catalogue,
    train: Sequences,
    *,
    on_progress: Callable[[int], object] | None = None,
) -> Values:
    """Every metric for every user of the horizon.

    `hit@k`: 1 where the first k hold anything relevant. `category_recall@k`: the part of the relevant items'
    categories that the first k have between them, each category weighing −log of its share of the events in
    `train`. `on_progress` is called with the number of users of each finished batch.
    """
    weights = category_weights(catalogue, train)
    found: dict[str, list[npt.NDArray[np.float64]]] = {}
    size = block_of(scorer.items)
    for first in range(0, len(horizon), size):
        rows = range(first, min(first + size, len(horizon)))
        histories = horizon.histories.batch(first, size)
        top = top_items(without_seen(scorer.score(histories), histories), max(RECALL_KS))
        relevant = [horizon.relevant(row) for row in rows]
        for name, values in (recalls(top, relevant) | tastes(top, relevant, catalogue, weights)).items():
            found.setdefault(name, []).append(values)
        if on_progress is not None:
            on_progress(len(rows))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def report(horizon: Horizon, measured: dict[str, Values], *, generator: np.random.Generator) -> HorizonReport:
    """Means, and differences between the first recommender and each of the others."""
    return HorizonReport(
        events=horizon.events,
        users=len(horizon),
        relevant=float(np.mean([len(horizon.relevant(row)) for row in range(len(horizon))])),
        recommenders={name: means(values) for name, values in measured.items()},
        comparisons=compared(measured, horizon, generator),
    )


def means(values: Values) -> dict[str, float]:
    """The mean of each metric over the users for whom it is defined; without those that nobody has."""
    return {metric: float(np.nanmean(of)) for metric, of in values.items() if not np.isnan(of).all()}


def compared(
    measured: Mapping[str, Values], horizon: Horizon, generator: np.random.Generator
) -> list[Compared]:
    """The first less each of the others, of every metric that both have, over users for whom both have it."""
    first, *others = measured
    found = []
    for second in others:
        for metric, values in measured[first].items():
            if metric not in measured[second]:
                continue
            differences = values - measured[second][metric]
            defined = ~np.isnan(differences)
            if defined.any():
                of = resampled(differences[defined], horizon.users[defined], generator=generator)
                found.append(Compared(first=first, second=second, metric=metric, **asdict(of)))
    return found


def _chosen(found: Horizon, rows: Positions, kept: npt.NDArray[np.bool_]) -> Horizon:
    """Some users of it; `rows` `(users,)`: the history of each, of which it may have more."""
    histories = found.histories
    rows = rows[kept]
    some = Histories(histories.items, histories.starts[rows], histories.ends[rows])
    return Horizon(found.events, some, found.ends[kept], found.users[kept])


def recalls(top: npt.NDArray[np.int64], relevant: Sequence[npt.NDArray[np.int32]]) -> Values:
    """`recall@k` and `hit@k` of lists of item rows, best first; `relevant`: of each."""
    reached = np.cumsum(_hits(top, relevant), axis=1)
    sizes = np.array([len(items) for items in relevant])
    found = {f"recall@{k}": reached[:, k - 1] / sizes for k in RECALL_KS}
    return found | {f"hit@{k}": (reached[:, k - 1] > 0).astype(np.float64) for k in LIST_KS}


def recall(
    lists: npt.NDArray[np.int64], relevant: Sequence[npt.NDArray[np.int32]]
) -> npt.NDArray[np.float64]:
    """The part of each user's relevant items that are on the list `(users,)`."""
    sizes = np.array([len(items) for items in relevant])
    found: npt.NDArray[np.float64] = _hits(lists, relevant).sum(axis=1) / sizes
    return found


def _hits(lists: npt.NDArray[np.int64], relevant: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.bool_]:
    """True where an item of a list is relevant; row 0, no item, never is."""
    wanted = np.concatenate(relevant)
    mask = np.zeros((len(lists), max(lists.max(), wanted.max()) + 1), np.bool_)
    mask[np.repeat(np.arange(len(lists)), [len(items) for items in relevant]), wanted] = True
    found: npt.NDArray[np.bool_] = np.take_along_axis(mask, lists, axis=1)
    return found


def tastes(
    top: npt.NDArray[np.int64],
    relevant: Sequence[npt.NDArray[np.int32]],
    catalogue: Catalogue,
    weights: npt.NDArray[np.float64],
) -> Values:
    """`category_recall@k` of each list; none where no item has a category."""
    if not len(weights):
        return {}
    return {
        f"category_recall@{k}": category_recalls(top[:, :k], relevant, catalogue, weights) for k in LIST_KS
    }


def category_recalls(
    lists: npt.NDArray[np.int64],
    relevant: Sequence[npt.NDArray[np.int32]],
    catalogue: Catalogue,
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The part of the relevant items' categories that each list has `(users,)`; NaN where they have none."""
    wanted = _categories(relevant, catalogue)
    total = wanted @ weights
    reached = (wanted & _categories([items[items > 0] for items in lists], catalogue)) @ weights
    found: npt.NDArray[np.float64] = np.where(total > 0, reached / np.where(total > 0, total, 1), math.nan)
    return found


def _categories(lists: Sequence[npt.NDArray[Any]], catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    """The categories that the items of each list have `(lists, categories)`."""
    owners, codes = catalogue.category_codes(np.concatenate(lists))
    of_items = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    found = np.zeros((len(lists), len(catalogue.category_names)), bool)
    found[of_items[owners], codes] = True
    return found


def category_weights(catalogue: Catalogue, train: Sequences) -> npt.NDArray[np.float64]:
    """−log of each category's share of the training events `(categories,)`; 0 of one that has none."""
    if not catalogue.category_names:
        return np.zeros(0)
    rows, counts = np.unique(train.items, return_counts=True)
    owners, codes = catalogue.category_codes(rows.astype(np.int64))
    events = np.bincount(codes, weights=counts[owners], minlength=len(catalogue.category_names))
    shares = events / max(1, counts.sum())
    weights: npt.NDArray[np.float64] = -np.log(np.where(shares > 0, shares, 1.0))
    return weights
