import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from index.catalogue import Catalogue
from training.benchmark.probing import area_under_curve, probe
from training.data.splits import Sequences
from training.errors import DataError

DIM = 8


def catalogue_of(categories: list[tuple[str, ...]]) -> Catalogue:
    count = len(categories)
    return Catalogue([str(row) for row in range(count)], [None] * count, categories, [0] * count)


def trained(events: list[int]) -> Sequences:
    """One sequence with so many events of each item row."""
    items = np.repeat(np.arange(1, len(events) + 1), events).astype(np.int32)
    return Sequences(items, np.array([0, len(items)]))


def one_category_each(items: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Half of the items are of category a, the others of b, c or d."""
    return [
        (str(name),)
        for name in np.random.default_rng(seed).choice(list("abcd"), items, p=[0.5, 0.2, 0.2, 0.1])
    ]


def telling_vectors(categories: list[tuple[str, ...]], noise: float = 0.1) -> np.ndarray:
    """The sum of the directions of an item's categories, and noise."""
    generator = np.random.default_rng(1)
    directions = {name: generator.standard_normal(DIM) for name in "abcd"}
    clean = np.array([np.sum([directions[name] for name in names], axis=0) for names in categories])
    return (clean + noise * generator.standard_normal(clean.shape)).astype(np.float32)


def test_categories_that_a_straight_cut_tells_apart_are_found() -> None:
    categories = one_category_each(400)
    found = probe(telling_vectors(categories), catalogue_of(categories), trained([5] * 400))
    assert (found.items, found.categories) == (400, 4)
    assert found.accuracy > 0.99
    assert found.auc is not None
    assert found.auc > 0.99
    share = np.mean([names == ("a",) for names in categories])
    assert found.majority == pytest.approx(share)


def test_random_vectors_do_about_as_well_as_naming_the_commonest() -> None:
    categories = one_category_each(1500)
    vectors = np.random.default_rng(5).standard_normal((1500, DIM))
    found = probe(vectors, catalogue_of(categories), trained([5] * 1500))
    assert found.accuracy == pytest.approx(found.majority, abs=0.03)
    assert found.auc == pytest.approx(0.5, abs=0.05)


def test_any_of_an_items_categories_is_right() -> None:
    generator = np.random.default_rng(2)
    categories = [
        tuple(generator.choice(list("abcd"), size=generator.integers(1, 4), replace=False).tolist())
        for _ in range(400)
    ]
    found = probe(telling_vectors(categories), catalogue_of(categories), trained([5] * 400))
    assert found.accuracy > 0.99
    assert found.auc is not None
    assert found.auc > 0.99
    commonest = max("abcd", key=lambda name: sum(name in names for names in categories))
    assert found.majority == pytest.approx(np.mean([commonest in names for names in categories]))


def test_neither_scale_nor_place_of_the_vectors_matters() -> None:
    categories = one_category_each(300)
    vectors = telling_vectors(categories, noise=1.5).astype(np.float64)
    moved = 40 * vectors + 7
    moved = np.hstack([moved, np.ones((300, 1))])
    catalogue, train = catalogue_of(categories), trained([5] * 300)
    plain, other = probe(vectors, catalogue, train), probe(moved, catalogue, train)
    assert plain.accuracy < 1
    assert other.accuracy == pytest.approx(plain.accuracy, abs=0.01)
    assert other.auc == pytest.approx(plain.auc, abs=1e-3)


def test_items_without_categories_or_with_few_events_take_no_part() -> None:
    categories = [*one_category_each(100), *[()] * 20]
    catalogue = catalogue_of(categories)
    vectors = np.random.default_rng(0).standard_normal((120, DIM))
    train = trained([5] * 70 + [4] * 30 + [9] * 20)
    found = probe(vectors, catalogue, train)
    assert found.items == 70
    vectors[70:] = np.nan
    assert probe(vectors, catalogue, train) == found
    vectors[70:] = 0
    assert probe(vectors, catalogue, train, min_events=0).items == 100


def test_the_folds_follow_from_the_seed() -> None:
    categories = one_category_each(200)
    catalogue, train = catalogue_of(categories), trained([5] * 200)
    vectors = telling_vectors(categories, noise=2)
    first, again, other = (probe(vectors, catalogue, train, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_rare_categories_have_no_area_under_the_curve() -> None:
    categories = one_category_each(19)
    found = probe(np.eye(19), catalogue_of(categories), trained([5] * 19))
    assert found.auc is None


def test_too_few_items_are_refused() -> None:
    categories = one_category_each(30)
    with pytest.raises(DataError, match="4 items have a category and 5 training events"):
        probe(np.eye(30), catalogue_of(categories), trained([5] * 4 + [0] * 26))


def test_the_area_under_the_curve_is_mann_whitneys_statistic() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 9, size=(50, 6)).astype(float)
    truth = (generator.random((50, 6)) < [0.5, 0.1, 0.9, 0.3, 0, 1]).astype(float)
    areas = area_under_curve(scores, truth)
    for column in range(4):
        above, below = (scores[truth[:, column] == value, column] for value in (1, 0))
        expected = mannwhitneyu(above, below).statistic / (len(above) * len(below))
        assert areas[column] == pytest.approx(expected)
        pairs = [(one > other) + (one == other) / 2 for one in above for other in below]
        assert areas[column] == pytest.approx(np.mean(pairs))
    assert np.isnan(areas[4:]).all()
