"""GEM, the guidance extraction module (paper §4.2): g = GEM(S) ∈ R^{K×d}.

The paper's five extractors, and two of our own that know order and age, behind one call.
Each takes the item vectors of histories `(batch, length, dim)`, newest last and zero where padded on the
left, with their mask `(batch, length)`.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig
from model.dropout import Dropout
from model.embeddings import PositionTable
from model.gate import Gate
from model.linear import Linear
from model.packing import Packing
from model.routing import route
from model.transformer import TransformerBlock, newest_states

_APART = 0.5
"""Chosen: a turn of a mixture starts at half of the state's length, at a cosine of .9 to it."""

_PACE = 5.0
"""Chosen: biases by distance move five times as fast as other parameters, for a small fit takes few steps."""


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


class SelfAttentive(Extractor):
    """Additive self-attention pooling (ComiRec-SA): A = softmax_N(W2 tanh(W1 (H + P))), g = AᵀH."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.positions = PositionTable(config.max_length, config.dim)
        self.hidden = Linear(config.dim, 4 * config.dim, bias=False)
        self.interests = Linear(4 * config.dim, config.guidance_vectors, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`; each event is mapped once, padding never."""
        vectors = self.dropout(vectors)
        packing = Packing(mask)
        hidden = self.hidden(packing.pack(vectors + self.positions(mask)))
        squashed = 2 * torch.sigmoid(2 * hidden) - 1  # tanh, which takes torch ten times as long
        logits = packing.unpack(self.interests(squashed), empty=-torch.inf).transpose(1, 2)
        ages = torch.arange(mask.shape[1] - 1, -1, -1, device=mask.device)
        return (logits - self._penalty(ages)).softmax(-1) @ vectors

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: an event's logit is the same in every prefix, up to what its age takes off."""
        vectors = self.dropout(vectors)
        positions = torch.arange(mask.shape[1], device=mask.device)
        ages = (positions[:, None] - positions).clamp_min(0)
        logits = self._logits(vectors, mask)[:, :, None] - self._penalty(ages)
        visible = visible_from_each_position(mask)[:, None]
        attention = logits.masked_fill(~visible, -torch.inf).softmax(-1)
        return (attention @ vectors[:, None]).transpose(1, 2)

    def _penalty(self, ages: Tensor) -> Tensor:
        """The amount that each interest takes off the logits of events by their age, `(interests, …)`."""
        return torch.zeros((1,) * (ages.ndim + 1), device=ages.device)

    def _logits(self, vectors: Tensor, mask: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden(vectors + self.positions(mask)))
        logits: Tensor = self.interests(hidden)
        return logits.transpose(1, 2)


class RecencyAttentive(SelfAttentive):
    """Self-attentive pooling in which an event's logit falls by ρ_k with every event after it.

    Not in the paper: each interest learns how fast it forgets. The rates start spread from 0.02 (the whole
    window counts) to 1.28 (the newest two or three events), as ALiBi's slopes do.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.log_rates = nn.Parameter(_spread_log_rates(config.guidance_vectors, 1.28))

    def _penalty(self, ages: Tensor) -> Tensor:
        return self.log_rates.exp().view(-1, *(1,) * ages.ndim) * ages


class DynamicRouting(Extractor):
    """Capsules by routing-by-agreement (ComiRec-DR): items vote for K interests, which vote back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.iterations = config.routing_iterations
        scale = config.dim**-0.5
        self.transform = nn.Parameter(torch.randn(config.guidance_vectors, config.dim, config.dim) * scale)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`, each of norm < 1 by the squash."""
        return self._routed(vectors, mask[:, None])[:, 0]

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: an event votes the same in every prefix; only which votes are counted differs."""
        return self._routed(vectors, visible_from_each_position(mask))

    def _routed(self, vectors: Tensor, visible: Tensor) -> Tensor:
        """Interests of the histories that see `visible` `(batch, histories, length)` of the events."""
        votes = torch.einsum("bnd,kde->bkne", vectors, self.transform)
        agreement = votes.new_zeros(1).expand(*votes.shape[:2], *visible.shape[1:])
        return route(votes, agreement, visible, self.iterations)


class CausalTransformer(Extractor):
    """SASRec's encoder; its state at the newest event is the one guidance vector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.positions = PositionTable(config.max_length, config.dim)
        self.scale = config.dim**0.5
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, 1, dim)`."""
        visible = visible_from_each_position(mask)[:, None]
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        guidance: Tensor = self.norm(newest_states(self.blocks, states, mask, [visible] * len(self.blocks)))
        return guidance[:, None]

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: the encoder is causal, so its state at a position is that prefix's guidance."""
        visible = visible_from_each_position(mask)[:, None]
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        for block in self.blocks:
            states = block(states, visible)
        guidance: Tensor = self.norm(states)
        return guidance[:, :, None]


class Contextual(Extractor):
    """K interests read off the newest state of a causal transformer.

    Not in the paper: self-attentive pooling sees each event for itself, this sees it among those before. The
    last interest is the state itself, close to the items it was made of; the others add a learned turn that
    starts near none, so that they live in the same space. More for the next item may go with the last, mixed
    by a gate; their turns start apart, for under one likelihood what is equal stays equal. Attention takes
    ρ · age off its logits, with a learned rate ρ per head that starts between 0.02 and 0.6 per event, as
    ALiBi's slopes do; and, where asked for, what a head learns of each power of two of the age.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.interests = config.guidance_vectors
        self.positions = PositionTable(config.max_length, config.dim)
        self.scale = config.dim**0.5
        self.dropout = Dropout(config.dropout)
        self.item_dropout = config.item_dropout
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.blocks))
        self.log_rates = nn.Parameter(_spread_log_rates(config.heads, 0.6).repeat(config.blocks, 1))
        self.distances = _distances(config) if config.distance_bias else None
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
        attention = list(self._attention(mask))
        return self._turned(newest_states(self.blocks, states, mask, attention))

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: the encoder is causal, so its state at a position is that prefix's newest."""
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        for block, penalty in zip(self.blocks, self._attention(mask), strict=True):
            states = block(states, penalty)
        return self._turned(states)

    def _attention(self, mask: Tensor) -> Iterator[Tensor]:
        """The logits that each block adds to those of its attention, `(batch, heads, length, length)`."""
        visible = visible_from_each_position(self._kept(mask))[:, None]
        positions = torch.arange(mask.shape[1], device=mask.device)
        ages = (positions[:, None] - positions).clamp_min(0)
        for biases in self.biases(mask.shape[1]):
            yield biases[:, ages].masked_fill(~visible, -torch.inf)

    def biases(self, length: int) -> Tensor:
        """The logit that an event has for its age alone, `(blocks, heads, length)`, newest first."""
        ages = torch.arange(length, device=self.log_rates.device)
        falling = -self.log_rates.exp()[..., None] * ages
        if self.distances is None:
            return falling
        return falling + _PACE * self.distances[..., _octave(ages)]

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


def _spread_log_rates(count: int, fastest: float) -> Tensor:
    """Rates of forgetting per event, from 0.02 (the whole window counts) up, as logarithms `(count,)`."""
    return torch.logspace(math.log10(0.02), math.log10(fastest), count).log()


def _distances(config: ModelConfig) -> nn.Parameter:
    """Biases by distance of each block and head, `(blocks, heads, octaves)`; they start at none."""
    octaves = int(_octave(torch.tensor(config.max_length - 1))) + 1
    return nn.Parameter(torch.zeros(config.blocks, config.heads, octaves))


def _octave(ages: Tensor) -> Tensor:
    """⌊log₂(1 + age)⌋: 0 of the newest event, 1 of the two before, 2 of the next four."""
    return torch.frexp((ages + 1).double()).exponent - 1


class PerceptronPooling(Extractor):
    """An MLP over the whole window laid end to end, padded with zeros to `max_length` (ablation)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            Linear(config.max_length * config.dim, 4 * config.dim),
            nn.ReLU(),
            Dropout(config.dropout),
            Linear(4 * config.dim, config.guidance_vectors * config.dim),
        )

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`."""
        missing = self.config.max_length - vectors.shape[1]
        window = functional.pad(vectors * mask[..., None], (0, 0, missing, 0))
        guidance: Tensor = self.layers(window.flatten(1))
        return guidance.view(-1, self.config.guidance_vectors, self.config.dim)


class Recent(Extractor):
    """Rule without parameters (ablation): the newest K items; a shorter history repeats its newest."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.interests = config.guidance_vectors

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`, newest last."""
        missing = max(self.interests - vectors.shape[1], 0)
        window = functional.pad(vectors, (0, 0, missing, 0))[:, -self.interests :]
        present = functional.pad(mask, (missing, 0))[:, -self.interests :]
        return torch.where(present[..., None], window, vectors[:, -1:])


def build_guidance(config: ModelConfig) -> Extractor:
    """The extractor that `config.guidance` names."""
    match config.guidance:
        case "contextual":
            return Contextual(config)
        case "recency_attentive":
            return RecencyAttentive(config)
        case "self_attentive":
            return SelfAttentive(config)
        case "dynamic_routing":
            return DynamicRouting(config)
        case "sasrec":
            return CausalTransformer(config)
        case "mlp":
            return PerceptronPooling(config)
        case "recent":
            return Recent(config)
