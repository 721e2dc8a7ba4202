"""Building FAISS indexes: the only module that changes one."""

from typing import Any

import numpy as np

from index import tuning
from index.cells import Cells
from index.errors import VectorError
from index.faiss_index import FaissIndex
from index.faiss_library import require_faiss
from index.tuning import IndexChoice
from index.vector_index import VectorIndex, Vectors, checked_unit_vectors
from index.vector_table import VectorTable


def build_index(vectors: Vectors, kind: IndexChoice = "auto") -> FaissIndex:
    """Index unit `vectors` (n, dim) as rows 1 … n; `auto` chooses the kind by n (`index.tuning`).

    `flat` is exact. The same vectors give the same `flat` and `ivf` index; `hnsw` is linked by
    several threads at once, so that two builds may differ in a hit at the margin.
    """
    require_faiss()
    vectors = checked_unit_vectors(vectors, "vectors")
    if not len(vectors):
        raise VectorError("an index needs at least one vector")
    chosen = tuning.choose_kind(len(vectors)) if kind == "auto" else kind
    if chosen not in _BUILDERS:
        raise VectorError(f"unknown index kind {chosen!r}: choose auto, flat, hnsw or ivf")
    table = VectorTable(vectors)
    return FaissIndex(_BUILDERS[chosen](table), chosen, table)


def cells_of(index: VectorIndex) -> Cells | None:
    """The part of an index that rows can be added to, in a copy; None where it is no ivf of this process."""
    return index.cells if isinstance(index, FaissIndex) else None


def extended(cells: Cells, added: Vectors) -> Cells:
    """A copy of an index, with all of `added` (rows, dim), unit vectors, after the rows of its bundle.

    `cells`: of a bundle, or made here of fewer of these rows. Centres and codes stay as they were trained, so
    that this takes little: 20,000 rows .2 s.
    """
    first = cells.tables[0]
    structure = require_faiss().clone_index(cells.structure)
    structure.add(np.ascontiguousarray(added[len(cells) - len(first) :]))
    return Cells(structure, [first, VectorTable(added)])


def _flat(table: VectorTable) -> Any:
    return require_faiss().IndexFlatIP(table.dim)


def _hnsw(table: VectorTable) -> Any:
    faiss = require_faiss()
    index = faiss.IndexHNSWFlat(table.dim, tuning.HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = tuning.HNSW_BUILD_DEPTH
    index.hnsw.efSearch = tuning.HNSW_SEARCH_DEPTH
    index.add(table.all)
    faiss.downcast_index(index.storage).reset()  # its copy of the vectors: they are in the table
    return index


def _ivf(table: VectorTable) -> Any:
    """Cells around centres, and in them 4 bits for each dimension of what is left of a vector."""
    faiss = require_faiss()
    dim, cells = table.dim, tuning.ivf_cells(len(table))
    centres = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFPQFastScan(centres, dim, cells, dim, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = True
    index.cp.spherical = True
    index.cp.niter = tuning.IVF_TRAINING_ROUNDS
    index.cp.min_points_per_centroid = 1  # cells are never this small, but for a catalogue of a few items
    index.cp.max_points_per_centroid = tuning.IVF_TRAINING_POINTS_PER_CELL
    # Codes are learned from no fewer vectors than this: those of a catalogue of a few items count repeatedly.
    index.train(np.resize(table.all, (max(len(table), tuning.IVF_MIN_TRAINING_POINTS), dim)))
    index.add(table.all)
    index.nprobe = tuning.ivf_probes(cells)
    return index


_BUILDERS = {"flat": _flat, "hnsw": _hnsw, "ivf": _ivf}
