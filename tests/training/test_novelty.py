"""How far common items may count less, against plain loops."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.training.logs import forking_dataset
from training.data.splits import Histories, Split, leave_one_out
from training.evaluation.bootstrap import resampled
from training.evaluation.metrics import Scores
from training.novelty import POWERS, fit_novelty, lists_at, measured


class Peaked:
    """Logarithms of probabilities that follow from a history's newest item, the same in every batch."""

    def __init__(self, items: int, by_events: npt.NDArray[np.int64]) -> None:
        self.items = items
        self._common = np.log1p(by_events)

    def score(self, histories: Histories) -> Scores:
        newest = np.array([histories[row][-1] for row in range(len(histories))])
        chance = np.random.default_rng(0).standard_normal((self.items, self.items))
        scores = 0.5 * self._common + chance[newest - 1]
        return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(forking_dataset())


@pytest.fixture(scope="module")
def events(split: Split) -> npt.NDArray[np.int64]:
    return split.train.events_per_item(len(forking_dataset().catalogue))


def by_hand(split: Split, events: npt.NDArray[np.int64], power: float) -> dict[str, float]:
    targets, items = split.validation, len(events)
    scores = Peaked(items, events).score(targets.histories)
    hits, gains, listed, shares = [], [], set(), []
    for row in range(len(targets)):
        seen = set(targets.histories[row].tolist())
        left = [item for item in range(1, items + 1) if item not in seen]
        best = sorted(left, key=lambda item: -(scores[row][item - 1] - power * np.log(1 + events[item - 1])))
        target = int(targets.items[row])
        rank = best.index(target) + 1 if target in best else 10**9
        hits.append(rank <= 10)
        gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
        listed |= set(best[:20])
        shares += [events[item - 1] / events.sum() for item in best[:20]]
    return {
        "hr@10": float(np.mean(hits)),
        "ndcg@10": float(np.mean(gains)),
        "coverage@20": len(listed) / items,
        "share@20": float(np.mean(shares)),
    }


def hits_by_hand(split: Split, events: npt.NDArray[np.int64], power: float) -> npt.NDArray[np.float64]:
    targets = split.validation
    scores = Peaked(len(events), events).score(targets.histories) - power * np.log1p(events)
    hits = []
    for row, target in enumerate(targets.items.tolist()):
        seen = set(targets.histories[row].tolist())
        above = [item for item in range(1, len(events) + 1) if item not in seen]
        better = sum(scores[row][item - 1] > scores[row][target - 1] for item in above)
        hits.append(target not in seen and better < 10)
    return np.array(hits, dtype=np.float64)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_lists_are_measured_as_the_plain_loops_do(
    split: Split, events: npt.NDArray[np.int64], power: float
) -> None:
    (lists,) = lists_at(Peaked(len(events), events), events, [power], split.validation)
    assert measured(lists, events) == pytest.approx(by_hand(split, events, power))


@pytest.mark.parametrize("loss", [0.05, 0.2, 0.5])
def test_the_greatest_power_before_the_hits_have_fallen_too_far_is_taken(
    split: Split, events: npt.NDArray[np.int64], loss: float
) -> None:
    found: Any = fit_novelty(Peaked(len(events), events), events, split.validation, loss)
    before = by_hand(split, events, 0.0)
    plain, expected = hits_by_hand(split, events, 0.0), None
    for power in POWERS:
        fall = plain - hits_by_hand(split, events, power)
        if resampled(fall, split.validation.users, generator=np.random.default_rng(0)).high > (
            loss * before["hr@10"]
        ):
            break
        expected = power
    assert (None if found is None else found.power) == expected
    if found is not None:
        assert found.before == pytest.approx(before)
        assert found.after == pytest.approx(by_hand(split, events, found.power))
        assert found.targets == len(split.validation)
        assert found.loss == loss


def test_there_is_none_where_nothing_is_hit_or_nothing_held_out(
    split: Split, events: npt.NDArray[np.int64]
) -> None:
    few = split.validation.sample(3, np.random.default_rng(0))

    class Wrong(Peaked):
        """Their targets come last."""

        def score(self, histories: Histories) -> Scores:
            scores = super().score(histories)
            scores[:, few.items - 1] -= 1_000
            return scores

    assert fit_novelty(Wrong(len(events), events), events, few) is None
    nobody = split.validation.sample(0, np.random.default_rng(0))
    assert fit_novelty(Peaked(len(events), events), events, nobody) is None
