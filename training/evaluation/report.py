"""Several recommenders measured side by side on the same held-out events."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from bundle.facts import DrawsFacts
from files.atomic import replacing
from training.baselines.item_knn import NEIGHBOURS, ItemKNN
from training.baselines.popularity import Popularity
from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.bootstrap import Compared, paired_bootstrap
from training.evaluation.draws import Draws
from training.evaluation.horizon import HorizonReport
from training.evaluation.ranking import METRICS, Evaluation, evaluate_both
from training.evaluation.scorer import Scorer
from training.evaluation.served import Served
from training.evaluation.stage.report import StageReport

Part = Literal["test", "validation"]
"""The part of a split that is predicted."""

COMPARED_KS = (10, 20)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Entry):
    """One recommender: how it was set and what it reached; a metric that is undefined here is absent."""

    settings: dict[str, Any]
    seen_removed: dict[str, float]
    """Items of the history are not in the ranking, as when serving."""
    seen_kept: dict[str, float]


class Report(_Entry):
    """Findings of `dimerec evaluate`; written as JSON."""

    data_fingerprint: str
    split: str
    part: Part
    targets: int
    users: int
    recommenders: dict[str, Measured]
    comparisons: list[Compared]
    decided: DrawsFacts | None = None
    """The draws of a run on validation events, where these decided how it is asked."""
    draws: Draws | None = None
    """Of the DimeRec model, where there is one that draws."""
    served: Served | None = None
    """Of a bundle, where that was asked for."""
    horizons: list[HorizonReport] = []
    """The same recommenders by what people went on to, where that was asked for."""
    stages: list[StageReport] = []
    """The model's interests beside controls, a horizon each, where that was asked for."""


class Contestant(NamedTuple):
    """A recommender to be measured, and how it was set."""

    scorer: Scorer
    settings: dict[str, Any]


def compare(
    contestants: Mapping[str, Contestant],
    dataset: Dataset,
    split: Split,
    part: Part,
    *,
    generator: np.random.Generator,
    on_progress: Callable[[str, int], object] | None = None,
) -> Report:
    """Measure each recommender with and without seen items, and compare the first with each of the others.

    `generator` draws the bootstrap's users. `on_progress` is called with a recommender's name and the number
    of targets just ranked. Raises DataError where the split holds no target.
    """
    targets = getattr(split, part)
    measured, removed = {}, {}
    for name, contestant in contestants.items():
        step = None if on_progress is None else partial(on_progress, name)
        removed[name], kept = evaluate_both(contestant.scorer, targets, dataset.catalogue, on_progress=step)
        measured[name] = Measured(
            settings=contestant.settings, seen_removed=removed[name].metrics, seen_kept=kept.metrics
        )
    first, *others = contestants
    return Report(
        data_fingerprint=dataset.fingerprint,
        split=split.name,
        part=part,
        targets=len(targets),
        users=len(np.unique(targets.users)),
        recommenders=measured,
        comparisons=[
            comparison for second in others for comparison in _compared(first, second, removed, generator)
        ],
    )


def baselines(split: Split, items: int) -> dict[str, Contestant]:
    """The simple recommenders that a model has to be better than; ItemKNN's decay is chosen on validation."""
    neighbours = ItemKNN.tuned(split, items)
    settings = {"neighbours": NEIGHBOURS, "decay": neighbours.decay}
    return {
        "ItemKNN": Contestant(neighbours, settings),
        "Popularity": Contestant(Popularity(split.train, items), {}),
    }


def warning(measured: Mapping[str, Mapping[str, float]]) -> str | None:
    """One line where a simple recommender ranks better than the model, or as well; None where none does.

    `measured`: metrics by recommender, the model first, seen items removed.
    """
    (model, of_model), *others = measured.items()
    metric = f"ndcg@{COMPARED_KS[0]}"
    name, of_best = max(others, key=lambda other: other[1][metric])
    if of_model[metric] > of_best[metric]:
        return None
    return (
        f"{model} does not earn its place on this log: its {metric.upper()} {of_model[metric]:.4f} is not"
        f" above {name}'s {of_best[metric]:.4f}. Gather more events and train again, or serve {name} instead."
    )


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _compared(
    first: str, second: str, evaluations: Mapping[str, Evaluation], generator: np.random.Generator
) -> Iterator[Compared]:
    for k in COMPARED_KS:
        for metric in METRICS:
            found = paired_bootstrap(evaluations[first], evaluations[second], metric, k, generator=generator)
            yield Compared(first=first, second=second, metric=f"{metric}@{k}", **asdict(found))
