"""FAISS behind `index.vector_index.VectorIndex`: build, search, write, read, move to a GPU.

The file is what `faiss.write_index` writes, which FAISS alone can read, followed by a seal: a mark and the
SHA-256 of everything before it. FAISS parses its files in C++ and trusts them, so a file is handed to it only
after its seal was checked, from the very bytes that were checked.
"""

import hashlib
import logging
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from files.atomic import replacing
from index import tuning
from index.errors import FaissMissingError, GpuUnavailableError, IndexFileError, VectorError
from index.tuning import IndexChoice, IndexKind
from index.vector_index import Eligible, Hits, Vectors, checked_hits, checked_unit_vectors
from index.vector_table import VectorTable

_KINDS: dict[str, IndexKind] = {"IndexFlatIP": "flat", "IndexHNSWFlat": "hnsw", "IndexIVFFlat": "ivf"}
_SEAL = b"dimerec-index-1\n"
_SEAL_SIZE = len(_SEAL) + hashlib.sha256().digest_size

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of every build that it tries


def require_faiss() -> Any:
    """The FAISS module, imported at the first need; called early, too, by what works for long before it.

    Raises `FaissMissingError` where it cannot be imported: no extra is installed, or one is damaged.
    """
    try:
        import faiss
    except ImportError as error:
        raise FaissMissingError(
            f"FAISS cannot be imported ({error}): pip install 'dimerec-serve[cpu]', or [gpu] for a GPU"
        ) from error
    return faiss


class FaissIndex:
    """Nearest neighbours among rows 1 … n by a FAISS index, made by `build_index` or `read`.

    Any thread may search at any time: together on the CPU; on a GPU, where FAISS wants them so, in turn.
    """

    def __init__(
        self, searcher: Any, kind: IndexKind, table: VectorTable, *, one_at_a_time: bool = False
    ) -> None:
        self._searcher = searcher
        self._on_gpu = one_at_a_time
        self._turn: AbstractContextManager[object] = Lock() if one_at_a_time else nullcontext()
        self.table = table
        """The vectors that it holds: a view where the kind keeps them in one block."""
        self.kind: IndexKind = kind
        self.dim = int(searcher.d)

    def __len__(self) -> int:
        return len(self.table)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each query, among `eligible` rows only where given.

        A flat or an ivf index leaves the others out while it searches. A graph, which has to walk through
        them anyway, is asked for as many more hits as are likely to be left out, and so is an index on a GPU.
        """
        queries = checked_unit_vectors(queries, "queries", self.dim)
        checked_hits(k)
        if eligible is None:
            return self._search(queries, k)
        if self.kind == "hnsw" or self._on_gpu:
            deeper = math.ceil(tuning.FILTER_MARGIN * k / max(eligible.share, 1 / len(self)))
            return _kept(self._search(queries, max(k, min(deeper, tuning.MAX_HITS))), k, eligible)
        return self._search(queries, k, self._parameters(eligible))

    def _search(self, queries: Vectors, k: int, parameters: Any = None) -> Hits:
        with self._turn:
            cosines, rows = self._searcher.search(queries, k, params=parameters)
        cosines[rows < 0] = -np.inf
        return Hits(cosines, rows)

    def _parameters(self, eligible: Eligible) -> Any:
        faiss = require_faiss()
        selector = faiss.IDSelectorBitmap(eligible.bitmap)
        if self.kind == "flat":
            return faiss.SearchParameters(sel=selector)
        nprobe = faiss.downcast_index(self._searcher.index).nprobe
        return faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)

    def on_gpu(self, device: int = 0) -> "FaissIndex":
        """The same index on a GPU (`flat` and `ivf`; at most 2,048 hits a query there).

        Raises `GpuUnavailableError` where FAISS was built without CUDA, no GPU is seen, or `kind` is
        `hnsw`, which FAISS keeps on the CPU.
        """
        if not gpu_available():
            raise GpuUnavailableError(
                "no GPU index here: install the `gpu` extra on a machine with a CUDA device"
            )
        if self.kind == "hnsw":
            raise GpuUnavailableError("an hnsw index stays on the CPU: build the kind flat or ivf for a GPU")
        faiss = require_faiss()
        resources = faiss.StandardGpuResources()
        searcher = faiss.index_cpu_to_gpu(resources, device, self._searcher)
        return FaissIndex(searcher, self.kind, self.table, one_at_a_time=True)

    def write(self, path: Path) -> None:
        """Write the index to `path`, atomically; an index on a GPU cannot be saved."""
        content = require_faiss().serialize_index(self._searcher).data
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.write(_SEAL + hashlib.sha256(content).digest())

    @classmethod
    def read(
        cls, path: Path, *, dim: int | None = None, count: int | None = None, kind: IndexKind | None = None
    ) -> "FaissIndex":
        """Read an index that `write` wrote.

        Raises `IndexFileError` when it is missing or damaged, was not written by `write`, or
        differs from the expected `dim`, `count` or `kind`.
        """
        content = _sealed_content(path)
        return cls.parse(content, path.name, dim=dim, count=count, kind=kind)

    @classmethod
    def parse(
        cls,
        content: NDArray[np.uint8],
        name: str,
        *,
        dim: int | None = None,
        count: int | None = None,
        kind: IndexKind | None = None,
    ) -> "FaissIndex":
        """The index in the `content` of a file, whose checksum the caller has compared already.

        `name`: of the file, for what is said of it. Raises as `read` does.
        """
        searcher = _parsed(content, name)
        found_kind = _kind_of(name, searcher)
        claims = (("dim", dim, searcher.d), ("count", count, searcher.ntotal), ("kind", kind, found_kind))
        for claim, expected, found in claims:
            if expected is not None and expected != found:
                raise IndexFileError(f"{name} has the {claim} {found}, expected {expected}: build it again")
        return cls(searcher, found_kind, _table_of(searcher, found_kind))


def build_index(vectors: Vectors, kind: IndexChoice = "auto") -> FaissIndex:
    """Index unit `vectors` (n, dim) as rows 1 … n; `auto` chooses the kind by n (`index.tuning`).

    `flat` is exact. The same vectors give the same `flat` and `ivf` index; `hnsw` is linked by
    several threads at once, so that two builds may differ in a hit at the margin.
    """
    faiss = require_faiss()
    vectors = checked_unit_vectors(vectors, "vectors")
    if not len(vectors):
        raise VectorError("an index needs at least one vector")
    chosen = tuning.choose_kind(len(vectors)) if kind == "auto" else kind
    if chosen == "flat":
        storage = faiss.IndexFlatIP(vectors.shape[1])
    elif chosen == "hnsw":
        storage = _empty_hnsw(vectors.shape[1])
    elif chosen == "ivf":
        storage = _trained_ivf(vectors)
    else:
        raise VectorError(f"unknown index kind {chosen!r}: choose auto, flat, hnsw or ivf")
    searcher = faiss.IndexIDMap2(storage)
    searcher.add_with_ids(vectors, np.arange(1, len(vectors) + 1))
    return FaissIndex(searcher, chosen, _table_of(searcher, chosen))


def gpu_available() -> bool:
    """True where FAISS was built for CUDA and sees a GPU."""
    faiss = require_faiss()
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _empty_hnsw(dim: int) -> Any:
    faiss = require_faiss()
    index = faiss.IndexHNSWFlat(dim, tuning.HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = tuning.HNSW_BUILD_DEPTH
    index.hnsw.efSearch = tuning.HNSW_SEARCH_DEPTH
    return index


def _trained_ivf(vectors: Vectors) -> Any:
    faiss = require_faiss()
    dim = vectors.shape[1]
    cells = tuning.ivf_cells(len(vectors))
    centres = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFFlat(centres, dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    index.cp.niter = tuning.IVF_TRAINING_ROUNDS
    index.cp.min_points_per_centroid = 1  # cells are never this small, but for a catalogue of a few items
    index.cp.max_points_per_centroid = tuning.IVF_TRAINING_POINTS_PER_CELL
    index.train(vectors)
    index.nprobe = tuning.ivf_probes(cells)
    return index


def _sealed_content(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, its seal checked."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise IndexFileError(
            f"{path.name} cannot be read ({error.strerror}): build the index again"
        ) from error
    body, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:].tobytes()
    if seal.startswith(_SEAL) and seal != _SEAL + hashlib.sha256(body.data).digest():
        raise IndexFileError(f"{path.name} is damaged (its checksum differs): build the index again")
    return content


def _parsed(content: NDArray[np.uint8], name: str) -> Any:
    """The FAISS object in the bytes of a file that `FaissIndex.write` wrote."""
    if not content[-_SEAL_SIZE:].tobytes().startswith(_SEAL):
        raise IndexFileError(f"{name} is cut short or no index of this program: build the index again")
    try:
        return require_faiss().deserialize_index(content[:-_SEAL_SIZE])
    except RuntimeError as error:
        raise IndexFileError(f"{name} is no index that this FAISS can read: build the index again") from error


def _kind_of(name: str, searcher: Any) -> IndexKind:
    """The kind of a loaded index, once it is known to be one that `build_index` makes."""
    faiss = require_faiss()
    if not isinstance(searcher, faiss.IndexIDMap2):
        raise IndexFileError(f"{name} does not carry rows as ids: build the index again")
    if searcher.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IndexFileError(f"{name} does not rank by inner product: build the index again")
    if not np.array_equal(faiss.vector_to_array(searcher.id_map), np.arange(1, searcher.ntotal + 1)):
        raise IndexFileError(f"{name} does not hold the rows 1 … {searcher.ntotal}: build the index again")
    storage = type(faiss.downcast_index(searcher.index)).__name__
    if storage not in _KINDS:
        raise IndexFileError(f"{name} holds a {storage}: build the kind flat, hnsw or ivf")
    return _KINDS[storage]


def _table_of(searcher: Any, kind: IndexKind) -> VectorTable:
    """The vectors of an index.

    `flat` and `hnsw` keep them in one block that is looked at in place. `ivf` scatters them over its
    cells: a copy.
    """
    faiss = require_faiss()
    storage: Any = faiss.downcast_index(searcher.index)
    if kind == "ivf":
        return VectorTable(storage.reconstruct_n(0, storage.ntotal))
    block: Any = storage if kind == "flat" else faiss.downcast_index(storage.storage)
    return VectorTable(
        faiss.rev_swig_ptr(block.get_xb(), block.ntotal * block.d).reshape(-1, block.d), searcher
    )


def _kept(hits: Hits, k: int, eligible: Eligible) -> Hits:
    """The first `k` eligible hits of each line."""
    usable = eligible.mask[hits.rows]
    order = np.argsort(~usable, axis=1, kind="stable")[:, :k]
    usable = np.take_along_axis(usable, order, 1)
    return Hits(
        np.where(usable, np.take_along_axis(hits.cosines, order, 1), np.float32(-np.inf)),
        np.where(usable, np.take_along_axis(hits.rows, order, 1), -1),
    )
