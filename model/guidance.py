"""GEM, the guidance extraction module (paper §4.2): g = GEM(S) ∈ R^{K×d}.

The paper's five extractors, and two of our own that know order and age, behind one call.
Each takes the item vectors of histories `(batch, length, dim)`, newest last and zero where padded on the
left, with their mask `(batch, length)`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig
from model.contextual import Contextual
from model.dropout import Dropout
from model.embeddings import PositionTable
from model.extractor import Extractor, spread_log_rates, visible_from_each_position
from model.linear import Linear
from model.packing import Packing
from model.routing import route
from model.transformer import TransformerBlock, newest_states


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
        self.log_rates = nn.Parameter(spread_log_rates(config.guidance_vectors, 1.28))

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
