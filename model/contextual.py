"""The extractor of large logs: interests read off a causal transformer that forgets."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.dropout import Dropout
from model.embeddings import PositionTable
from model.extractor import Extractor, spread_log_rates, visible_from_each_position
from model.gate import Gate
from model.linear import Linear
from model.transformer import TransformerBlock, newest_states

_APART = 0.5
"""Chosen: a turn of a mixture starts at half of the state's length, at a cosine of .9 to it."""


class Contextual(Extractor):
    """K interests read off the newest state of a causal transformer.

    Not in the paper: self-attentive pooling sees each event for itself, this sees it among those before. The
    last interest is the state itself, close to the items it was made of; the others add a learned turn that
    starts near none, so that they live in the same space. More for the next item may go with the last, mixed
    by a gate; their turns start apart, for under one likelihood what is equal stays equal. Attention takes
    ρ · age off its logits, with a learned rate ρ per head that starts between 0.02 and 0.6 per event, as
    ALiBi's slopes do.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.interests = config.guidance_vectors
        self.positions = PositionTable(config.max_length, config.dim)
        self.scale = config.dim**0.5
        self.dropout = Dropout(config.dropout)
        self.item_dropout = config.item_dropout
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.blocks))
        self.log_rates = nn.Parameter(spread_log_rates(config.heads, 0.6).repeat(config.blocks, 1))
        self.norm = nn.LayerNorm(config.dim)
        self.turns = nn.ModuleList(_turn(config.dim, 1e-3) for _ in range(config.guidance_vectors - 1))
        self.mixed = config.next_vectors
        if self.mixed > 1:
            apart = _APART * config.dim**-0.5
            self.turns.extend(_turn(config.dim, apart) for _ in range(self.mixed - 1))
            self.gate = Gate(config.dim, config.guidance_count, self.mixed)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`."""
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        attention = list(self._attention(mask, vectors.dtype))
        return self._turned(newest_states(self.blocks, states, mask, attention))

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: the encoder is causal, so its state at a position is that prefix's newest."""
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        for block, penalty in zip(self.blocks, self._attention(mask, vectors.dtype), strict=True):
            states = block(states, penalty)
        return self._turned(states)

    def _attention(self, mask: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
        """The logits that each block adds to those of its attention, `(batch, heads, length, length)`."""
        visible = visible_from_each_position(self._kept(mask))[:, None]
        positions = torch.arange(mask.shape[1], device=mask.device)
        ages = (positions[:, None] - positions).clamp_min(0).to(dtype)
        for log_rates in self.log_rates:
            penalty = log_rates.exp()[:, None, None] * ages
            yield (-penalty).masked_fill(~visible, -torch.inf)

    def _turned(self, states: Tensor) -> Tensor:
        """The interests read off states `(…, dim)`: `(…, interests, dim)`."""
        states = self.norm(states)
        return torch.stack([*(states + turn(states) for turn in self.turns), states], dim=-2)

    def for_next(self, guidance: Tensor) -> Tensor:
        """The newest state and those mixed with it."""
        return guidance[:, -self.mixed :]

    def for_later(self, guidance: Tensor) -> Tensor:
        """The others, or the newest state where there are none."""
        return guidance[:, : -self.mixed] if self.interests > 1 else guidance

    def _kept(self, mask: Tensor) -> Tensor:
        """In training some events are hidden from all later ones, as if they had not happened."""
        if not self.training or not self.item_dropout:
            return mask
        return mask & (torch.rand(mask.shape, device=mask.device) >= self.item_dropout)


def _turn(dim: int, std: float) -> Linear:
    turn = Linear(dim, dim)
    nn.init.normal_(turn.weight, std=std)
    nn.init.zeros_(turn.bias)
    return turn
