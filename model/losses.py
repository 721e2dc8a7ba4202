"""The terms of DimeRec's objective L = L_gem + ω L_later + λ L_recon + μ L_ssm: tensors in, scalar out."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e4
"""Logit of what is not to be chosen: e to it is 0, and a row of nothing else has a gradient all the same."""


class Choices(NamedTuple):
    """What a softmax over items chooses from: candidate items shared by the batch, and who is right."""

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


def _softmax_losses(query: Tensor, target: Tensor, choices: Choices, temperature: float) -> Tensor:
    query = query / temperature  # not the logits, of which there are many more
    positive = (query * target).sum(-1)
    negative = (query @ choices.vectors.T).masked_fill_(choices.collisions, _NEVER)
    return functional.softplus(negative.logsumexp(1) + choices.log_weight - positive)


def reconstruction_loss(target: Tensor, prediction: Tensor) -> Tensor:
    """L_recon: mean over the batch of ‖x0 − prediction‖²; `(batch, dim)` each."""
    return functional.mse_loss(prediction, target, reduction="none").sum(-1).mean()
