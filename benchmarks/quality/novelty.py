"""Rarer items for hits: a power of commonness beside vectors of no history, and beside diversity.

    python -m benchmarks.quality.novelty NAME --run RUN --data DATA

Asks a trained model once for its interests, and makes each side's lists of them at several strengths, on
validation and on test events. At the strength with which HR@10 on validation has fallen by a tenth, between
two of them, each is measured on test events again. The result is put beside those of other names.

- `power`: what is served: scores are divided by a power of one more than an item's training events.
- `mean`: g∅ is the direction of the mean of 1,000 users' interests, q = unit((1 + w) q − w g∅).
- `fitted`: so with the g∅ under whose softmax the training events are likeliest.
- `diversity`: categories re-rank each list's best 100 (`training.evaluation.reranking`).
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor
from torch.nn import functional

from benchmarks.quality.opened_run import opened_run, provenance
from benchmarks.quality.results import put
from training.data.splits import Split, Targets
from training.evaluation.bootstrap import resampled
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.diversity import memberships
from training.evaluation.metrics import Ranks, hit_rate, ranks, top_items
from training.evaluation.ranking import without_seen
from training.evaluation.reranking import POOL, category_overlaps, diversified
from training.novelty import LOSS, Lists, measured

STRENGTHS: Mapping[str, Sequence[float]] = {
    "power": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    "mean": (0.05, 0.1, 0.2, 0.3, 0.5),
    "fitted": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "diversity": (0.2, 0.4, 0.6),
}
"""Strengths of each side: from where little changes to where more than a tenth of the hits is lost."""
USERS_OF_MEAN = 1_000
"""Validation histories whose interests are averaged."""
LISTED = 20
"""Items of each list."""
BATCH = 128
"""Users whose scores are made at once."""
SEED = 0
"""Of the users who are asked for."""

Alone = tuple[str, float]
"""A side and its strength; `("alone", 0)` is the model."""


class Sides:
    """The lists of all sides, of the same interests."""

    def __init__(self, scorer: DimeRecScorer, split: Split, vectors: Tensor, temperature: float) -> None:
        self._scorer = scorer
        self._vectors = vectors
        self._temperature = temperature
        self._events = split.train.events_per_item(len(vectors))
        self._common = np.log1p(self._events).astype(np.float32)
        some = split.validation.sample(USERS_OF_MEAN, np.random.default_rng(SEED + 1))
        interests, weights = scorer.weighted_interests(some.histories)
        mean = functional.normalize((interests * weights[:, :, None]).sum(1).mean(0).float(), dim=0)
        self._nothing = {"mean": mean, "fitted": fitted(mean, vectors, self._events, temperature)}

    @property
    def events(self) -> npt.NDArray[np.int64]:
        """Training events of every item."""
        return self._events

    def correlations(self) -> dict[str, float]:
        """The correlation of each g∅'s cosines with the logarithms of the items' events."""
        return {
            name: round(float(np.corrcoef((self._vectors @ own).numpy(), self._common)[0, 1]), 4)
            for name, own in self._nothing.items()
        }

    def lists(self, targets: Targets, points: Sequence[Alone], catalogue: Any) -> dict[Alone, Lists]:
        """The lists of every side at every strength, seen items removed."""
        found: dict[Alone, list[Lists]] = {point: [] for point in points}
        for first in range(0, len(targets), BATCH):
            histories, items = targets.histories.batch(first, BATCH), targets.items[first : first + BATCH]
            interests, weights = (part.float() for part in self._scorer.weighted_interests(histories))
            alone = without_seen(self._merged(interests, weights), histories)
            for (side, strength), own in found.items():
                if side == "diversity":
                    own.append(_reranked(alone, items, strength, catalogue))
                    continue
                scores = alone
                if side == "power":
                    scores = alone - np.float32(strength) * self._common
                elif side != "alone":
                    away = (1 + strength) * interests - strength * self._nothing[side]
                    scores = self._merged(functional.normalize(away, dim=-1), weights)
                    scores = without_seen(scores, histories)
                own.append(Lists(ranks(scores, items), top_items(scores, LISTED)))
        return {point: Lists(*map(np.concatenate, zip(*own, strict=True))) for point, own in found.items()}

    def _merged(self, interests: Tensor, weights: Tensor) -> npt.NDArray[np.float32]:
        logits = interests @ self._vectors.T / self._temperature
        shares = logits - logits.logsumexp(dim=2, keepdim=True) + weights.log()[:, :, None]
        scores: npt.NDArray[np.float32] = shares.logsumexp(dim=1).numpy()
        return scores


def fitted(start: Tensor, vectors: Tensor, events: npt.NDArray[np.int64], temperature: float) -> Tensor:
    """The unit vector under whose softmax over all items the events are likeliest `(dim,)`.

    It is what a learned vector of no history would come to beside items that stay as they are.
    """
    shares = torch.from_numpy(events / events.sum()).float()
    nothing = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([nothing], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        logits = vectors @ functional.normalize(nothing, dim=0) / temperature
        of_events = -(shares * logits.log_softmax(0)).sum()
        of_events.backward()  # type: ignore[no-untyped-call]
        return float(of_events.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return functional.normalize(nothing, dim=0).detach()


def _reranked(scores: npt.NDArray[np.float32], items: Any, strength: float, catalogue: Any) -> Lists:
    pools = top_items(scores, POOL)
    lists = diversified(pools, category_overlaps(memberships(pools, catalogue)), LISTED, strength)
    found: Ranks = np.full(len(items), np.inf)
    rows, columns = np.nonzero(lists == items[:, None])
    found[rows] = columns + 1.0
    return Lists(found, lists)


def crossing(hits: Sequence[float], strengths: Sequence[float], least: float) -> float:
    """The strength at which hits first fall to `least`, on straight lines from 0; else the last one.

    `hits`: without any, and at each of `strengths`.
    """
    for (before, low), (after, high) in pairwise(zip(hits, [0.0, *strengths], strict=True)):
        if after < least:
            return round(low + (high - low) * (before - least) / (before - after), 3)
    return strengths[-1]


def main(
    name: Annotated[str, typer.Argument(help="Of the row in the results.")],
    run: Annotated[Path, typer.Option(help="Training run.")],
    data: Annotated[Path, typer.Option(help="The prepared data that it was trained on.")],
    users: Annotated[int, typer.Option(min=1, help="Users who are asked for at most.")] = 5_000,
    out: Annotated[Path, typer.Option(help="File of the results.")] = Path("docs/results/novelty.json"),
) -> None:
    """Measure what each way to rarer items costs."""
    trained, dataset, split = opened_run(run, data)
    model = trained.model.eval()
    vectors = model.item_vectors().detach().float()
    sides = Sides(DimeRecScorer(model, trained.serving), split, vectors, trained.serving.temperature)
    validation, test = (
        part.sample(users, np.random.default_rng(SEED)) for part in (split.validation, split.test)
    )
    grid = [("alone", 0.0), *((side, at) for side, strengths in STRENGTHS.items() for at in strengths)]
    chosen_on = sides.lists(validation, grid, dataset.catalogue)
    hits = {point: float(hit_rate(own.ranks, 10).mean()) for point, own in chosen_on.items()}
    alone = hits["alone", 0.0]
    at_loss: list[Alone] = [
        (side, crossing([alone, *(hits[side, at] for at in own)], own, (1 - LOSS) * alone))
        for side, own in STRENGTHS.items()
    ]
    tested = sides.lists(test, list(dict.fromkeys([*grid, *at_loss])), dataset.catalogue)
    result = {
        **provenance(f"novelty {name} --users {users}", dataset),
        "targets": {"validation": len(validation), "test": len(test)},
        "loss": LOSS,
        "correlations": sides.correlations(),
        "validation": _rows(chosen_on, validation, sides.events),
        "test": _rows({point: tested[point] for point in grid}, test, sides.events),
        "test_at_loss": _rows({point: tested[point] for point in at_loss}, test, sides.events, tested),
    }
    put(name, result, out)
    print(json.dumps(result["test_at_loss"], indent=1))


def _rows(
    lists: Mapping[Alone, Lists],
    targets: Targets,
    events: npt.NDArray[np.int64],
    among: Mapping[Alone, Lists] | None = None,
) -> list[dict[str, Any]]:
    """A row for each side and strength, its HR@10 beside the model's alone with an interval over users."""
    alone = hit_rate((lists if among is None else among)["alone", 0.0].ranks, 10)
    rows = []
    for (side, strength), own in lists.items():
        change = resampled(
            hit_rate(own.ranks, 10) - alone, targets.users, generator=np.random.default_rng(SEED)
        )
        values = {metric: round(value, 6) for metric, value in measured(own, events).items()}
        interval = [round(change.low, 5), round(change.high, 5)]
        rows.append({"side": side, "strength": strength, **values, "hr@10_change": interval})
    return rows


if __name__ == "__main__":
    typer.run(main)
