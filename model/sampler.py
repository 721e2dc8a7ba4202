"""Reverse process of the DAM as plain functions: (denoise, start, mean cosines) → x0.

Notation: c_t = √ᾱ_t, m = f_θ(x_t, t, g).
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Generator, Tensor

from model.schedule import sampling_timesteps
from model.sphere import tangent, uniform, unit

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t `(rows, dim)`, t `(rows,)`) → m `(rows, dim)`."""


def starting_noise(seed: int, draws: int, dim: int) -> Tensor:
    """`(draws, dim)` float32 points uniform on the sphere; a function of its arguments alone."""
    return uniform(draws, dim, Generator().manual_seed(seed))


def reverse_step(x_t: Tensor, m: Tensor, cosine: float, next_cosine: float) -> Tensor:
    """One deterministic step from level t to s < t, before it is put back on the sphere.

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
    eta: float = 0.0,
    spherical: bool = True,
    generator: Generator | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, x_t) from (T, start) down to (0, x_0); `steps` calls of `denoise`.

    `cosines` is c_0 … c_T `(T + 1,)`, `start` `(rows, dim)` lies on the sphere, 1 ≤ `steps` ≤ T.
    `eta` in 0 … 1 turns each intermediate state's noise direction u into unit(√(1 − η²) u + η v), v a
    fresh direction from `generator`. `spherical=False` leaves the states off the sphere (plain DDPM).
    """
    levels = [*sampling_timesteps(len(cosines) - 1, steps), 0]
    values = cosines.tolist()
    x = start
    yield levels[0], x
    for t, s in pairwise(levels):
        m = denoise(x, torch.full((len(x),), t, device=x.device))
        x = reverse_step(x, m, values[t], values[s])
        if eta and s:
            x = _renoise(x, m, eta, generator)
        if spherical:
            x = unit(x)
        yield s, x


def _renoise(x: Tensor, m: Tensor, eta: float, generator: Generator | None) -> Tensor:
    """Replace part of the noise direction of x, the part of x orthogonal to m, by a fresh one."""
    axis = unit(m)
    along = x - tangent(axis, x)
    across = x - along
    fresh = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    kept = math.sqrt(1 - eta**2)
    turned = unit(kept * unit(across) + eta * unit(tangent(axis, fresh)))
    length: Tensor = across.norm(dim=-1, keepdim=True)
    return along + length * turned


def generate(
    denoise: Denoise,
    start: Tensor,
    cosines: Tensor,
    steps: int,
    *,
    eta: float = 0.0,
    spherical: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """x̂0 `(rows, dim)` on the sphere: the end of `trajectory`, whose arguments these are."""
    x = start
    for _, x in trajectory(  # noqa: B007 - only the last state is wanted
        denoise, start, cosines, steps, eta=eta, spherical=spherical, generator=generator
    ):
        pass
    return unit(x)
