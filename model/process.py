"""Forward noise processes q(x_t | x_0) of the DAM (paper §4.3), one class each, behind one call.

The first three share the mean cosines c_t of `model.schedule`; that is all the reverse process knows of them.
"""

import math

import torch
from torch import Generator, Tensor, nn

from model.config import ModelConfig
from model.schedule import mean_cosines, walk_angle_quantiles
from model.sphere import geodesic_step, unit


class GeodesicWalk(nn.Module):
    """The paper's geodesic random walk: x_s = exp_{x_{s−1}}(v_s), v_s ~ N(0, σ_s² P), s = 1 … t.

    Drawn in one jump: the angle from its law at t (see `walk_angle_quantiles`), the direction uniform.
    At T the mean cosine is 0 and the angle is that of a uniform point, which is where sampling starts.
    (One tangent step alone cannot do that: its angle spreads 11 % wider than a uniform point's.)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x0: Tensor, t: Tensor, generator: Generator | None = None) -> Tensor:
        """Noise x0 `(batch, dim)` to levels t `(batch,)` in 1 … T."""
        config = self.config
        angles = walk_angle_quantiles(config.timesteps, config.first_cosine, config.dim, x0.device)
        last = angles.shape[1] - 1
        position = torch.rand(t.shape, generator=generator, device=x0.device) * last
        below = position.long().clamp_max(last - 1)
        angle = torch.lerp(angles[t - 1, below], angles[t - 1, below + 1], position - below)
        return geodesic_step(x0, angle[:, None].to(x0.dtype), generator)


class Gaussian(nn.Module):
    """Ablation: x_t = unit(c_t x0 + √(1 − c_t²) z), z ~ N(0, I/d)."""

    cosines: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cosines = mean_cosines(config.timesteps, config.first_cosine)
        self.register_buffer("cosines", cosines.float(), persistent=False)

    def forward(self, x0: Tensor, t: Tensor, generator: Generator | None = None) -> Tensor:
        """Noise x0 `(batch, dim)` to levels t `(batch,)` in 1 … T."""
        return unit(self.mix(x0, t, generator))

    def mix(self, x0: Tensor, t: Tensor, generator: Generator | None) -> Tensor:
        """c_t x0 + √(1 − c_t²) z, not normalised."""
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        signal = self.cosines[t, None].to(x0.dtype)
        return signal * x0 + (1 - signal.square()).sqrt() * noise / math.sqrt(x0.shape[-1])


class Euclidean(Gaussian):
    """Ablation: the plain DDPM process, which leaves the sphere: x_t = c_t x0 + √(1 − c_t²) z."""

    def forward(self, x0: Tensor, t: Tensor, generator: Generator | None = None) -> Tensor:
        """Noise x0 `(batch, dim)` to levels t `(batch,)` in 1 … T."""
        return self.mix(x0, t, generator)


class NoNoise(nn.Module):
    """Ablation: no process; the denoiser sees x_t = 0 at T and so predicts one point from the guidance."""

    def forward(self, x0: Tensor, _t: Tensor, _generator: Generator | None = None) -> Tensor:
        """Zeros `(batch, dim)`."""
        return torch.zeros_like(x0)


def build_process(config: ModelConfig) -> GeodesicWalk | Gaussian | NoNoise:
    """The forward process that `config.process` names."""
    match config.process:
        case "geodesic":
            return GeodesicWalk(config)
        case "gaussian":
            return Gaussian(config)
        case "euclidean":
            return Euclidean(config)
        case "none":
            return NoNoise()
