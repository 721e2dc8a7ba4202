"""The protocol of a recommender that is evaluated: score the whole catalogue for a batch of histories."""

from typing import Protocol

from training.data.splits import Histories
from training.evaluation.metrics import Scores


class Scorer(Protocol):
    """A recommender that can score every item; the order of the scores is its ranking."""

    @property
    def items(self) -> int:
        """Size of the catalogue."""

    def score(self, histories: Histories) -> Scores:
        """Finite scores `(rows, items)`, column i for item row i + 1; no row depends on another."""
