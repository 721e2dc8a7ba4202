"""The denoisers with fixed weights: what does not change between the steps is computed once.

`model.denoiser` is the reference that these are tested against. A request's draws are rows that share its
guidance, so what follows from the guidance alone is computed once a request, what follows from the noise
level alone once a model, and every step is left with what hangs on x_t.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.denoiser import PerceptronDenoiser, PosteriorDenoiser, ResidualLayer
from model.dimerec import DimeRec
from model.embeddings import timestep_features
from model.gate import Gate
from model.linear import linear
from model.sampler import Step


class FrozenPosterior:
    """`PosteriorDenoiser` with the numbers of each noise level at hand."""

    def __init__(self, denoiser: PosteriorDenoiser, gate: Gate | None = None) -> None:
        weights = denoiser.weights.weight.detach()
        if gate is not None:  # one number for all that it mixes
            weights = torch.cat([weights[:, :-1], weights[:, -1:].expand(-1, gate.mixed)], dim=1)
        self.gate = gate
        self.weights = weights
        self.affinity: list[float] = denoiser.affinity.weight.flatten().tolist()
        self.scale: list[float] = denoiser.log_scale.weight.exp().flatten().tolist()
        self.trust: list[float] = denoiser.trust.weight.flatten().tolist()

    def given(self, guidance: Tensor, of: Tensor) -> Step:
        """The denoiser for rows `of` `(rows,)` of `guidance` `(batch, interests, dim)`."""
        own = guidance[of]
        shares = None if self.gate is None else self._padded(self.gate(guidance))[of]

        def step(x_t: Tensor, t: int) -> Tensor:
            nearness = (own @ x_t[:, :, None]).squeeze(-1)
            logits = nearness.mul_(self.affinity[t]).add_(self.weights[t])
            weights = (logits if shares is None else logits.add_(shares)).softmax(-1)
            return _mixed(weights, own).add_(x_t, alpha=self.trust[t]).mul_(self.scale[t])

        return step

    def _padded(self, log_shares: Tensor) -> Tensor:
        """0 for the guidance vectors before those that are mixed, `(batch, interests)`."""
        return functional.pad(log_shares, (self.weights.shape[1] - log_shares.shape[1], 0))


class FrozenPerceptron:
    """`PerceptronDenoiser` with its first map cut by what it reads, and its last two made one."""

    def __init__(self, denoiser: PerceptronDenoiser, timesteps: int) -> None:
        dim, scale = denoiser.dim, denoiser.scale
        of_state, of_level, of_guidance = denoiser.enter.weight.detach().tensor_split(
            [dim, 2 * dim], dim=1
        )  # columns of [x_t, t, g]
        with torch.inference_mode():
            levels = torch.arange(timesteps + 1, device=of_level.device)
            features = timestep_features(levels, dim).to(of_level.dtype)
            self.level = functional.linear(denoiser.timestep(features), of_level, denoiser.enter.bias)
        self.of_state = (of_state * scale).contiguous()
        self.of_guidance = (of_guidance * scale).contiguous()
        self.layers: list[ResidualLayer] = list(denoiser.layers)  # type: ignore[arg-type]
        ends = (denoiser.leave, denoiser.weights)
        self.end = torch.cat([end.weight.detach() for end in ends])
        self.end_bias = torch.cat([end.bias.detach() for end in ends])
        self.dim = dim

    def given(self, guidance: Tensor, of: Tensor) -> Step:
        """The denoiser for rows `of` `(rows,)` of `guidance` `(batch, interests, dim)`."""
        own = guidance[of]
        context = linear(guidance.flatten(1), self.of_guidance)[of]

        def step(x_t: Tensor, t: int) -> Tensor:
            hidden = linear(x_t, self.of_state, self.level[t]).add_(context)
            for layer in self.layers:
                hidden = layer(hidden)
            correction, weights = linear(hidden, self.end, self.end_bias).tensor_split([self.dim], dim=1)
            return _mixed(weights.softmax(-1), own).add_(correction)

        return step


def freeze(model: DimeRec) -> FrozenPosterior | FrozenPerceptron:
    """A model's denoiser as it is now; later changes of its weights are not all seen."""
    if isinstance(model.denoiser, PosteriorDenoiser):
        return FrozenPosterior(model.denoiser, model.guidance.gate)
    return FrozenPerceptron(model.denoiser, model.config.timesteps)


def _mixed(weights: Tensor, vectors: Tensor) -> Tensor:
    """Σ_k w_k v_k: `(rows, dim)` of `(rows, interests)` and `(rows, interests, dim)`."""
    return (weights[:, :, None] * vectors).sum(1)
