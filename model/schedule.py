"""Noise levels of the forward processes and the law of the geodesic walk, all in float64.

Everything hangs on the *mean cosine* c_t = √ᾱ_t = E[x_t · x_0]. It falls linearly from `first_cosine`
at t = 1 to exactly 0 at t = T, where nothing of x_0 is left. Levels with little noise are left out:
they would let the denoiser read the answer from x_t and ignore the guidance. What x_t tells of x_0 is
about d c_t² / (1 − c_t²) nats, so `first_cosine` belongs near 0.8/√d: .6 nats at the last step.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_PARTICLES = 2**16
"""Walks whose angles stand for the law: a quantile's standard error is at most .002 of probability."""
_QUANTILES = 1025
"""Knots of its table, less than .001 of probability apart."""


def mean_cosines(timesteps: int, first_cosine: float) -> Tensor:
    """c_0 … c_T, `(timesteps + 1,)`: c_0 = 1, c_1 = `first_cosine`, c_T = 0."""
    levels = torch.linspace(first_cosine, 0.0, timesteps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), levels])


def concentrations(cosines: Tensor, dim: int) -> Tensor:
    """κ_t = d c_t / (1 − c_t²) of levels with mean cosines c_t, 0 where c_t = 1.

    x_t says exp(κ_t x_t·x_0) of x_0: that is the density of x_t = c_t x_0 + √(1 − c_t²) z, z ~ N(0, I/d), as
    far as it hangs on x_0. On the sphere it is about that of a von Mises–Fisher law of mean cosine c_t, as
    long as c_t is small.
    """
    return torch.where(cosines < 1, dim * cosines / (1 - cosines.square()), 0.0)


def sampling_timesteps(timesteps: int, steps: int) -> list[int]:
    """Levels visited by a reverse run of `steps` steps: T = t_1 > … > t_steps ≥ 1, evenly spread.

    Raises ValueError unless 1 ≤ steps ≤ timesteps.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must lie between 1 and {timesteps}, not {steps}")
    return [round(timesteps - i * (timesteps - 1) / max(steps - 1, 1)) for i in range(steps)]


def step_cosine(sigma: Tensor, dim: int) -> Tensor:
    """E[cos ‖v‖] for tangent steps v ~ N(0, σ² P) on S^{d−1}: ‖v‖ = σ χ_{d−1}, by quadrature."""
    freedom = dim - 1
    centre = math.sqrt(freedom)
    radius = torch.linspace(max(0.0, centre - 10), centre + 10, 4097, dtype=torch.float64)[1:]
    log_density = (freedom - 1) * radius.log() - radius.square() / 2
    density = (log_density - log_density.max()).exp()
    return (sigma[:, None] * radius).cos() @ (density / density.sum())


def step_deviations(cosines: Tensor, dim: int) -> Tensor:
    """σ_1 … σ_T, `(T,)`: the deviation of each step of the walk, so that E[x_t · x_0] = c_t.

    Steps of an isotropic walk are independent, so their mean cosines multiply: step t has to bring
    c_t / c_{t−1}. E[cos ‖v‖] falls with σ well beyond its first zero; bisection.
    """
    ratio = cosines[1:] / cosines[:-1]
    low = torch.zeros_like(ratio)
    high = torch.full_like(ratio, 0.75 * math.pi / math.sqrt(dim - 1))
    for _ in range(50):
        middle = (low + high) / 2
        too_small = step_cosine(middle, dim) > ratio
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    return (low + high) / 2


@lru_cache(maxsize=8)
def walk_angle_quantiles(timesteps: int, first_cosine: float, dim: int, device: torch.device) -> Tensor:
    """Quantiles of the angle between x_0 and x_t of the geodesic random walk, `(timesteps, quantiles)`.

    Float32 on `device`; computed (in half a second) when a process first trains with them.

    The angle is a Markov chain of its own: from cosine c, a step of θ = ‖v‖ radians in a uniform
    tangent direction leads to c cos θ + √(1 − c²) sin θ · u, with u one coordinate of a uniform point
    of S^{d−2}. So the law at all T levels costs T scalar updates of a cloud of particles, once,
    instead of t vector steps per training example.
    """
    random = np.random.default_rng(0)
    cosine = np.ones(_PARTICLES)
    levels = np.linspace(0, 1, _QUANTILES)
    rows = []
    for sigma in step_deviations(mean_cosines(timesteps, first_cosine), dim).tolist():
        first = random.standard_normal(_PARTICLES)
        length = np.sqrt(first**2 + random.chisquare(dim - 2, _PARTICLES))
        angle = sigma * length
        sine = np.sqrt(np.maximum(1 - cosine**2, 0))
        cosine = np.clip(cosine * np.cos(angle) + sine * np.sin(angle) * first / length, -1, 1)
        rows.append(np.quantile(np.arccos(cosine), levels))
    return torch.from_numpy(np.stack(rows)).float().to(device)
