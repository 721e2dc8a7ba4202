"""Histories without their padding: what maps each event for itself then computes none that is not there."""

import torch
from torch import Tensor

from model.linear import rounded_up


class Packing:
    """The events of windows with mask `(batch, length)`, laid end to end, oldest history first.

    There are `rounded_up` of them (`model.linear`): the last one fills up.
    """

    def __init__(self, mask: Tensor) -> None:
        self._shape = mask.shape
        present = mask.flatten().nonzero().squeeze(1)
        self._newest = mask.sum(1).cumsum(0) - 1
        self._index = torch.cat([present, present[-1:].expand(rounded_up(len(present)) - len(present))])

    def pack(self, padded: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(events, dim)`."""
        return padded.flatten(0, 1)[self._index]

    def unpack(self, packed: Tensor, empty: float = 0.0) -> Tensor:
        """`(events, dim)` → `(batch, length, dim)`, `empty` where there is no event."""
        batch, length = self._shape
        padded = packed.new_full((batch * length, packed.shape[1]), empty)
        return padded.index_copy_(0, self._index, packed).view(batch, length, -1)

    def newest(self, packed: Tensor) -> Tensor:
        """`(events, dim)` → `(batch, dim)`: the newest event of each history."""
        return packed[self._newest]
