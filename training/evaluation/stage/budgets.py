"""A fixed number of distinct candidates, fetched from every interest in turn."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from training.evaluation.metrics import top_items


class Fetched(NamedTuple):
    """Candidates of some histories."""

    items: npt.NDArray[np.int64]
    """Distinct item rows in the order in which they were met `(rows, k)`; 0 where there are no more."""
    read: npt.NDArray[np.int64]
    """Entries of the interests' lists that had been read when each was met, repeated ones too `(rows, k)`."""


def fetched(affinities: Tensor, k: int) -> Fetched:
    """The first `k` distinct items of the interests' lists, read in turn.

    That is each one's best, then each one's second, and so on: K distinct candidates are about K/M of each
    of M interests, and what two of them share is refilled. An item of affinity −inf
    `(rows, interests, items)` is on no list.
    """
    rows, interests, items = affinities.shape
    lists = top_items(affinities.reshape(rows * interests, items).cpu().numpy(), min(k, items))
    in_turn = lists.reshape(rows, interests, -1).swapaxes(1, 2).reshape(rows, -1)
    found = Fetched(np.zeros((rows, k), np.int64), np.full((rows, k), in_turn.shape[1], np.int64))
    for row, read in enumerate(in_turn):
        distinct, first = np.unique(read, return_index=True)
        met = np.sort(first[distinct > 0])[:k]
        found.items[row, : len(met)] = read[met]
        found.read[row, : len(met)] = met + 1
    return found
