"""f_θ(x_t, t, g): the DAM's network, which predicts x_0 and not the noise (paper §4.3), in two kinds.

Both estimate the posterior mean m of x_0 `(batch, dim)`, so ‖m‖ is their confidence, from x_t `(batch, dim)`,
t `(batch,)` in 1 … T and unit guidance vectors g `(batch, interests, dim)`; of a mixture also from log π
`(batch, mixed)` of the last ones.
"""

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.dropout import Dropout
from model.embeddings import timestep_features
from model.linear import Linear
from model.schedule import concentrations, mean_cosines


class PosteriorDenoiser(nn.Module):
    """Bayes' rule, with what it needs to know of each noise level learned.

    The guidance says of every item that it is next with the odds exp(g·e / τ), as L_gem trains it to; x_t
    says of it exp(κ_t x_t·e), with κ_t = d c_t / (1 − c_t²). Together: exp((g + τ κ_t x_t)·e / τ). So the
    query that L_ssm asks for is g + τ κ_t x_t. Of several interests each counts by how likely x_t makes it:
    m = s_t (Σ_k w_k g_k + a_t x_t), w = softmax_k(b_tk + β_t x_t·g_k), where s, a, b and β are learned and a
    starts at τ κ_t.

    A mixture of interests is next with Σ_k π_k softmax_k, so x_t makes the k-th of them π_k E[exp(κ_t x_t·e)]
    likely, e as that one has it: π_k exp(κ_t x_t·g_k) where it is sure of what it is near. There β starts at
    κ_t, is 0 at T, and b_t is one number for all that are mixed.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mixed = config.next_vectors
        self.weights = _per_level(config, config.guidance_count - self.mixed + 1)
        self.affinity = _per_level(config)
        self.log_scale = _per_level(config)
        self.trust = _per_level(config)
        with torch.no_grad():
            says = concentrations(mean_cosines(config.timesteps, config.first_cosine), config.dim)
            self.trust.weight[:, 0] = config.temperature * says
            if self.mixed > 1:
                self.affinity.padding_idx = config.timesteps  # no gradient: it stays at κ_T = 0
                self.affinity.weight[:, 0] = says

    def forward(self, x_t: Tensor, t: Tensor, guidance: Tensor, log_shares: Tensor | None = None) -> Tensor:
        """The estimate m `(batch, dim)`."""
        nearness = (guidance @ x_t[:, :, None]).squeeze(-1)
        prior = self.weights(t)
        if log_shares is not None:
            prior = torch.cat([prior[:, :-1], prior[:, -1:] + log_shares], dim=1)
        weights = (prior + self.affinity(t) * nearness).softmax(-1)
        expected = (weights[:, None] @ guidance).squeeze(1)
        prediction: Tensor = self.log_scale(t).exp() * (expected + self.trust(t) * x_t)
        return prediction


class PerceptronDenoiser(nn.Module):
    """The paper's kind: an MLP with residual layers on [x_t, embed(t), g_1 … g_K], here a correction.

    m = Σ_k w_k g_k + c, with softmax weights w and a correction c off the last layer, so that it starts
    from what GEM found.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.scale = config.dim**0.5  # unit vectors have coordinates of size 1/√d
        self.timestep = nn.Sequential(Linear(config.dim, config.dim), nn.SiLU())
        self.enter = Linear((config.guidance_count + 2) * config.dim, config.hidden)
        self.layers = nn.ModuleList(ResidualLayer(config) for _ in range(config.layers))
        self.weights = Linear(config.hidden, config.guidance_count)
        self.leave = Linear(config.hidden, config.dim)
        nn.init.normal_(self.leave.weight, std=0.02 * config.hidden**-0.5)

    def forward(self, x_t: Tensor, t: Tensor, guidance: Tensor, log_shares: None = None) -> Tensor:  # noqa: ARG002
        """The estimate m `(batch, dim)`."""
        level = self.timestep(timestep_features(t, self.dim).to(x_t.dtype))
        hidden: Tensor = self.enter(
            torch.cat([x_t * self.scale, level, guidance.flatten(1) * self.scale], dim=-1)
        )
        for layer in self.layers:
            hidden = layer(hidden)
        weights = self.weights(hidden).softmax(-1)
        prediction: Tensor = self.leave(hidden) + (weights[:, None] @ guidance).squeeze(1)
        return prediction


class ResidualLayer(nn.Module):
    """h + W2 SiLU(W1 norm(h))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(config.hidden),
            Linear(config.hidden, config.hidden),
            nn.SiLU(),
            Dropout(config.dropout),
            Linear(config.hidden, config.hidden),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """`(batch, hidden)` → `(batch, hidden)`."""
        update: Tensor = self.body(hidden)
        return hidden + update


def build_denoiser(config: ModelConfig) -> PosteriorDenoiser | PerceptronDenoiser:
    """The denoiser that `config.denoiser` names."""
    match config.denoiser:
        case "posterior":
            return PosteriorDenoiser(config)
        case "mlp":
            return PerceptronDenoiser(config)


def _per_level(config: ModelConfig, width: int = 1) -> nn.Embedding:
    """Zeros to be learned, `width` for each noise level 0 … T."""
    table = nn.Embedding(config.timesteps + 1, width)
    nn.init.zeros_(table.weight)
    return table
