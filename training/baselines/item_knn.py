"""Item-based nearest neighbours (Sarwar et al., WWW 2001; Deshpande and Karypis, TOIS 2004)."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from training.data.splits import Histories, Sequences, Split
from training.evaluation.metrics import Scores
from training.evaluation.ranking import evaluate

NEIGHBOURS = 500
"""Similar items that each item keeps.

NDCG@10 on validation with 20, 100, 500 and all, at a decay of .8 (`python -m benchmarks.quality.constants
neighbours`): MovieLens-100K .103, .102, .106, .107; KuaiRand-Pure .0379, .0430, .0453, .0453; Amazon Beauty
.0435, .0452, .0464, .0464.
"""
DECAYS = (1.0, 0.9, 0.8, 0.6, 0.4)
"""Weights of an event relative to the next newer one, from which `ItemKNN.tuned` chooses."""

_BLOCK = 1024
"""Items whose similarities to all others are in memory at once: of 100,000 items at most 800 MB."""


@dataclass(frozen=True)
class ItemKNN:
    """Scores an item by its cosine similarity to the history's items, newer ones counting more.

    Similarity: |users of both| / √(|users of one| · |users of the other|), over training sequences. Each item
    keeps its `neighbours` most similar ones. The newest event of a history weighs 1, each older one `decay`
    times the next newer.
    """

    similarity: sparse.csr_array
    """`(items, items)`"""
    decay: float

    @classmethod
    def fit(
        cls, train: Sequences, items: int, *, neighbours: int = NEIGHBOURS, decay: float = 0.8
    ) -> "ItemKNN":
        """Learn the similarities of `items` items from training sequences."""
        return cls(_similarity(train, items, neighbours), decay)

    @classmethod
    def tuned(cls, split: Split, items: int) -> "ItemKNN":
        """Learn from the training part, with the `decay` of the best NDCG@10 on the validation part.

        Seen items are removed, as in serving. Ties go to the larger decay.
        """
        fitted = cls.fit(split.train, items)
        candidates = [replace(fitted, decay=decay) for decay in DECAYS]
        quality = [
            evaluate(candidate, split.validation, ks=(10,), exclude_seen=True).metrics["ndcg@10"]
            for candidate in candidates
        ]
        return candidates[int(np.argmax(quality))]

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return int(self.similarity.shape[0])

    def score(self, histories: Histories) -> Scores:
        """Sum of weighted similarities to the events of each history `(rows, items)`."""
        rows, positions = histories.flattened()
        age = histories.ends[rows] - 1 - positions
        weights = np.power(self.decay, age, dtype=np.float64).astype(np.float32)
        shape = (len(histories), self.items)
        weighted = sparse.csr_array((weights, (rows, histories.items[positions] - 1)), shape=shape)
        scores: Scores = (weighted @ self.similarity).toarray()
        return scores


def _similarity(train: Sequences, items: int, neighbours: int) -> sparse.csr_array:
    """Cosine similarities `(items, items)` of each item to its nearest `neighbours`, itself left out."""
    users = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    once = np.unique(users * items + train.items - 1)
    watched = sparse.csr_array(
        (np.ones(len(once), np.float32), (once % items, once // items)), shape=(items, len(train))
    )
    watchers = watched.sum(axis=1)
    by_user = watched.T.tocsr()
    blocks = []
    for first in range(0, items, _BLOCK):
        shared = watched[first : first + _BLOCK] @ by_user
        rows = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        norms = np.sqrt(watchers[rows + first].astype(np.float64) * watchers[shared.indices])
        shared.data = (shared.data / norms).astype(np.float32)
        blocks.append(_nearest(shared, rows, first, neighbours))
    return sparse.vstack(blocks, format="csr")


def _nearest(
    similarity: sparse.csr_array, rows: npt.NDArray[np.int64], first: int, neighbours: int
) -> sparse.csr_array:
    """The largest `neighbours` entries of each row of a block that starts at item `first`; no diagonal."""
    others = similarity.indices != rows + first
    rows, columns, values = rows[others], similarity.indices[others], similarity.data[others]
    order = np.lexsort((columns, -values, rows))
    index = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = order[index < neighbours]
    return sparse.csr_array((values[kept], (rows[kept], columns[kept])), shape=similarity.shape)
