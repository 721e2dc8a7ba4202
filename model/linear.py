"""Linear maps, computed by oneDNN where that is quicker.

Torch gives float32 products to MKL, which keeps AMD's processors to narrow vectors: one core of a Zen 5 makes
110 GFLOPS with it and 240 with oneDNN, which for other types torch uses itself. The operator is the one that
`torch.compile` emits. Below some rows its call costs more than it saves, and it knows no gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_ROWS = 32
"""Rows from which oneDNN is quicker: 256 × 256, 24 rows 28 µs against 32, 16 rows 25 against 24."""
ROW_STEP = 16
"""Numbers of rows that vary are rounded up to multiples of this.

oneDNN makes a kernel for each number, .4 ms the first time, and keeps a thousand.
"""

_ONEDNN: Any = torch.ops.mkldnn._linear_pointwise.default if torch._C._has_mkldnn else None


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`values` `(…, in)` @ `weight` `(out, in)`ᵀ + `bias`, as `functional.linear`."""
    if _suits_onednn(values):
        mapped: Tensor = _ONEDNN(values, weight, bias, "none", [], "")
        return mapped
    return functional.linear(values, weight, bias)


def rounded_up(rows: int) -> int:
    """The number of rows to compute instead of `rows`."""
    return rows if rows < MIN_ROWS else -(-rows // ROW_STEP) * ROW_STEP


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, values: Tensor) -> Tensor:
        """`(…, in)` → `(…, out)`."""
        return linear(values, self.weight, self.bias)


def _suits_onednn(values: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and not torch.is_grad_enabled()
        and values.dtype == torch.float32
        and values.device.type == "cpu"
        and values.numel() >= MIN_ROWS * values.shape[-1]
    )
