"""Saving and loading: the same index comes back, and nothing damaged ever gets as far as FAISS."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from files.atomic import replacing
from index.errors import IndexFileError
from index.faiss_index import FaissIndex, build_index
from index.tuning import IndexKind
from index.vector_table import VectorTable
from tests.factories import make_unit_vectors

VECTORS = make_unit_vectors(300, 8)
ROWS = np.arange(1, 301)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "index.faiss"
    build_index(VECTORS).write(path)
    return path


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_same_index_comes_back(tmp_path: Path, kind: IndexKind) -> None:
    index = build_index(VECTORS, kind)
    index.write(tmp_path / "index.faiss")
    loaded = FaissIndex.read(tmp_path / "index.faiss", dim=8, count=300, kind=kind)
    assert (loaded.kind, loaded.dim, len(loaded)) == (kind, 8, 300)
    np.testing.assert_array_equal(loaded.table.vectors(ROWS), VECTORS)
    for before, after in zip(index.search(VECTORS, 9), loaded.search(VECTORS, 9), strict=True):
        np.testing.assert_array_equal(before, after)


def test_faiss_alone_can_read_the_file_and_knows_the_rows(saved: Path) -> None:
    _, rows = faiss.read_index(str(saved)).search(VECTORS[:5], 1)
    assert rows[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"dim": 9}, "dim 8, expected 9"),
        ({"count": 299}, "count 300, expected 299"),
        ({"kind": "ivf"}, "kind flat"),
    ],
)
def test_another_index_than_expected_is_refused(saved: Path, expected: dict[str, Any], message: str) -> None:
    with pytest.raises(IndexFileError, match=message):
        FaissIndex.read(saved, **expected)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_file_cut_short_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(IndexFileError, match=r"index\.faiss is cut short"):
        FaissIndex.read(saved)


def test_any_flipped_bit_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.choice(len(content), size=100, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(generator.integers(8))
        saved.write_bytes(damaged)
        with pytest.raises(IndexFileError, match=r"index\.faiss is"):
            FaissIndex.read(saved)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match="No such file"):
        FaissIndex.read(tmp_path / "index.faiss")
    with pytest.raises(IndexFileError, match="directory"):
        FaissIndex.read(tmp_path)


def foreign_index(name: str) -> faiss.Index:
    plain = {
        "no ids": faiss.IndexFlatIP(8),
        "distances": faiss.IndexIDMap2(faiss.IndexFlatL2(8)),
        "codes": faiss.IndexIDMap2(faiss.IndexScalarQuantizer(8, 0, faiss.METRIC_INNER_PRODUCT)),
        "other rows": faiss.IndexIDMap2(faiss.IndexFlatIP(8)),
    }[name]
    plain.train(VECTORS)
    if name == "no ids":
        plain.add(VECTORS)
    else:
        plain.add_with_ids(VECTORS, ROWS if name != "other rows" else ROWS + 1)
    return plain


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no ids", "rows as ids"),
        ("distances", "inner product"),
        ("codes", "IndexScalarQuantizer"),
        ("other rows", "rows 1 … 300"),
    ],
)
def test_an_index_of_another_make_is_refused(tmp_path: Path, name: str, message: str) -> None:
    FaissIndex(foreign_index(name), "flat", VectorTable(VECTORS)).write(tmp_path / "index.faiss")
    with pytest.raises(IndexFileError, match=message):
        FaissIndex.read(tmp_path / "index.faiss")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
