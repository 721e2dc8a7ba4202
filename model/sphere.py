"""Geometry of the unit sphere S^{d-1}. Vectors lie along the last dimension."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def unit(x: Tensor) -> Tensor:
    """Project onto the sphere: x / ‖x‖; a zero vector stays zero."""
    return functional.normalize(x, dim=-1)


def tangent(x: Tensor, v: Tensor) -> Tensor:
    """P_x v: the part of v in the tangent space at x (x of unit norm)."""
    return v - (v * x).sum(-1, keepdim=True) * x


def exponential_map(x: Tensor, v: Tensor) -> Tensor:
    """exp_x(v): walk ‖v‖ radians from x along the great circle in the tangent direction v."""
    angle = v.norm(dim=-1, keepdim=True)
    return unit(torch.cos(angle) * x + torch.sinc(angle / torch.pi) * v)


def geodesic_step(x: Tensor, angle: Tensor, generator: Generator | None = None) -> Tensor:
    """Walk `angle` radians `(…, 1)` from x in a uniformly random tangent direction."""
    return exponential_map(x, angle * unit(tangent(x, uniform_like(x, generator))))


def uniform_like(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Points uniform on the sphere, with the shape, type and device of x."""
    return unit(torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype))


def uniform(count: int, dim: int, generator: Generator) -> Tensor:
    """`(count, dim)` points uniform on the sphere, on the generator's device."""
    return unit(torch.randn(count, dim, generator=generator, device=generator.device))
