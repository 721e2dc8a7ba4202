"""Reverse process of the DAM as plain functions: (denoise, start, mean cosines) → x0.

Notation: c_t = √ᾱ_t, m = f_θ(x_t, t, g).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Generator, Tensor

from model.schedule import sampling_timesteps
from model.sphere import unit

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t `(rows, dim)`, t `(rows,)`) → m `(rows, dim)`."""
Step = Callable[[Tensor, int], Tensor]
"""The same at one t for all rows."""


def by_level(denoise: Denoise) -> Step:
    """A step of `trajectory`, made of a network that takes a level a row."""
    return lambda x_t, t: denoise(x_t, torch.full((len(x_t),), t, device=x_t.device))


def starting_noise(seed: int, draws: int, dim: int) -> Tensor:
    """`(draws, dim)` float32 points of the sphere, a function of the arguments alone.

    Each is uniform for itself, but they come in opposite pairs, at right angles to all others up to 2·dim
    of them: what the noise does to the mean over draws mostly cancels, while the draws differ as they can.
    """
    return starting_noises([seed], draws, dim)[0]


def starting_noises(seeds: Sequence[int], draws: int, dim: int) -> Tensor:
    """`starting_noise` of each of `seeds`, `(seeds, draws, dim)`."""
    pairs, generator = -(-draws // 2), Generator()
    normal = torch.empty(len(seeds), pairs, dim)
    for seed, own in zip(seeds, normal, strict=True):
        generator.manual_seed(seed)
        for block in torch.split(own, dim):
            torch.randn(block.shape, generator=generator, out=block)
    axes = []
    # The signs are LAPACK's and not random, until Gram and Schmidt's.
    for block in torch.split(normal, dim, dim=1):
        frames, triangles = (part.numpy() for part in torch.linalg.qr(block.mT))
        signs = np.sign(np.diagonal(triangles, axis1=-2, axis2=-1))
        axes.append((frames * signs[:, None]).swapaxes(-2, -1))
    frame = axes[0] if len(axes) == 1 else np.concatenate(axes, axis=1)
    points = np.stack([frame, -frame], axis=2).reshape(len(seeds), 2 * pairs, dim)
    return torch.from_numpy(points[:, :draws])


def step_factors(cosine: float, next_cosine: float) -> tuple[float, float]:
    """The amounts of m and of x_t in a step from level t to s < t, before it is put back on the sphere.

    ε̂ = (x_t − c_t m) / √(1 − c_t²), then c_s m + √(1 − c_s²) ε̂. With m the posterior mean and not
    its projection, a step commits to x_0 only as far as the denoiser is sure of it.
    """
    kept = math.sqrt((1 - next_cosine**2) / (1 - cosine**2))
    return next_cosine - kept * cosine, kept


def trajectory(
    denoise: Step,
    start: Tensor,
    cosines: Sequence[float],
    steps: int,
    *,
    spherical: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, x_t) from (T, start) down to (0, x_0); `steps` calls of `denoise`.

    `cosines` is c_0 … c_T, `start` `(rows, dim)` lies on the sphere, 1 ≤ `steps` ≤ T.
    `spherical=False` leaves the states off the sphere (plain DDPM).
    """
    levels = [*sampling_timesteps(len(cosines) - 1, steps), 0]
    x = start
    yield levels[0], x
    for t, s in pairwise(levels):
        added, kept = step_factors(cosines[t], cosines[s])
        x = torch.add(added * denoise(x, t), x, alpha=kept)
        if spherical:
            x = unit(x)
        yield s, x


def generate(
    denoise: Step,
    start: Tensor,
    cosines: Sequence[float],
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
