"""An index measured on the queries that it is for, and given the effort that its recall needs."""

import time
from typing import NamedTuple

import numpy as np

from index.building import build_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.pooling import SOFTMAX_HITS
from index.tuning import IndexChoice
from index.vector_index import Rows, Vectors

MEASURED_HITS = 100
"""Nearest items that an index should find, of the `SOFTMAX_HITS` that retrieval asks for at least."""
MEASURED_BATCH = 64
"""Queries that are searched at once: between the ten of one request and the hundreds of a full batch."""
MAX_MEASURED = 1_024
"""Queries that recall is measured on, all of them again for each effort that is tried: at 1,000,000 items
their exact search takes seconds.
"""


class Measurement(NamedTuple):
    """Recall and speed of an index on some queries."""

    recall: float
    """Part of the exact nearest `MEASURED_HITS` items that it finds, 0 … 1."""
    ms: float
    """Time of a query, searched with `MEASURED_BATCH` at once; the median batch."""


def tuned_index(
    vectors: Vectors, choice: IndexChoice, queries: Vectors, target: float
) -> tuple[FaissIndex, Measurement]:
    """The index of unit `vectors` with no more effort than finds a part `target` of each query's nearest.

    `auto` takes a flat index where that is as fast. The target is missed where no effort reaches it.
    """
    queries = queries[:MAX_MEASURED]
    exact = build_index(vectors, "flat")
    nearest = ExactIndex(exact.table).search(queries, min(MEASURED_HITS, len(vectors))).rows
    index = build_index(vectors, choice)
    _tune(index, queries, nearest, target)
    found = measure(index, queries, nearest)
    if choice == "auto" and index.kind != "flat":
        whole = measure(exact, queries, nearest)
        if whole.ms <= found.ms:
            return exact, whole
    return index, found


def measure(index: FaissIndex, queries: Vectors, nearest: Rows) -> Measurement:
    """Search all `queries`, whose exact `nearest` rows (queries, hits) are known."""
    rows, times = [], []
    for first in range(0, len(queries), MEASURED_BATCH):
        batch = queries[first : first + MEASURED_BATCH]
        started = time.perf_counter()
        hits = index.search(batch, SOFTMAX_HITS)
        times.append(1000 * (time.perf_counter() - started) / len(batch))
        rows.append(hits.rows)
    return Measurement(recall(np.concatenate(rows), nearest), float(np.median(times)))


def recall(found: Rows, nearest: Rows) -> float:
    """Part of the `nearest` rows (queries, hits) that are among as many that were `found`."""
    hits = nearest.shape[1]
    pairs = zip(found[:, :hits].tolist(), nearest.tolist(), strict=True)
    return sum(len(set(line) & set(best)) for line, best in pairs) / max(1, nearest.size)


def _tune(index: FaissIndex, queries: Vectors, nearest: Rows, target: float) -> None:
    """Bisect for the least effort that reaches the target; recall grows with effort, but for chance."""
    if index.efforts is None:
        return
    low, high = index.efforts
    while low < high:
        middle = (low + high) // 2
        index.with_effort(middle)
        if measure(index, queries, nearest).recall >= target:
            high = middle
        else:
            low = middle + 1
    index.with_effort(high)
