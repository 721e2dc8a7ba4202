"""GEM, the guidance extraction module (paper §4.2): g = GEM(S) ∈ R^{K×d}.

The paper's five extractors, and one that knows how old an event is, behind one call.
Each takes the item vectors of histories `(batch, length, dim)`, newest last and zero where padded on the
left, with their mask `(batch, length)`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig
from model.embeddings import PositionTable


class Extractor(nn.Module):
    """What all of them have in common: guidance of a whole history, and of each of its prefixes."""

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Guidance of each history, `(batch, interests, dim)`."""
        raise NotImplementedError

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Guidance at each position as if the history ended there, `(batch, length, interests, dim)`.

        Equal to `forward` on every prefix; here by one row per prefix, overridden where one pass over
        the history gives them all. Positions of padding hold values of no meaning.
        """
        batch, length = mask.shape
        slots = torch.arange(length, device=mask.device)
        shifted = slots + slots[:, None] - (length - 1)  # prefix p, slot s → event s − (length − 1 − p)
        rows = vectors[:, shifted.clamp_min(0)].flatten(0, 1)
        visible = (mask[:, shifted.clamp_min(0)] & (shifted >= 0)).flatten(0, 1)
        guidance: Tensor = self(rows * visible[..., None], visible)
        return guidance.view(batch, length, *guidance.shape[1:])


def _visible_from_each_position(mask: Tensor) -> Tensor:
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
        self.hidden = nn.Linear(config.dim, 4 * config.dim, bias=False)
        self.interests = nn.Linear(4 * config.dim, config.interests, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`."""
        vectors = self.dropout(vectors)
        ages = torch.arange(mask.shape[1] - 1, -1, -1, device=mask.device)
        logits = self._logits(vectors, mask) - self._penalty(ages)
        return logits.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ vectors

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: an event's logit is the same in every prefix, up to what its age takes off."""
        vectors = self.dropout(vectors)
        slots = torch.arange(mask.shape[1], device=mask.device)
        ages = (slots[:, None] - slots).clamp_min(0)
        logits = self._logits(vectors, mask)[:, :, None] - self._penalty(ages)
        visible = _visible_from_each_position(mask)[:, None]
        attention = logits.masked_fill(~visible, -torch.inf).softmax(-1)
        return (attention @ vectors[:, None]).transpose(1, 2)

    def _penalty(self, ages: Tensor) -> Tensor:
        """What each interest takes off the logits of events by their age, `(interests, …)`."""
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
        rates = torch.logspace(math.log10(0.02), math.log10(1.28), config.interests)
        self.log_rates = nn.Parameter(rates.log())

    def _penalty(self, ages: Tensor) -> Tensor:
        return self.log_rates.exp().view(-1, *(1,) * ages.ndim) * ages


class DynamicRouting(Extractor):
    """Capsules by routing-by-agreement (ComiRec-DR): items vote for K interests, which vote back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.iterations = config.routing_iterations
        scale = config.dim**-0.5
        self.transform = nn.Parameter(torch.randn(config.interests, config.dim, config.dim) * scale)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`, each of norm < 1 by the squash."""
        votes = torch.einsum("bnd,kde->bkne", vectors, self.transform)
        agreement = torch.zeros(votes.shape[:3], device=votes.device, dtype=votes.dtype)
        fixed = votes.detach()  # only the last iteration is differentiated, as in the paper's code
        for _ in range(self.iterations - 1):
            capsules = self._route(fixed, agreement, mask)
            agreement = agreement + torch.einsum("bkne,bke->bkn", fixed, capsules)
        return self._route(votes, agreement, mask)

    @staticmethod
    def _route(votes: Tensor, agreement: Tensor, mask: Tensor) -> Tensor:
        coupling = agreement.softmax(dim=1) * mask[:, None]
        capsules = torch.einsum("bkn,bkne->bke", coupling, votes)
        squared = capsules.square().sum(-1, keepdim=True)
        return capsules * (squared / (1 + squared)) / (squared + 1e-9).sqrt()


class CausalTransformer(Extractor):
    """SASRec's encoder; its state at the newest event is the one guidance vector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.positions = PositionTable(config.max_length, config.dim)
        self.scale = config.dim**0.5
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, 1, dim)`."""
        return self.prefixes(vectors, mask)[:, -1]

    def prefixes(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One pass: the encoder is causal, so its state at a position is that prefix's guidance."""
        visible = _visible_from_each_position(mask)[:, None]
        states = self.dropout((vectors + self.positions(mask)) * self.scale)
        for block in self.blocks:
            states = block(states, visible)
        guidance: Tensor = self.norm(states)
        return guidance[:, :, None]


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = nn.Dropout(config.dropout)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.project = nn.Linear(config.dim, config.dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.dim, config.dim),
        )

    def forward(self, states: Tensor, visible: Tensor) -> Tensor:
        """`states` `(batch, length, dim)`, `visible` `(batch, 1, length, length)` bool."""
        query, key, value = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.attention_norm(states)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        attended: Tensor = self.dropout(self.project(mixed.transpose(1, 2).flatten(2)))
        states = states + attended
        update: Tensor = self.dropout(self.feed_forward(states))
        return states + update


class PerceptronPooling(Extractor):
    """An MLP over the whole window laid end to end, padded with zeros to `max_length` (ablation)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Linear(config.max_length * config.dim, 4 * config.dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.dim, config.interests * config.dim),
        )

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`."""
        missing = self.config.max_length - vectors.shape[1]
        window = functional.pad(vectors * mask[..., None], (0, 0, missing, 0))
        guidance: Tensor = self.layers(window.flatten(1))
        return guidance.view(-1, self.config.interests, self.config.dim)


class Recent(Extractor):
    """Rule without parameters (ablation): the newest K items; a shorter history repeats its newest."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.interests = config.interests

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(batch, interests, dim)`, newest last."""
        missing = max(self.interests - vectors.shape[1], 0)
        window = functional.pad(vectors, (0, 0, missing, 0))[:, -self.interests :]
        present = functional.pad(mask, (missing, 0))[:, -self.interests :]
        return torch.where(present[..., None], window, vectors[:, -1:])


def build_guidance(config: ModelConfig) -> Extractor:
    """The extractor that `config.guidance` names."""
    match config.guidance:
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
