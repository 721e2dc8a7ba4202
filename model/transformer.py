"""The transformer of `contextual` and `sasrec`: all states for training, the newest alone for serving."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig
from model.dropout import Dropout
from model.linear import Linear, linear
from model.packing import Packing


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward.

    The masks `(batch, 1 or heads, length, length)` are bool, True where there is something to see, or float,
    to be added to the logits.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = Dropout(config.dropout)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.qkv = Linear(config.dim, 3 * config.dim)
        self.project = Linear(config.dim, config.dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(config.dim),
            Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            Dropout(config.dropout),
            Linear(4 * config.dim, config.dim),
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → the same shape."""
        query, key, value = self.qkv(self.attention_norm(states)).chunk(3, dim=-1)
        return self._fed(states, self._attended(query, key, value, mask))

    def packed(self, states: Tensor, packing: Packing, mask: Tensor) -> Tensor:
        """The same of the events alone `(events, dim)`."""
        query, key, value = packing.unpack(self.qkv(self.attention_norm(states))).chunk(3, dim=-1)
        return self._fed(states, packing.pack(self._attended(query, key, value, mask)))

    def newest(self, states: Tensor, packing: Packing, mask: Tensor) -> Tensor:
        """The same at the newest event of each history alone: `(events, dim)` → `(batch, dim)`."""
        normed = self.attention_norm(states)
        dim = states.shape[1]
        rows = torch.tensor_split(self.qkv.weight, [dim]), torch.tensor_split(self.qkv.bias, [dim])
        (of_query, of_others), (query_bias, others_bias) = rows
        key, value = packing.unpack(linear(normed, of_others, others_bias)).chunk(2, dim=-1)
        query = linear(packing.newest(normed), of_query, query_bias)[:, None]
        return self._fed(packing.newest(states), self._attended(query, key, value, mask[..., -1:, :])[:, 0])

    def _attended(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """`(batch, queries, dim)` and twice `(batch, length, dim)` → `(batch, queries, dim)`."""
        query, key, value = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2)

    def _fed(self, states: Tensor, attended: Tensor) -> Tensor:
        states = states + self.dropout(self.project(attended))
        update: Tensor = self.dropout(self.feed_forward(states))
        return states + update


def newest_states(blocks: nn.ModuleList, states: Tensor, mask: Tensor, visible: Sequence[Tensor]) -> Tensor:
    """The newest state of each history after all `blocks`, `(batch, dim)`.

    `states` `(batch, length, dim)` and `mask` `(batch, length)` as in `model.guidance`; `visible`: the mask
    of each block. Nothing is computed of padding, nor by the last block of older events but what it looks at.
    """
    packing = Packing(mask)
    packed = packing.pack(states)
    *before, last = cast("Iterable[TransformerBlock]", blocks)
    for block, seen in zip(before, visible[:-1], strict=True):
        packed = block.packed(packed, packing, seen)
    return last.newest(packed, packing, visible[-1])
