"""A batch of histories, and the one place that truncates, pads and masks them.

Training and serving both call `windows`, so the model cannot see one format here and another there.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class HistoryBatch(NamedTuple):
    """Histories, newest last, padded on the left with row 0."""

    items: Tensor
    """`(batch, length)` int64 item rows, 0 = padding."""
    mask: Tensor
    """`(batch, length)` bool, True where there is an item."""

    def to(self, device: torch.device | str) -> "HistoryBatch":
        """The same batch on another device; does not wait for the copy."""
        return HistoryBatch(*(part.to(device, non_blocking=True) for part in self))


class PrefixBatch(NamedTuple):
    """Training examples: some prefixes of some histories, and what followed each."""

    history: HistoryBatch
    positions: Tensor
    """`(examples,)` int64: where each prefix ends, as an index into the flattened `(batch · length)`."""
    targets: Tensor
    """`(examples,)` int64 item rows: the next item."""
    later: Tensor
    """`(examples,)` int64 item rows: an item after the next one, 0 where there is none."""

    def to(self, device: torch.device | str) -> "PrefixBatch":
        """The same batch on another device; does not wait for the copy."""
        return PrefixBatch(
            self.history.to(device), *(part.to(device, non_blocking=True) for part in self[1:])
        )


def windows(
    flat: npt.NDArray[np.integer],
    starts: npt.NDArray[np.integer],
    ends: npt.NDArray[np.integer],
    max_length: int,
) -> HistoryBatch:
    """Cut the newest `max_length` items of each `flat[start:end]` out of one flat log.

    `flat` holds the item rows of all users one after the other; `starts` and `ends` are `(batch,)`.
    Nothing is copied but the windows themselves, so memory grows with the batch and not with the log.
    Raises ValueError if a history is empty: the model has nothing to say about it.
    """
    if np.any(ends <= starts):
        raise ValueError("a history is empty: give at least one known item per row")
    length = min(int((ends - starts).max()), max_length)
    positions = np.asarray(ends)[:, None] + np.arange(-length, 0)
    mask = positions >= np.asarray(starts)[:, None]
    items = np.where(mask, flat[np.maximum(positions, 0)], 0).astype(np.int64)
    return HistoryBatch(torch.from_numpy(items), torch.from_numpy(mask))


def collate(
    histories: Sequence[Sequence[int]], max_length: int, device: torch.device | str = "cpu"
) -> HistoryBatch:
    """Batch histories of item rows (oldest first), keeping the newest `max_length` of each.

    Raises ValueError if a history is empty.
    """
    newest = [history[-max_length:] for history in histories]
    ends = np.cumsum([len(history) for history in newest])
    flat = np.fromiter(chain.from_iterable(newest), np.int64, count=int(ends[-1]) if len(ends) else 0)
    starts = np.concatenate([[0], ends[:-1]])
    return windows(flat, starts, ends, max_length).to(device)
