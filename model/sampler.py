"""Reverse process of the DAM as plain functions: (denoise, start, mean cosines) → x0.

Notation: c_t = √ᾱ_t, m = f_θ(x_t, t, g).
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Generator, Tensor

from model.schedule import sampling_timesteps
from model.sphere import unit

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t `(rows, dim)`, t `(rows,)`) → m `(rows, dim)`."""


def starting_noise(seed: int, draws: int, dim: int) -> Tensor:
    """`(draws, dim)` float32 points of the sphere, a function of the arguments alone.

    Each is uniform for itself, but they come in opposite pairs, at right angles to all others up to 2·dim
    of them: what the noise does to the mean over draws mostly cancels, while the draws differ as they can.
    """
    pairs, generator = -(-draws // 2), Generator().manual_seed(seed)
    axes = []
    for first in range(0, pairs, dim):  # the signs are LAPACK's and not random, until Gram and Schmidt's
        frame, triangle = torch.linalg.qr(torch.randn(min(dim, pairs - first), dim, generator=generator).T)
        axes.append((frame * triangle.diagonal().sign()).T)
    return torch.stack([torch.cat(axes), -torch.cat(axes)], dim=1).flatten(0, 1)[:draws]


def reverse_step(x_t: Tensor, m: Tensor, cosine: float, next_cosine: float) -> Tensor:
    """One step from level t to s < t, before it is put back on the sphere.

    ε̂ = (x_t − c_t m) / √(1 − c_t²), then c_s m + √(1 − c_s²) ε̂. With m the posterior mean and not
    its projection, a step commits to x_0 only as far as the denoiser is sure of it.
    """
    noise = (x_t - cosine * m) / math.sqrt(1 - cosine**2)
    return next_cosine * m + math.sqrt(1 - next_cosine**2) * noise


def trajectory(
    denoise: Denoise,
    start: Tensor,
    cosines: Tensor,
    steps: int,
    *,
    spherical: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, x_t) from (T, start) down to (0, x_0); `steps` calls of `denoise`.

    `cosines` is c_0 … c_T `(T + 1,)`, `start` `(rows, dim)` lies on the sphere, 1 ≤ `steps` ≤ T.
    `spherical=False` leaves the states off the sphere (plain DDPM).
    """
    levels = [*sampling_timesteps(len(cosines) - 1, steps), 0]
    values = cosines.tolist()
    x = start
    yield levels[0], x
    for t, s in pairwise(levels):
        m = denoise(x, torch.full((len(x),), t, device=x.device))
        x = reverse_step(x, m, values[t], values[s])
        if spherical:
            x = unit(x)
        yield s, x


def generate(
    denoise: Denoise,
    start: Tensor,
    cosines: Tensor,
    steps: int,
    *,
    spherical: bool = True,
) -> Tensor:
    """x̂0 `(rows, dim)` on the sphere: the end of `trajectory`, whose arguments these are."""
    x = start
    for _, x in trajectory(  # noqa: B007 - only the last state is wanted
        denoise, start, cosines, steps, spherical=spherical
    ):
        pass
    return unit(x)
