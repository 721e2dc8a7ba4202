"""Routing by agreement (Sabour et al., NeurIPS 2017), as ComiRec-DR and MIND extract interests with it.

Events vote for capsules, one an interest; a vote counts for a capsule as much as it agreed with it before.
"""

from torch import Tensor


def route(votes: Tensor, agreement: Tensor, visible: Tensor, iterations: int) -> Tensor:
    """Routing by agreement: what K capsules make of the same votes in each of several histories.

    `votes` `(batch, K or 1, length, dim)`; `agreement` `(batch, K, histories, length)`, where each event's
    share among the capsules starts; `visible` `(batch, histories, length)`, the events that each history
    has. Gives `(batch, histories, K, dim)`, each of norm < 1. Only the last iteration is differentiated, as
    in ComiRec's code.
    """
    fixed = votes.detach()
    for _ in range(iterations - 1):
        capsules = _squashed_sums(fixed, agreement, visible)
        agreement = agreement + capsules @ fixed.transpose(2, 3)
    return _squashed_sums(votes, agreement, visible).transpose(1, 2)


def _squashed_sums(votes: Tensor, agreement: Tensor, visible: Tensor) -> Tensor:
    sums = (agreement.softmax(dim=1) * visible[:, None]) @ votes
    squared = sums.square().sum(-1, keepdim=True)
    return sums * (squared / (1 + squared)) / (squared + 1e-9).sqrt()
