"""What every recommender that is evaluated can do: score the whole catalogue for a batch of histories."""

import zlib
from typing import Protocol

from model.batch import HistoryBatch
from training.metrics import Scores
from training.splits import Histories


class Scorer(Protocol):
    """A recommender that can score every item; the order of the scores is its ranking."""

    @property
    def items(self) -> int:
        """Size of the catalogue."""

    def score(self, histories: Histories) -> Scores:
        """Finite scores `(rows, items)`, column i for item row i + 1; no row depends on another."""


def noise_seeds(history: HistoryBatch, seed: int) -> list[int]:
    """One seed a row, a function of `seed` and the items that the model reads of that row alone."""
    rows = zip(history.items.cpu().numpy(), history.mask.cpu().numpy(), strict=True)
    return [zlib.crc32(items[mask].tobytes(), seed & 0xFFFFFFFF) for items, mask in rows]
