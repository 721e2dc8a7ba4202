"""FAISS itself, imported at the first need, and its way to look at a table of vectors."""

import logging
from typing import Any

import numpy as np

from index.errors import FaissMissingError
from index.vector_table import VectorTable

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


def flat_over(table: VectorTable) -> Any:
    """FAISS's flat index over the vectors of a table, which it looks at and does not copy."""
    faiss = require_faiss()
    codes = table.all.reshape(-1).view(np.uint8)
    flat = faiss.IndexFlatIP(table.dim)
    flat.codes = faiss.MaybeOwnedVectorUInt8.create_view(
        faiss.swig_ptr(codes), codes.nbytes, flat.codes.owner
    )
    flat.ntotal = len(table)
    return flat
