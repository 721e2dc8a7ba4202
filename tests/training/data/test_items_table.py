"""The items of prepared data as a Parquet file that is checked when it is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.catalogue import Catalogue
from index.errors import CatalogueError
from tests.factories import make_catalogue
from training.data.items_table import read_items, write_items


def test_the_same_catalogue_comes_back(tmp_path: Path) -> None:
    for catalogue in (make_catalogue(200), Catalogue([], [], [], [])):
        write_items(catalogue, tmp_path / "items.parquet")
        read = read_items(tmp_path / "items.parquet")
        assert read.item_ids == catalogue.item_ids
        assert read.titles == catalogue.titles
        assert read.categories == catalogue.categories
        np.testing.assert_array_equal(read.popularity, catalogue.popularity)
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_others_can_read_the_file(tmp_path: Path) -> None:
    catalogue = Catalogue(["x"], ["Ten"], [["b", "a"]], [5])
    write_items(catalogue, tmp_path / "items.parquet")
    assert pq.read_table(tmp_path / "items.parquet").to_pylist()[0] == {
        "item_id": "x",
        "title": "Ten",
        "category": ["b", "a"],
        "popularity": 5,
    }


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
    assert read_items(tmp_path / "items.parquet").categories == (("x",), ())


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
        read_items(tmp_path / "items.parquet")


def test_a_file_that_is_missing_cut_short_or_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        read_items(path)
    write_items(make_catalogue(3), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        read_items(path)
    path.write_text("item_id,title\n")
    with pytest.raises(CatalogueError, match=r"items\.parquet cannot be read"):
        read_items(path)
