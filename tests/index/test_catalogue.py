"""The catalogue: ids to rows and back, categories, and a file that is checked when it is read."""

from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import index.catalogue
import index.item_columns
from index.catalogue import Catalogue
from index.eligibility import Eligibility
from index.errors import CatalogueError
from tests.factories import make_catalogue

names = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4)


def small() -> Catalogue:
    return Catalogue(["x", "ü 7", "z"], ["Ten", None, ""], [["b", "a", "b"], [], ["a"]], [5, 0, 2])


def with_categories(categories: list[list[str]]) -> Catalogue:
    count = len(categories)
    return Catalogue([str(line) for line in range(count)], [None] * count, categories, [0] * count)


def test_ids_and_rows_are_each_others_inverse() -> None:
    catalogue = make_catalogue(50)
    for row in range(1, 51):
        assert catalogue.row(catalogue.item_id(row)) == row
    assert catalogue.row("nobody") is None


def test_unknown_ids_are_left_out_and_the_order_is_kept() -> None:
    rows = small().rows(["z", "unknown", "x", "z"])
    assert rows.tolist() == [3, 1, 3]
    assert rows.dtype == np.int64
    assert small().rows([]).tolist() == []


def test_rows_describe_themselves() -> None:
    catalogue = small()
    assert [catalogue.title(row) for row in (1, 2, 3)] == ["Ten", None, ""]
    assert [catalogue.category(row) for row in (1, 2, 3)] == [("b", "a"), (), ("a",)]
    assert catalogue.popularity.tolist() == [5, 0, 2]
    assert catalogue.category_names == ["b", "a"]


@pytest.mark.parametrize("row", [0, -1, 4])
def test_padding_and_rows_outside_are_no_items(row: int) -> None:
    for describe in (small().item_id, small().title, small().category):
        with pytest.raises(CatalogueError, match="rows are 1 … 3"):
            describe(row)


@given(st.lists(names, min_size=1, max_size=12), st.sets(st.sampled_from(["a", "b", "c", "unknown"])))
def test_rows_in_any_of_the_categories(categories: list[list[str]], wanted: set[str]) -> None:
    expected = [row for row, having in enumerate(categories, start=1) if wanted & set(having)]
    eligible = Eligibility(with_categories(categories)).of(frozenset(wanted))
    assert eligible.rows.tolist() == expected
    assert eligible.count == len(expected)
    assert np.flatnonzero(np.unpackbits(eligible.bitmap, bitorder="little")).tolist() == [
        row - 1 for row in expected
    ]


@given(st.lists(names, min_size=1, max_size=12), st.data())
def test_the_category_matrix_has_the_overlaps(categories: list[list[str]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(1, len(categories)), max_size=10))
    matrix = with_categories(categories).category_matrix(np.array(rows, dtype=np.int64))
    overlaps = [[len(set(categories[a - 1]) & set(categories[b - 1])) for b in rows] for a in rows]
    assert (matrix @ matrix.T).tolist() == overlaps


def mapped(catalogue: Catalogue, path: Path) -> Catalogue:
    """What comes back when the catalogue is written and mapped."""
    catalogue.write(path)
    with path.open("rb") as file:
        return Catalogue.parse(mmap(file.fileno(), 0, access=ACCESS_READ), path.name)


def test_the_same_catalogue_comes_back(tmp_path: Path) -> None:
    for catalogue in (small(), make_catalogue(200), with_categories([[], []]), Catalogue([], [], [], [])):
        read = mapped(catalogue, tmp_path / "items.arrow")
        assert read.item_ids == catalogue.item_ids
        assert read.titles == catalogue.titles
        assert read.categories == catalogue.categories
        assert read.category_names == catalogue.category_names
        np.testing.assert_array_equal(read.popularity, catalogue.popularity)
        assert [read.row(item_id) for item_id in catalogue.item_ids] == list(range(1, len(catalogue) + 1))
    assert [path.name for path in tmp_path.iterdir()] == ["items.arrow"]


def test_half_a_surrogate_pair_is_an_id_that_no_item_has() -> None:
    assert small().row("\ud800") is None


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (index.catalogue, index.item_columns):
        monkeypatch.setattr(module, "id_hash", lambda item_id: len(item_id))
    catalogue = Catalogue(["a", "bc", "d", "e"], [None] * 4, [()] * 4, [0] * 4)
    assert [catalogue.row(item_id) for item_id in ("a", "bc", "d", "e", "x", "yz", "")] == [
        *(1, 2, 3, 4),
        *(None, None, None),
    ]


def test_others_can_read_the_file(tmp_path: Path) -> None:
    small().write(tmp_path / "items.arrow")
    first = pl.read_ipc(tmp_path / "items.arrow").to_dicts()[0]
    assert {name: first[name] for name in ("item_id", "title", "categories", "popularity")} == {
        "item_id": "x",
        "title": "Ten",
        "categories": ["b", "a"],
        "popularity": 5,
    }


def test_what_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"items\.arrow cannot be read"):
        Catalogue.parse(b"item_id,title", "items.arrow")
    other = pa.table({"item_id": ["a"]})
    with pa.ipc.new_file(str(tmp_path / "other"), other.schema) as file:
        file.write_table(other)
    with pytest.raises(CatalogueError, match="does not have the columns"):
        Catalogue.parse((tmp_path / "other").read_bytes(), "items.arrow")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a", "a"], [None, None], [[], []], [1, 1]), "1 item ids appear more than once"),
        ((["a", "b"], [None], [[], []], [1, 1]), "titles"),
        ((["a", "b"], [None, None], [[]], [1, 1]), "categories"),
        ((["a", "b"], [None, None], [[], []], [1]), "popularity"),
        ((["a", "b"], [None, None], [[], []], [1, -1]), "popularity"),
        ((["a", ""], [None, None], [[], []], [1, 1]), "row 2 must have 1 … 128 characters"),
        ((["a", "b" * 129], [None, None], [[], []], [1, 1]), "row 2 must have 1 … 128 characters"),
        ((["a", "b\n"], [None, None], [[], []], [1, 1]), "row 2 must have .* none of them a control"),
        ((["a", "\x9fb"], [None, None], [[], []], [1, 1]), "row 2 must have .* none of them a control"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: tuple[Any, ...], message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        Catalogue(*columns)
