from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.random_logs import datasets, random_dataset
from training.baselines.item_knn import DECAYS, ItemKNN
from training.baselines.popularity import Popularity
from training.data.dataset import Dataset
from training.data.splits import Split, leave_one_out
from training.evaluation.ranking import evaluate


def cosine(watchers: dict[int, set[int]], first: int, second: int) -> float:
    both = len(watchers[first] & watchers[second])
    return both / np.sqrt(float(len(watchers[first]) * len(watchers[second]))) if both else 0.0


def nearest(split: Split, items: int, neighbours: int) -> dict[int, dict[int, float]]:
    """Each item's most similar others, by plain loops."""
    watchers: dict[int, set[int]] = defaultdict(set)
    for user, (start, end) in enumerate(zip(split.train.offsets, split.train.offsets[1:], strict=False)):
        for item in split.train.items[start:end].tolist():
            watchers[item].add(user)
    kept = {}
    for item in range(1, items + 1):
        others = [
            (-np.float32(cosine(watchers, item, other)), other)
            for other in range(1, items + 1)
            if other != item
        ]
        kept[item] = {other: -float(score) for score, other in sorted(others)[:neighbours] if score < 0}
    return kept


@given(datasets(), st.integers(1, 15), st.sampled_from([1.0, 0.7, 0.2]))
def test_item_knn_is_the_plain_loop(dataset: Dataset, neighbours: int, decay: float) -> None:
    split, items = leave_one_out(dataset), len(dataset.catalogue)
    if not len(split.test):
        return
    similar = nearest(split, items, neighbours)
    expected = np.zeros((len(split.test), items))
    for row in range(len(split.test)):
        for age, item in enumerate(reversed(split.test.histories[row].tolist())):
            for other, score in similar[item].items():
                expected[row, other - 1] += decay**age * score
    scorer = ItemKNN.fit(split.train, items, neighbours=neighbours, decay=decay)
    np.testing.assert_allclose(scorer.score(split.test.histories), expected, atol=1e-5)


def test_item_knn_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = random_dataset(np.random.default_rng(0), np.full(60, 9), items=30)
    split = leave_one_out(dataset)
    whole = ItemKNN.fit(split.train, 30, neighbours=4)
    monkeypatch.setattr("training.baselines.item_knn._BLOCK", 7)
    in_blocks = ItemKNN.fit(split.train, 30, neighbours=4)
    assert (whole.similarity != in_blocks.similarity).nnz == 0


def test_the_tuned_decay_is_the_best_on_validation() -> None:
    dataset = random_dataset(np.random.default_rng(3), np.full(80, 9), items=20)
    split = leave_one_out(dataset)
    tuned = ItemKNN.tuned(split, 20)
    quality = {
        decay: evaluate(
            ItemKNN.fit(split.train, 20, decay=decay), split.validation, ks=(10,), exclude_seen=True
        ).metrics["ndcg@10"]
        for decay in DECAYS
    }
    assert len(set(quality.values())) > 1
    assert quality[tuned.decay] == max(quality.values())


@given(datasets())
def test_popularity_counts_training_events(dataset: Dataset) -> None:
    split, items = leave_one_out(dataset), len(dataset.catalogue)
    scores = Popularity(split.train, items).score(split.test.histories)
    expected = [split.train.items.tolist().count(row) for row in range(1, items + 1)]
    assert scores.tolist() == [expected] * len(split.test)
