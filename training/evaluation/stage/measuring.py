"""One side measured over a horizon, each noise seed for itself, and their mean for each user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.data.splits import Histories, Sequences
from training.evaluation.draws import best_of
from training.evaluation.horizon import (
    RECALL_KS,
    Horizon,
    Values,
    category_weights,
    recall,
    recalls,
    tastes,
)
from training.evaluation.metrics import ranks, top_items
from training.evaluation.stage.budgets import fetched
from training.evaluation.stage.calibration import (
    Shares,
    brier_scores,
    category_shares,
    happened,
    surpluses,
)
from training.evaluation.stage.equal_recall import Curve, curves, joined
from training.evaluation.stage.mixture import block_of, log_probabilities, merged, unseen
from training.evaluation.stage.sides import Answer, Contender


@dataclass
class Measured:
    """Figures of a side; means over its noise seeds and fits but for `surpluses`."""

    values: Values
    """A metric's name → its value for each user; NaN where it is undefined."""
    curves: dict[int, Curve] = field(default_factory=dict)
    """k → its lists by δ; empty where no item has a category."""
    surpluses: list[Shares] = field(default_factory=list)
    """Of each seed and fit, for the calibration of categories `(users with something new next, bins)`."""


def measure(
    contender: Contender,
    horizon: Horizon,
    catalogue: Catalogue,
    train: Sequences,
    seeds: Sequence[int],
    *,
    on_progress: Callable[[int], object] | None = None,
) -> Measured:
    """Every metric of `docs/data-and-evaluation.md` for every user; one seed where the side has no noise.

    `on_progress` is called with the number of users of each finished batch, as if all sides had all seeds.
    """
    taken = seeds if contender.side.seeded else seeds[:1]
    steps = len(seeds) // len(taken)
    weights = category_weights(catalogue, train)
    found = [
        _Pass(contender, horizon, catalogue, weights, seed).measure(
            lambda users: on_progress and on_progress(users * steps)
        )
        for seed in taken
    ]
    return mean_of(found)


def mean_of(found: Sequence[Measured]) -> Measured:
    """The mean of each user's values and lists over seeds of noise, or over fits."""
    return Measured(
        {name: _mean([one.values[name] for one in found]) for name in found[0].values},
        {
            k: Curve(*(_mean(parts) for parts in zip(*(one.curves[k] for one in found), strict=True)))
            for k in found[0].curves
        },
        [surplus for one in found for surplus in one.surpluses],
    )


def _mean(parts: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.mean(parts, axis=0)
    return found


class _Pass:
    """One side over a horizon with one seed."""

    def __init__(
        self,
        contender: Contender,
        horizon: Horizon,
        catalogue: Catalogue,
        weights: npt.NDArray[np.float64],
        seed: int,
    ) -> None:
        self._contender = contender
        self._horizon = horizon
        self._catalogue = catalogue
        self._weights = weights
        self._seed = seed

    def measure(self, on_progress: Callable[[int], object]) -> Measured:
        values: dict[str, list[npt.NDArray[np.float64]]] = {}
        of_curves: list[dict[int, Curve]] = []
        shares: list[Shares] = []
        size = block_of(self._contender.side)
        for first in range(0, len(self._horizon), size):
            histories = self._horizon.histories.batch(first, size)
            rows = range(first, first + len(histories))
            answer = self._contender.side.answer(histories, self._seed)
            answer = answer._replace(affinities=unseen(answer.affinities, histories))
            found, of_block, of_lists = self._block(answer, histories, rows)
            for name, of in found.items():
                values.setdefault(name, []).append(of)
            if of_block is not None:
                shares.append(of_block)
                of_curves.append(of_lists)
            on_progress(len(histories))
        joint = {name: np.concatenate(parts) for name, parts in values.items()}
        if not shares:
            return Measured(joint)
        return Measured(
            joint,
            {k: joined([one[k] for one in of_curves]) for k in of_curves[0]},
            [self._surpluses(np.concatenate(shares), joint)],
        )

    def _block(
        self, answer: Answer, histories: Histories, rows: range
    ) -> tuple[Values, Shares | None, dict[int, Curve]]:
        contender, relevant = self._contender, [self._horizon.relevant(row) for row in rows]
        log_p = log_probabilities(answer.affinities, answer.weights, contender.temperature)
        top = top_items(merged(answer.affinities, contender, log_p), max(RECALL_KS))
        stated = log_p.double().cpu().numpy()
        following = histories.items[histories.ends]
        values = recalls(top, relevant) | tastes(top, relevant, self._catalogue, self._weights)
        values |= _budgets(answer, relevant) | _losses(stated, following, relevant)
        values |= _of_draws(answer, following)
        if not self._catalogue.category_names:
            return values, None, {}
        shares = category_shares(np.exp(stated), self._catalogue)
        brier = brier_scores(shares, happened(following, self._catalogue))
        values["brier"] = np.where(np.isnan(values["nll-next"]), np.nan, brier)
        return values, shares, curves(top, relevant, self._catalogue, self._weights)

    def _surpluses(self, shares: Shares, values: Values) -> Shares:
        new = ~np.isnan(values["nll-next"])
        following = self._horizon.histories.items[self._horizon.histories.ends]
        return surpluses(shares[new], happened(following[new], self._catalogue))


def _budgets(answer: Answer, relevant: Sequence[npt.NDArray[np.int32]]) -> Values:
    """Recall at so many distinct candidates, and what had to be read for them."""
    met = fetched(answer.affinities, max(RECALL_KS))
    found = {f"budget_recall@{k}": recall(met.items[:, :k], relevant) for k in RECALL_KS}
    return found | {f"read@{k}": met.read[:, k - 1].astype(np.float64) for k in RECALL_KS}


def _losses(
    stated: npt.NDArray[np.float64],
    following: npt.NDArray[np.int32],
    relevant: Sequence[npt.NDArray[np.int32]],
) -> Values:
    """−log p of the next event, NaN where the user had it before, and the mean of all relevant items."""
    of_next = -stated[np.arange(len(stated)), following - 1]
    of_all = [-of[items - 1].mean() for of, items in zip(stated, relevant, strict=True)]
    return {"nll-next": np.where(np.isfinite(of_next), of_next, np.nan), "nll": np.array(of_all)}


def _of_draws(answer: Answer, following: npt.NDArray[np.int32]) -> Values:
    """Cosines of the draws, and whether one of the first M has the next event among its first 20."""
    if answer.draws is None or answer.guidance_cosines is None:
        return {}
    count = answer.draws.shape[1]
    by_draw = answer.affinities[:, :count].cpu().numpy()
    of_each = [ranks(by_draw[:, draw], following) for draw in range(count)]
    best = best_of(np.stack(of_each, axis=1))
    found = {f"best_of_{draws}": hits for draws, hits in best.items()}
    found["guidance_cosine"] = answer.guidance_cosines.mean(axis=1, dtype=np.float64)
    if count > 1:
        of_sum = np.square(answer.draws.sum(axis=1, dtype=np.float64)).sum(axis=1)
        found["pairwise_cosine"] = (of_sum - count) / (count * (count - 1))
    return found
