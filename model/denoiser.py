"""f_θ(x_t, t, g): the DAM's network, which predicts x_0 and not the noise (paper §4.3)."""

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.embeddings import timestep_features


class Denoiser(nn.Module):
    """An MLP with residual layers on [x_t, embed(t), g_1 … g_K] that corrects a mean of the guidance.

    m = Σ_k a_k g_k + c, with softmax weights a and a correction c off the last layer, so that it starts
    from what GEM found. Its raw output m estimates the posterior mean of x_0, so ‖m‖ is its confidence.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.scale = config.dim**0.5  # unit vectors have coordinates of size 1/√d
        self.timestep = nn.Sequential(nn.Linear(config.dim, config.dim), nn.SiLU())
        self.enter = nn.Linear((config.guidance_vectors + 2) * config.dim, config.hidden)
        self.layers = nn.ModuleList(ResidualLayer(config) for _ in range(config.layers))
        self.weights = nn.Linear(config.hidden, config.guidance_vectors)
        self.leave = nn.Linear(config.hidden, config.dim)
        nn.init.normal_(self.leave.weight, std=0.02 * config.hidden**-0.5)

    def forward(self, x_t: Tensor, t: Tensor, guidance: Tensor) -> Tensor:
        """Predict m `(batch, dim)` from x_t `(batch, dim)`, t `(batch,)`, g `(batch, interests, dim)`."""
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
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """`(batch, hidden)` → `(batch, hidden)`."""
        update: Tensor = self.body(hidden)
        return hidden + update
