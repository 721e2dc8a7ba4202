"""Everybody gets what most people watched."""

import numpy as np

from training.data.splits import Histories, Sequences
from training.evaluation.metrics import Scores


class Popularity:
    """Scores an item by its number of training events, whatever the history."""

    def __init__(self, train: Sequences, items: int) -> None:
        self._counts = train.events_per_item(items).astype(np.float32)

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._counts)

    def score(self, histories: Histories) -> Scores:
        """The same scores `(rows, items)` for every history (a read-only view of one row)."""
        return np.broadcast_to(self._counts, (len(histories), len(self._counts)))
