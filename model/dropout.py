"""Dropout by comparison with uniform noise: the law of `nn.Dropout`, on a CPU several times as fast."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """In training each value is 0 with the chance `share`, and else divided by 1 − `share`."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape; what is random comes from torch's global generator."""
        if not self.training or not self.share:
            return values
        kept = torch.rand_like(values, dtype=torch.float32) >= self.share
        return values * kept / (1 - self.share)
