"""FAISS behind `index.vector_index.VectorIndex`: search, write, map, move to a GPU; `index.building` builds.

The vectors lie in a `VectorTable`, once, whatever the kind; FAISS looks at them where they are. Its own file
holds what it adds to them: nothing (flat), the links of a graph (hnsw), or cells of short codes, by which it
finds the hits that it then scores exactly (ivf).

FAISS parses its files in C++ and trusts them: bytes are handed to it only once their checksum was compared.
It looks at mapped, read-only bytes for as long as the index lives, so that an index is never changed: FAISS
would end the process. `tests/index/test_mapped.py` holds that only `index.building` calls what changes one.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from files.atomic import replacing
from index import tuning
from index.cells import Cells
from index.errors import GpuUnavailableError, IndexFileError
from index.faiss_library import flat_over, require_faiss
from index.tuning import IndexKind
from index.vector_index import Eligible, Hits, Vectors, checked_hits, checked_unit_vectors, kept
from index.vector_table import VectorTable

_KINDS: dict[str, IndexKind] = {"IndexFlatIP": "flat", "IndexHNSWFlat": "hnsw", "IndexIVFPQFastScan": "ivf"}


class FaissIndex:
    """Nearest neighbours among rows 1 … n by a FAISS index, made by `build_index` or `parse`.

    `structure`: what FAISS adds to the table: nothing, a graph without vectors, or cells of codes; `content`:
    bytes that it is a view of.
    Any thread may search at any time: together on the CPU; on a GPU, where FAISS wants them so, in turn.
    """

    def __init__(self, structure: Any, kind: IndexKind, table: VectorTable, content: object = None) -> None:
        self.kind: IndexKind = kind
        self.dim = table.dim
        self.table = table
        """The vectors that it searches."""
        self._structure = structure
        self._vectors = flat_over(table)
        self._content = content
        self._searcher = _joined(structure, kind, self._vectors)
        self.cells = Cells(structure, [table]) if kind == "ivf" else None
        """Its part that is searched where it is an ivf."""
        self._turn: AbstractContextManager[object] = nullcontext()
        self._on_gpu = False

    def __len__(self) -> int:
        return len(self.table)

    @property
    def effort(self) -> int | None:
        """Work that a search does: cells looked into (ivf), nodes kept on a walk (hnsw); None: all of it."""
        return _EFFORT[self.kind](self._structure)

    @property
    def efforts(self) -> tuple[int, int] | None:
        """The least and the most effort that makes sense; None where there is no choice."""
        if self.kind == "flat":
            return None
        return (1, tuning.MAX_HITS) if self.kind == "hnsw" else (1, int(self._structure.nlist))

    def with_effort(self, effort: int) -> "FaissIndex":
        """The same index (hnsw or ivf), searched with as much effort from now on."""
        if self.kind == "hnsw":
            self._structure.hnsw.efSearch = effort
        elif self.kind == "ivf":
            self._structure.nprobe = effort
        return self

    def search(self, queries: Vectors, k: int, eligible: Eligible | None = None) -> Hits:
        """The `k` nearest of each query, among `eligible` rows only where given.

        The others are left out during the search; where they are nearly all that is near, an ivf index looks
        further. A graph, which walks through them anyway, walks as much
        further as it is likely to meet of them; a GPU, which cannot, is asked for as many more hits.
        """
        if self.cells is not None:
            return self.cells.search(queries, k, eligible)
        queries = checked_unit_vectors(queries, "queries", self.dim)
        checked_hits(k)
        if self._on_gpu:
            return self._search_on_gpu(queries, k, eligible)
        return _hits(*self._searcher.search(queries, k, params=self._parameters(k, eligible)))

    def _parameters(self, k: int, eligible: Eligible | None) -> Any:
        faiss = require_faiss()
        chosen = None if eligible is None else faiss.IDSelectorBitmap(eligible.bitmap)
        if self.kind == "flat":
            return faiss.SearchParameters(sel=chosen)
        walk = self._structure.hnsw.efSearch
        if eligible is not None:
            walk = max(walk, self._deeper(k, eligible))
        return faiss.SearchParametersHNSW(sel=chosen, efSearch=walk)

    def _deeper(self, k: int, eligible: Eligible) -> int:
        deeper = math.ceil(tuning.FILTER_MARGIN * k / max(eligible.share, 1 / len(self)))
        return max(k, min(deeper, tuning.MAX_HITS))

    def _search_on_gpu(self, queries: Vectors, k: int, eligible: Eligible | None) -> Hits:
        with self._turn:
            if eligible is None:
                return _hits(*self._searcher.search(queries, k))
            found = _hits(*self._searcher.search(queries, self._deeper(k, eligible)))
        return kept(found, k, eligible)

    def on_gpu(self, device: int = 0) -> "FaissIndex":
        """Exact search of the same vectors on a GPU, for `flat` and `ivf`; at most 2,048 hits a query there.

        Raises `GpuUnavailableError` where FAISS was built without CUDA, no GPU is seen, or `kind` is
        `hnsw`, which stays on the CPU.
        """
        if not gpu_available():
            raise GpuUnavailableError(
                "no GPU index here: install the `gpu` extra on a machine with a CUDA device"
            )
        if self.kind == "hnsw":
            raise GpuUnavailableError("an hnsw index stays on the CPU: build the kind flat or ivf for a GPU")
        faiss = require_faiss()
        moved = FaissIndex(faiss.IndexFlatIP(self.dim), "flat", self.table)
        moved._searcher = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device, self._vectors)
        moved._turn, moved._on_gpu = Lock(), True
        return moved

    def write(self, path: Path) -> None:
        """Write what FAISS adds to the table to `path`, atomically; raises `IndexFileError` without room."""
        faiss = require_faiss()
        with replacing(path) as temporary:
            try:
                faiss.write_index(self._structure, str(temporary), faiss.IO_FLAG_SKIP_STORAGE)
            except RuntimeError as error:  # in place of an OSError
                raise IndexFileError(f"cannot write the index {path}: make room there") from error

    @classmethod
    def parse(cls, content: object, name: str, table: VectorTable) -> "FaissIndex":
        """The index over `table` in the bytes of a file that `write` wrote, looked at where they are.

        `content`: a buffer whose checksum the caller has compared; `name`: of the file. Raises
        `IndexFileError` for what `write` does not write, or for another number or width of vectors.
        """
        faiss = require_faiss()
        data = np.frombuffer(content, dtype=np.uint8)  # type: ignore[call-overload]
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data))
        try:
            structure = faiss.read_index(reader, faiss.IO_FLAG_SKIP_STORAGE)
        except RuntimeError as error:
            raise IndexFileError(
                f"{name} is no index that this FAISS can read: publish the bundle again"
            ) from error
        found = type(structure).__name__
        if found not in _KINDS:
            raise IndexFileError(
                f"{name} holds a {found}, no kind of index of this program: publish it again"
            )
        kind = _KINDS[found]
        if structure.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise IndexFileError(f"{name} does not rank by inner product: publish the bundle again")
        count = 0 if kind == "flat" else len(table)
        for claim, expected, got in (("dim", table.dim, structure.d), ("count", count, structure.ntotal)):
            if expected != got:
                raise IndexFileError(f"{name} has the {claim} {got}, expected {expected}: publish it again")
        return cls(structure, kind, table, data)


_EFFORT: dict[IndexKind, Callable[[Any], int | None]] = {
    "flat": lambda _: None,
    "hnsw": lambda structure: int(structure.hnsw.efSearch),
    "ivf": lambda structure: int(structure.nprobe),
}


def gpu_available() -> bool:
    """True where FAISS was built for CUDA and sees a GPU."""
    faiss = require_faiss()
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _joined(structure: Any, kind: IndexKind, vectors: Any) -> Any:
    """The structure together with the vectors, as it is searched; FAISS owns neither."""
    if kind == "hnsw":
        structure.storage, structure.own_fields = vectors, False
    return vectors if kind == "flat" else structure


def _hits(cosines: Vectors, positions: Any) -> Hits:
    cosines[positions < 0] = -np.inf
    return Hits(cosines, np.where(positions < 0, -1, positions + 1))
