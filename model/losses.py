"""The terms of DimeRec's objective L = L_gem + ω L_later + λ L_recon + μ L_ssm: tensors in, scalar out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e4
"""Logit of what is not to be chosen: e to it is 0, and a row of nothing else has a gradient all the same."""


class Choices(NamedTuple):
    """The items that a softmax chooses from: candidate items shared by the batch, and who is right."""

    vectors: Tensor
    """`(candidates, dim)` unit vectors of sampled negatives, or of every item."""
    collisions: Tensor
    """`(batch, candidates)` bool, True where a candidate is the row's own target."""
    log_weight: float = 0.0
    """Logarithm of how many items a candidate stands for: 0 counts the candidates alone."""


def sampled_softmax_loss(query: Tensor, target: Tensor, choices: Choices, temperature: float) -> Tensor:
    """Mean of −log softmax(q·e_a / τ) over the target and the shared negatives.

    `query` and `target` are `(batch, dim)` of unit norm; candidates equal to the target are left out.
    """
    return _softmax_losses(query, target, choices, temperature).mean()


def guidance_loss(
    guidance: Tensor, target: Tensor, choices: Choices, temperature: float, present: Tensor | None = None
) -> Tensor:
    """L_gem: the softmax loss of the interest that matches the target best (ComiRec's hard readout).

    `guidance` is `(batch, interests, dim)`, `target` `(batch, dim)`, both of unit norm. Rows that are not
    `present` `(batch,)` count as no loss.
    """
    best = torch.einsum("bkd,bd->bk", guidance.detach(), target.detach()).argmax(1)
    chosen = guidance.take_along_dim(best[:, None, None], dim=1).squeeze(1)
    losses = _softmax_losses(chosen, target, choices, temperature)
    return (losses if present is None else losses * present).mean()


def mixture_loss(
    guidance: Tensor, log_shares: Tensor, target: Tensor, choices: Choices, temperature: float
) -> Tensor:
    """L_gem of a mixture: mean of −log Σ_k π_k softmax_k(target).

    `guidance` is `(batch, next, dim)`, `log_shares` log π `(batch, next)`, `target` `(batch, dim)`.
    """
    mixed = guidance.shape[1]
    repeated = choices._replace(collisions=choices.collisions.repeat_interleave(mixed, 0))
    losses = _softmax_losses(
        guidance.flatten(0, 1), target.repeat_interleave(mixed, 0), repeated, temperature
    )
    return -(log_shares - losses.view(-1, mixed)).logsumexp(1).mean()


def _softmax_losses(query: Tensor, target: Tensor, choices: Choices, temperature: float) -> Tensor:
    query = query / temperature  # not the logits, of which there are many more
    positive = (query * target).sum(-1)
    negative: Tensor = _LogPartition.apply(query, choices.vectors, choices.collisions)  # type: ignore[no-untyped-call]
    return functional.softplus(negative + choices.log_weight - positive)


class _LogPartition(torch.autograd.Function):
    """log Σ_a exp(q·e_a) of each query over the candidates that are not hidden from it.

    `query` `(rows, dim)`, `vectors` `(candidates, dim)`, `hidden` `(rows, candidates)` → `(rows,)`. The
    logits are what a training step is busy with, so they are gone over as seldom as can be: their softmax is
    the gradient, and tells the sum as well.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, vectors: Tensor, hidden: Tensor) -> Tensor:
        """In the precision of the query, whatever autocast makes of the logits."""
        logits = (query @ vectors.T).masked_fill_(hidden, _NEVER)
        shares = logits.softmax(1, dtype=query.dtype)
        ctx.save_for_backward(query, vectors, shares.to(logits.dtype))
        return logits.amax(1) - shares.amax(1).log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """By products in the precision that the logits had."""
        query, vectors, shares = ctx.saved_tensors
        factor = gradient[:, None]
        of_query = (shares @ vectors.to(shares.dtype)).to(query.dtype) * factor
        of_vectors = shares.T @ (query * factor).to(shares.dtype)
        return of_query, of_vectors.to(vectors.dtype), None


def reconstruction_loss(target: Tensor, prediction: Tensor) -> Tensor:
    """L_recon: mean over the batch of ‖x0 − prediction‖²; `(batch, dim)` each."""
    return functional.mse_loss(prediction, target, reduction="none").sum(-1).mean()
