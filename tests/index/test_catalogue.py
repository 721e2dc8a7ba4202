"""The catalogue: ids to rows and back, categories, and a file that is checked when it is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert np.flatnonzero(np.unpackbits(eligible.bitmap, bitorder="little")).tolist() == expected


@given(st.lists(names, min_size=1, max_size=12), st.data())
def test_the_category_matrix_has_the_overlaps(categories: list[list[str]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(1, len(categories)), max_size=10))
    matrix = with_categories(categories).category_matrix(np.array(rows, dtype=np.int64))
    overlaps = [[len(set(categories[a - 1]) & set(categories[b - 1])) for b in rows] for a in rows]
    assert (matrix @ matrix.T).tolist() == overlaps


def test_the_same_catalogue_comes_back(tmp_path: Path) -> None:
    for catalogue in (small(), make_catalogue(200), with_categories([[], []]), Catalogue([], [], [], [])):
        catalogue.write(tmp_path / "items.parquet")
        read = Catalogue.read(tmp_path / "items.parquet")
        assert read.item_ids == catalogue.item_ids
        assert read.titles == catalogue.titles
        assert read.categories == catalogue.categories
        np.testing.assert_array_equal(read.popularity, catalogue.popularity)
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_others_can_read_the_file(tmp_path: Path) -> None:
    small().write(tmp_path / "items.parquet")
    assert pq.read_table(tmp_path / "items.parquet").to_pylist()[0] == {
        "item_id": "x",
        "title": "Ten",
        "category": ["b", "a"],
        "popularity": 5,
    }


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


def stored_table(**changes: pa.Array) -> pa.Table:
    columns = {
        "item_id": pa.array(["a", "b"]),
        "title": pa.array(["A", None]),
        "category": pa.array([["x"], None], type=pa.list_(pa.string())),
        "popularity": pa.array([1, 2]),
    }
    return pa.table(columns | changes)


def test_an_item_without_a_category_list_has_none(tmp_path: Path) -> None:
    pq.write_table(stored_table(), tmp_path / "items.parquet")
    assert Catalogue.read(tmp_path / "items.parquet").categories == (("x",), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_id": pa.array([1, 2])}, "item_id: int64"),
        ({"item_id": pa.array(["a", None])}, "nulls in item_id"),
        ({"popularity": pa.array([1, None])}, "nulls in popularity"),
        ({"popularity": pa.array([1.0, 2.0])}, "popularity: double"),
        ({"extra": pa.array([1, 2])}, "extra: int64"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    pq.write_table(stored_table(**changes), tmp_path / "items.parquet")
    with pytest.raises(CatalogueError, match=message):
        Catalogue.read(tmp_path / "items.parquet")


def test_a_file_that_is_missing_cut_short_or_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        Catalogue.read(path)
    small().write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        Catalogue.read(path)
    path.write_text("item_id,title\n")
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        Catalogue.read(path)
