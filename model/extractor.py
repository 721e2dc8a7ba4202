"""The common part of guidance extraction modules (`model.guidance`)."""

import math

import torch
from torch import Tensor, nn

from model.gate import Gate


class Extractor(nn.Module):
    """The common part of all extractors: guidance of a whole history, and of each of its prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Gate | None = None
        """It mixes the interests for the next item, where there are several under one likelihood."""

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Guidance of each history, `(batch, interests, dim)`."""
        raise NotImplementedError

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Guidance at each position as if the history ended there, `(batch, length, interests, dim)`.

        Equal to `forward` on every prefix; here by one row per prefix, overridden where one pass over
        the history gives them all. Positions of padding hold values of no meaning.
        """
        batch, length = mask.shape
        positions = torch.arange(length, device=mask.device)
        # Of prefix p, position s holds event s − (length − 1 − p).
        shifted = positions + positions[:, None] - (length - 1)
        rows = vectors[:, shifted.clamp_min(0)].flatten(0, 1)
        visible = (mask[:, shifted.clamp_min(0)] & (shifted >= 0)).flatten(0, 1)
        guidance: Tensor = self(rows * visible[..., None], visible)
        return guidance.view(batch, length, *guidance.shape[1:])

    def for_next(self, guidance: Tensor) -> Tensor:
        """Interests `(rows, interests, dim)` that are to match the next item: all, unless overridden."""
        return guidance

    def for_later(self, guidance: Tensor) -> Tensor:
        """Interests that are to match an item after the next: all, unless overridden."""
        return guidance

    def log_shares(self, guidance: Tensor) -> Tensor | None:
        """Log π of those for the next item `(rows, mixed)`, the last ones; None where no gate mixes them."""
        return None if self.gate is None else self.gate(guidance)


def visible_from_each_position(mask: Tensor) -> Tensor:
    """`(batch, length, length)`: what position q may look at, its past and itself.

    A padded position sees itself, or its softmax would be NaN.
    """
    length = mask.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    return (causal & mask[:, None, :]) | torch.eye(length, dtype=torch.bool, device=mask.device)


def spread_log_rates(count: int, fastest: float) -> Tensor:
    """Rates of forgetting per event, from 0.02 (the whole window counts) up, as logarithms `(count,)`."""
    return torch.logspace(math.log10(0.02), math.log10(fastest), count).log()
