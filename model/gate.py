"""The gate of a mixture: how likely each of the interests for the next item is to hold it, by the history."""

import torch
from torch import Tensor, nn

from model.linear import Linear


class Gate(nn.Module):
    """π(history) of the last `mixed` guidance vectors, read off all of them; equal shares at the start."""

    def __init__(self, dim: int, guidance: int, mixed: int) -> None:
        super().__init__()
        self.mixed = mixed
        self.others = guidance - mixed
        self.scale = dim**0.5  # unit vectors have coordinates of size 1/√d
        self.logits = Linear(guidance * dim, mixed)
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def forward(self, guidance: Tensor) -> Tensor:
        """Log π `(rows, mixed)` of unit guidance vectors `(rows, guidance, dim)`."""
        shares: Tensor = self.logits(guidance.flatten(1) * self.scale).log_softmax(-1)
        return shares

    def weights(self, guidance: Tensor) -> Tensor:
        """Of all guidance vectors in their mean, `(rows, guidance)` of sum 1.

        Those that are mixed have their shares of one interest, and each of the others counts as one.
        """
        shares = self(guidance).exp()
        others = shares.new_ones(len(shares), self.others)
        return torch.cat([others, shares], dim=1) / (self.others + 1)
