"""What every recommender that is evaluated can do: score the whole catalogue for a batch of histories."""

import zlib
from typing import Protocol

import torch
from torch import Tensor

from model.batch import HistoryBatch
from model.sampler import starting_noise
from training.metrics import Scores
from training.splits import Histories


class Scorer(Protocol):
    """A recommender that can score every item; the order of the scores is its ranking."""

    @property
    def items(self) -> int:
        """Size of the catalogue."""

    def score(self, histories: Histories) -> Scores:
        """Finite scores `(rows, items)`, column i for item row i + 1; no row depends on another."""


def starting_noises(history: HistoryBatch, draws: int, dim: int, seed: int) -> Tensor:
    """Noise for `draws` draws of each row, `(rows · draws, dim)` on the sphere, where the history lies.

    A row's is a function of `seed` and the items that the model reads of it, and of no other row.
    """
    rows = zip(history.items.cpu().numpy(), history.mask.cpu().numpy(), strict=True)
    seeds = [zlib.crc32(items[mask].tobytes(), seed & 0xFFFFFFFF) for items, mask in rows]
    return torch.cat([starting_noise(of_row, draws, dim) for of_row in seeds]).to(history.items.device)
