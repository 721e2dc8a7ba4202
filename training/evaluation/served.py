"""The served path, measured: the real engine over held-out events, beside the ranking of all items."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from bundle.read import Bundle
from engine.contract import EngineRequest
from engine.engine import Engine
from index.building import build_index
from index.tuning import IndexKind
from training.data.splits import Histories, Targets
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.metrics import Ranks, Scores, hit_rate, ndcg
from training.evaluation.ranking import without_seen

SERVED_KS = (10, 20)
"""Those that `dimerec evaluate` compares recommenders by."""
COMPARED_ITEMS = 20
"""First items of the answer and of the ranking that are compared."""
_BATCH = 64
"""Requests at once: the service's largest batch by default (`max_batch`)."""
_TIE = 1e-5
"""Logarithms of scores no further apart than this are level: each is off by a few float32 steps of a cosine
(6e-8) over τ (.05)."""


class Served(BaseModel):
    """Answers that users get from the engine; seen items removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: str
    """Kind of the index that was searched; `whole`: all items were scored."""
    k: int
    """Items asked for."""
    metrics: dict[str, float]
    """`hr@k` and `ndcg@k` of the answers."""
    same_first: float
    """Part of the targets whose first 20 items are those of the full ranking, level ones aside."""


def engine_for(bundle: Bundle, index: IndexKind | None = None) -> Engine:
    """The engine as `dimerec serve` makes it or, with `index`, searching such an index whatever the size.

    That is the bundle's own, as publishing tuned it, or where it is of another kind one that is built here.
    """
    if index is None:
        return Engine(bundle, max_steps=bundle.manifest.serving.steps)
    if bundle.index.kind != index:
        built = build_index(bundle.table.all, index)
        bundle = replace(bundle, index=built, table=built.table)
    return Engine(bundle, max_steps=bundle.manifest.serving.steps, max_whole_items=0)


def evaluate_served(
    engine: Engine,
    scorer: DimeRecScorer,
    targets: Targets,
    item_ids: Sequence[str],
    *,
    k: int = COMPARED_ITEMS,
    on_progress: Callable[[int], object] | None = None,
) -> Served:
    """Ask `engine` for `k` items for every target, with the seeds of `scorer`, and compare with its ranking.

    `item_ids`: by row − 1. `on_progress` is called with the number of targets of each finished batch.
    """
    ids = np.array(item_ids, dtype=object)
    row_of = {item_id: row for row, item_id in enumerate(item_ids, start=1)}
    ranks: list[Ranks] = []
    same = 0
    for first in range(0, len(targets), _BATCH):
        histories = targets.histories.batch(first, _BATCH)
        answers = engine.recommend(_requests(histories, scorer.seeds(histories), ids, k))
        rows = [np.array([row_of[item.item_id] for item in answer.items]) for answer in answers]
        ranks.append(_ranks(rows, targets.items[first : first + _BATCH]))
        same += _same_first(rows, without_seen(scorer.score(histories), histories))
        if on_progress is not None:
            on_progress(len(histories))
    found = np.concatenate(ranks)
    metrics = {f"hr@{k}": float(hit_rate(found, k).mean()) for k in SERVED_KS}
    metrics |= {f"ndcg@{k}": float(ndcg(found, k).mean()) for k in SERVED_KS}
    return Served(index=engine.searches_by, k=k, metrics=metrics, same_first=same / len(targets))


def _requests(histories: Histories, seeds: Sequence[int], ids: np.ndarray, k: int) -> list[EngineRequest]:
    watched = (ids[histories[index] - 1].tolist() for index in range(len(histories)))
    return [
        EngineRequest(history=history, excluded=history, k=k, diversity=0.0, seed=seed, explain=False)
        for history, seed in zip(watched, seeds, strict=True)
    ]


def _ranks(answers: Sequence[np.ndarray], targets: np.ndarray) -> Ranks:
    found = (np.flatnonzero(rows == target) for rows, target in zip(answers, targets, strict=True))
    return np.array([indices[0] + 1.0 if len(indices) else np.inf for indices in found])


def _same_first(answers: Sequence[np.ndarray], scores: Scores) -> int:
    """Number of answers that have the first items of the full ranking, in its order but for level ones."""
    same = 0
    for rows, of_all in zip(answers, scores, strict=True):
        best = np.sort(of_all)[::-1][:COMPARED_ITEMS]
        best = best[np.isfinite(best)]
        found = of_all[rows[:COMPARED_ITEMS] - 1]
        same += len(found) == len(best) and bool(np.allclose(found, best, rtol=0, atol=_TIE))
    return same
