"""All sides of a model beside each other: measured over a horizon, and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from index.catalogue import Catalogue
from training.data.splits import Sequences
from training.evaluation.bootstrap import Compared
from training.evaluation.horizon import Horizon, Values, compared, means
from training.evaluation.stage.calibration import calibration_error, ece_differences
from training.evaluation.stage.equal_recall import Figures, at_equal_recall, equal_recall_differences
from training.evaluation.stage.fitting import OURS, Fitted
from training.evaluation.stage.measuring import Measured, mean_of, measure
from training.evaluation.stage.sides import ModelSide

NOISE_SEEDS = 5
"""Chosen: the mean of so many has .45 of the noise of one."""
_NO_MERIT = ("guidance_cosine", "pairwise_cosine", "read")
"""Told, and neither better high nor low."""


class SideReport(BaseModel):
    """One side: how it was set, and means over users of all metrics that are defined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, Any]
    metrics: dict[str, float]


class StageReport(BaseModel):
    """The sides over one horizon; written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int | None
    """Events looked ahead; None: all that are held out."""
    users: int
    seeds: int
    """Of noise."""
    sides: dict[str, SideReport]
    comparisons: list[Compared]
    """DimeRec less each of the others, of every metric that both have."""


def stage_report(
    sides: Mapping[str, Fitted],
    horizon: Horizon,
    catalogue: Catalogue,
    train: Sequences,
    *,
    seeds: Sequence[int],
    generator: np.random.Generator,
    on_progress: Callable[[str, int], object] | None = None,
) -> StageReport:
    """Measure each side over a horizon; the first is DimeRec as it is served.

    `on_progress` is called with a side's name and the number of users, each once a seed and a fit, that are
    done.
    """
    measured = {
        name: mean_of(
            [
                measure(
                    contender,
                    horizon,
                    catalogue,
                    train,
                    seeds,
                    on_progress=None if on_progress is None else partial(on_progress, name),
                )
                for contender in side.contenders
            ]
        )
        for name, side in sides.items()
    }
    metrics = {name: means(one.values) for name, one in measured.items()}
    judged = {name: _judged(one.values) for name, one in measured.items()}
    comparisons = compared(judged, horizon, generator)
    if measured[OURS].surpluses:
        own = [name for name, side in sides.items() if isinstance(side.contenders[0].side, ModelSide)]
        beyond = _of_categories(measured, own, len(catalogue.category_names), generator)
        for name, figures in beyond.metrics.items():
            metrics[name] |= figures
        comparisons += beyond.comparisons
    return StageReport(
        events=horizon.events,
        users=len(horizon),
        seeds=len(seeds),
        sides={
            name: SideReport(settings=side.settings, metrics=metrics[name]) for name, side in sides.items()
        },
        comparisons=comparisons,
    )


class _OfCategories(NamedTuple):
    """Figures that are no means over users, of each side."""

    metrics: dict[str, Figures]
    comparisons: list[Compared]


def _of_categories(
    measured: Mapping[str, Measured], own: Sequence[str], categories: int, generator: np.random.Generator
) -> _OfCategories:
    """The error of calibration, and the categories at one recall; `own`: the model's own sides."""
    curves = {name: one.curves for name, one in measured.items()}
    surpluses = {name: one.surpluses for name, one in measured.items()}
    metrics = at_equal_recall(curves, own)
    for name, of_seeds in surpluses.items():
        metrics[name]["ece"] = float(np.mean([calibration_error(one, categories) for one in of_seeds]))
    differences = equal_recall_differences(curves, own, generator=generator)
    for name, ece in ece_differences(surpluses, categories, generator=generator).items():
        differences[name]["ece"] = ece
    return _OfCategories(
        metrics,
        [
            Compared(first=OURS, second=name, metric=metric, **asdict(of))
            for name, found in differences.items()
            for metric, of in found.items()
        ],
    )


def _judged(values: Values) -> Values:
    return {metric: of for metric, of in values.items() if not metric.startswith(_NO_MERIT)}
