"""The content map, against least squares solved in another way, and what a file of content may hold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.read import read_bundle, versions
from index.catalogue import Catalogue
from tests.cli.conftest import Run, dimerec  # noqa: F401
from tests.effort import examples
from tests.factories import make_catalogue
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher, config
from training.content_map import MIN_CATEGORY_ITEMS, MIN_EVENTS, described, fit_content_map
from training.content_ranks import K, Watches, gains
from training.data.content_file import ItemContent, read_content
from training.data.dataset import write_dataset
from training.errors import DataError
from training.trainer import train

ITEMS, DIM, INPUTS = 300, 8, 12


def unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def given_content(seed: int, noise: float) -> tuple[ItemContent, Catalogue, np.ndarray]:
    """Content from which the vectors follow, but for noise."""
    random = np.random.default_rng(seed)
    contents = unit(random.standard_normal((ITEMS, INPUTS)))
    vectors = contents @ random.standard_normal((INPUTS, DIM)) + noise * random.standard_normal((ITEMS, DIM))
    return ItemContent(np.arange(1, ITEMS + 1), contents), make_catalogue(ITEMS, seed), unit(vectors)


def watched(vectors: np.ndarray) -> Watches:
    """One event of each item, by a user who was after just that and something else."""
    other = np.roll(vectors, 7, axis=0)
    return Watches(np.arange(1, len(vectors) + 1), np.stack([vectors, other], axis=1))


def test_an_item_is_ranked_where_it_was_moved_to() -> None:
    """Against a ranking of one watch after the other."""
    _, _, vectors = given_content(4, 1.0)
    watches, rows = watched(vectors), np.array([5, 9, 200])
    moved = {"there": unit(vectors[rows - 1] + 0.3).astype(np.float64), "same": vectors[rows - 1] * 1.0}
    found = gains(watches, rows, moved, vectors)
    for line, row in enumerate(rows.tolist()):
        table = vectors.astype(np.float64)
        table[row - 1] = moved["there"][line]
        best = (table @ watches.interests[row - 1].T.astype(np.float64)).max(axis=1)
        rank = 1 + int((best > best[row - 1]).sum())
        assert found["there"][line] == pytest.approx(1 / np.log2(1 + rank) if rank <= K else 0)
    assert len(found["same"]) == 3


def test_a_map_that_ranks_no_better_is_not_used() -> None:
    """However near its vectors are: users who are after other things find them no sooner."""
    content, catalogue, vectors = given_content(1, 0.1)
    backwards = Watches(np.arange(1, ITEMS + 1), -vectors[:, None, :])
    _, facts = fit_content_map(content, catalogue, vectors, backwards)
    assert facts.lead[0] > 0
    assert not facts.used
    none = Watches(np.empty(0, np.int64), np.empty((0, 2, DIM), np.float32))
    assert not fit_content_map(content, catalogue, vectors, none).facts.used


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=examples(8), deadline=None)
def test_the_map_solves_the_ridge_regression(seed: int, noise: float) -> None:
    content, catalogue, vectors = given_content(seed, noise)
    found, facts = fit_content_map(content, catalogue, vectors, watched(vectors))
    enough = np.array(catalogue.popularity >= MIN_EVENTS)
    categories = [catalogue.categories[line] for line in np.flatnonzero(enough)]
    counts = {name: sum(name in some for some in categories) for name in catalogue.category_names}
    assert set(found.categories) == {name for name in counts if counts[name] >= MIN_CATEGORY_ITEMS}
    shifts = [[float(name in some) for name in found.categories] for some in categories]
    x = np.hstack([content.vectors[enough], shifts]).astype(np.float64)
    y = vectors[enough].astype(np.float64)
    penalty = np.sqrt(facts.ridge) * np.eye(x.shape[1])
    rows = np.vstack([x - x.mean(axis=0), penalty])
    expected = np.linalg.lstsq(rows, np.vstack([y - y.mean(axis=0), np.zeros((len(penalty), DIM))]))[0]
    weights = np.vstack([found.weights, found.shifts])
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    np.testing.assert_allclose(found.bias, y.mean(axis=0) - x.mean(axis=0) @ expected, atol=1e-4)
    assert facts.items == enough.sum()


def test_content_that_says_where_items_lie_is_used() -> None:
    content, catalogue, vectors = given_content(1, 0.1)
    _, facts = fit_content_map(content, catalogue, vectors, watched(vectors))
    assert facts.used
    assert facts.cosine["content"] > 0.9
    assert facts.lead[0] < facts.cosine["content"] - facts.cosine["categories"] < facts.lead[1]


def test_content_that_says_nothing_is_not_used() -> None:
    """Where the vectors follow from categories, a mean of these is as good."""
    content, catalogue, _ = given_content(2, 0.1)
    names = ["A", "B", "C", "D"]
    categories = [[names[line % 4]] for line in range(ITEMS)]
    catalogue = Catalogue(catalogue.item_ids, catalogue.titles, categories, [50] * ITEMS)
    random = np.random.default_rng(0)
    places = 3 * random.standard_normal((4, DIM))
    vectors = unit(places[np.arange(ITEMS) % 4] + random.standard_normal((ITEMS, DIM)))
    _, facts = fit_content_map(content, catalogue, vectors, watched(vectors))
    assert not facts.used
    assert "is left out" in described(facts)
    assert facts.cosine["random"] < facts.cosine["categories"]


def test_items_with_few_events_teach_nothing() -> None:
    content, catalogue, vectors = given_content(3, 0.1)
    popularity = [MIN_EVENTS if line < 49 else MIN_EVENTS - 1 for line in range(ITEMS)]
    rare = Catalogue(catalogue.item_ids, catalogue.titles, catalogue.categories, popularity)
    with pytest.raises(DataError, match="49 items with content have at least 5 events"):
        fit_content_map(content, rare, vectors, watched(vectors))


def written(path: Path, ids: list[Any], contents: Any) -> Path:
    pl.DataFrame({"item_id": ids, "content": contents}).write_parquet(path / "content.parquet")
    return path / "content.parquet"


def test_content_is_read_as_directions(tmp_path: Path) -> None:
    catalogue = make_catalogue(10)
    path = written(
        tmp_path, [1003, 1001, 9, 1002, 1004], [[3.0, 4.0], [0.0, -1e300], [1.0, 1.0], None, [0.0, 0.0]]
    )
    rows, vectors = read_content(path, catalogue)
    assert rows.tolist() == [3, 1]
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.0, -1.0]], atol=1e-6)


REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (lambda path: path / "none.parquet", "cannot be read as Parquet"),
    (lambda path: written(path, ["1001", "1001"], [[1.0], [2.0]]), "item 1001 more than once"),
    (lambda path: written(path, ["1001", "1002"], [[1.0], [2.0, 1.0]]), "item 1002 has 2 numbers, .* 1001 1"),
    (lambda path: written(path, ["1001"], [[float("nan")]]), "item 1001 has a number that is not finite"),
    (lambda path: written(path, ["1001"], [[1.0, None]]), "item 1001 has a number that is not finite"),
    (lambda path: written(path, ["1001"], [[0.0] * 4097]), "1 … 4096 numbers, not 4097"),
    (lambda path: written(path, ["1001", None], [[1.0], [1.0]]), "missing in 1 lines"),
    (lambda path: written(path, [1001.0], [[1.0]]), "strings or integers, not double"),
    (lambda path: written(path, ["1001"], ["[1.0]"]), "lists of numbers, not"),
    (lambda path: written(path, ["x"], [[1.0]]), "of no item of the data"),
    (lambda path: written(path, ["1001"], [pl.Series([], dtype=pl.Float64)]), "1 … 4096 numbers, not 0"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_content_that_cannot_be_used_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_content(make(tmp_path), make_catalogue(10))


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["1001"], "vector": [[1.0]]}).write_parquet(tmp_path / "content.parquet")
    with pytest.raises(DataError, match="has no column content"):
        read_content(tmp_path / "content.parquet", make_catalogue(10))


def test_a_published_run_has_the_map_of_its_content(tmp_path: Path, dimerec: Run) -> None:  # noqa: F811
    dataset = cyclic_dataset(users=120, items=60)
    write_dataset(dataset, tmp_path / "data")
    train(dataset, config(epochs=6, patience=6), tmp_path / "run", Watcher())
    ids = list(dataset.catalogue.item_ids)
    angles = 2 * np.pi * np.arange(60) / 60
    places = np.stack([wave(turn * angles) for turn in (1, 2, 3) for wave in (np.cos, np.sin)], axis=1)
    path = written(tmp_path, ids, places.tolist())
    places_of = ["--run", tmp_path / "run", "--data", tmp_path / "data", "--bundles", tmp_path / "bundles"]
    done = dimerec("publish", *places_of, "--content", path)
    assert done.code == 0, done.err
    bundle = read_bundle(tmp_path / "bundles")
    facts = bundle.manifest.content
    assert facts is not None
    assert (facts.inputs, facts.used) == (6, bundle.content_map is not None)
    assert facts.used
    assert described(facts) in done.out
    again = json.loads(dimerec("publish", *places_of, "--content", path, "--json").out)
    assert again["content"]["cosine"] == facts.cosine
    refused = dimerec("publish", *places_of, "--content", tmp_path / "none.parquet")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert len(versions(tmp_path / "bundles")) == 2
