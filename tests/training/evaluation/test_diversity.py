from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.catalogue import Catalogue
from training.evaluation.diversity import (
    DiversityTally,
    distinct_categories,
    intra_list_distance,
    memberships,
)
from training.evaluation.metrics import top_items

NAMES = ("a", "b", "c", "d", "e")
CATEGORIES = st.lists(st.sets(st.sampled_from(NAMES), max_size=3), min_size=1, max_size=12)


def catalogue_of(categories: list[set[str]]) -> Catalogue:
    count = len(categories)
    return Catalogue(
        [str(i) for i in range(count)], [None] * count, [sorted(c) for c in categories], [0] * count
    )


def distance(first: set[str], second: set[str]) -> float:
    return 1 - len(first & second) / len(first | second)


def lists_of(items: int, k: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    lists = [generator.permutation(np.arange(1, items + 1))[:k] for _ in range(7)]
    return np.array([np.pad(chosen, (0, k - len(chosen))) for chosen in lists])


@given(CATEGORIES, st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_both_measures_are_those_of_plain_sets(
    categories: list[set[str]], listed: int, k: int, seed: int
) -> None:
    lists = lists_of(len(categories), listed, seed)
    found = memberships(lists, catalogue_of(categories))
    for line, chosen in enumerate(lists.tolist()):
        of_items = [categories[row - 1] for row in chosen[:k] if row]
        assert distinct_categories(found, k)[line] == len(set().union(*of_items))
        pairs = [distance(a, b) for a, b in combinations(of_items, 2) if a and b]
        expected = np.mean(pairs) if pairs else np.nan
        assert intra_list_distance(found, k)[line] == pytest.approx(expected, nan_ok=True)


def test_intra_list_distance_by_hand() -> None:
    catalogue = catalogue_of([{"a"}, {"a", "b"}, {"c"}, set()])
    found = memberships(np.array([[1, 2, 3, 4]]), catalogue)
    assert intra_list_distance(found, 4).tolist() == pytest.approx([(0.5 + 1 + 1) / 3])
    assert distinct_categories(found, 2).tolist() == [2]


def test_the_tally_averages_lists_and_counts_listed_items_whatever_the_batches() -> None:
    catalogue = catalogue_of([{"a"}, {"b"}, {"a", "c"}, set(), {"d"}])
    scores = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    scores[:, 4] = -9
    whole, parts = DiversityTally(catalogue, (2, 4)), DiversityTally(catalogue, (2, 4))
    whole.add(scores)
    for first in range(0, 200, 30):
        parts.add(scores[first : first + 30])
    assert whole.metrics() == pytest.approx(parts.metrics())
    top = memberships(top_items(scores, 2), catalogue)
    assert whole.metrics()["distinct_categories@2"] == pytest.approx(distinct_categories(top, 2).mean())
    assert whole.metrics()["coverage@2"] == 0.8


def test_measures_of_categories_are_absent_where_there_are_none() -> None:
    tally = DiversityTally(catalogue_of([set(), set()]), (1,))
    tally.add(np.array([[1.0, 0.0]], np.float32))
    assert tally.metrics() == {"coverage@1": 0.5}
