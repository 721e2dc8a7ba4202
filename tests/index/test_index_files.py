"""Writing and mapping: the same index comes back over the table, and no other is taken for it."""

from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from files.atomic import replacing
from index.building import build_index
from index.errors import IndexFileError
from index.faiss_index import FaissIndex
from index.tuning import IndexKind
from index.vector_table import VectorTable
from tests.factories import make_unit_vectors

VECTORS = make_unit_vectors(300, 8)


def mapped(path: Path) -> mmap:
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_same_index_comes_back(tmp_path: Path, kind: IndexKind) -> None:
    index = build_index(VECTORS, kind)
    index.write(tmp_path / "index.faiss")
    index.table.write(tmp_path / "vectors.npy")
    table = VectorTable.parse(mapped(tmp_path / "vectors.npy"), "vectors.npy")
    loaded = FaissIndex.parse(mapped(tmp_path / "index.faiss"), "index.faiss", table)
    assert (loaded.kind, loaded.dim, len(loaded), loaded.effort) == (kind, 8, 300, index.effort)
    np.testing.assert_array_equal(loaded.table.all, VECTORS)
    for before, after in zip(index.search(VECTORS, 9), loaded.search(VECTORS, 9), strict=True):
        np.testing.assert_array_equal(before, after)


def test_others_can_read_the_vectors(tmp_path: Path) -> None:
    VectorTable(VECTORS).write(tmp_path / "vectors.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), VECTORS)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_file_holds_no_second_copy_of_the_vectors(tmp_path: Path, kind: IndexKind) -> None:
    vectors = make_unit_vectors(300, 256)
    index = build_index(vectors, kind)
    index.write(tmp_path / "index.faiss")
    assert (tmp_path / "index.faiss").stat().st_size < vectors.nbytes
    assert index.table.all is vectors


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (VectorTable(make_unit_vectors(300, 9)), "dim 8, expected 9"),
        (VectorTable(VECTORS[:299]), "count 300, expected 299"),
    ],
)
def test_an_index_of_other_vectors_is_refused(tmp_path: Path, table: VectorTable, message: str) -> None:
    build_index(VECTORS, "hnsw").write(tmp_path / "index.faiss")
    with pytest.raises(IndexFileError, match=message):
        FaissIndex.parse(mapped(tmp_path / "index.faiss"), "index.faiss", table)


def foreign_index(name: str) -> Any:
    plain = {
        "rows as ids": faiss.IndexIDMap2(faiss.IndexFlatIP(8)),
        "distances": faiss.IndexFlatL2(8),
        "graph of distances": faiss.IndexHNSWFlat(8, 8),
        "codes": faiss.IndexScalarQuantizer(8, 0, faiss.METRIC_INNER_PRODUCT),
        "vectors": faiss.IndexFlatIP(8),
    }[name]
    plain.train(VECTORS)
    if name == "rows as ids":
        plain.add_with_ids(VECTORS, np.arange(1, 301))
    else:
        plain.add(VECTORS)
    return plain


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows as ids", "IndexIDMap2"),
        ("distances", "IndexFlatL2"),
        ("graph of distances", "inner product"),
        ("codes", "IndexScalarQuantizer"),
        ("vectors", "count 300, expected 0"),
    ],
)
def test_an_index_of_another_make_is_refused(name: str, message: str) -> None:
    content = faiss.serialize_index(foreign_index(name)).tobytes()
    with pytest.raises(IndexFileError, match=message):
        FaissIndex.parse(content, "index.faiss", VectorTable(VECTORS))


def test_what_is_no_index_is_refused() -> None:
    with pytest.raises(IndexFileError, match=r"index\.faiss is no index"):
        FaissIndex.parse(b"nothing of the kind", "index.faiss", VectorTable(VECTORS))


@pytest.mark.parametrize("array", [VECTORS.astype(np.float64), VECTORS[0], np.asfortranarray(VECTORS)])
def test_vectors_of_another_form_are_refused(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "vectors.npy", array)
    with pytest.raises(IndexFileError, match=r"vectors\.npy must hold float32"):
        VectorTable.parse(mapped(tmp_path / "vectors.npy"), "vectors.npy")
    (tmp_path / "vectors.npy").write_bytes(b"not vectors")
    with pytest.raises(IndexFileError, match=r"vectors\.npy is no NumPy file"):
        VectorTable.parse(mapped(tmp_path / "vectors.npy"), "vectors.npy")


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
