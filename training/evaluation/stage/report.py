"""All sides of a model beside each other: fitted on validation, measured over a horizon, and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from bundle.manifest import ServingDefaults
from index.catalogue import Catalogue
from index.merging import Merge
from model.dimerec import DimeRec
from training.data.splits import Sequences, Split, Targets
from training.errors import ConfigError
from training.evaluation.bootstrap import Compared
from training.evaluation.horizon import Horizon, Values, compared, means
from training.evaluation.ranking import evaluate
from training.evaluation.scorer import Scorer
from training.evaluation.stage.calibration import calibration_error, ece_differences
from training.evaluation.stage.controls import fitted_pull
from training.evaluation.stage.equal_recall import at_equal_recall
from training.evaluation.stage.measuring import Measured, measure
from training.evaluation.stage.mixture import RankedSide, block_of, fitted_temperature
from training.evaluation.stage.sides import Contender, ModelSide, ScorerSide

NOISE_SEEDS = 5
"""Chosen: the mean of so many has .45 of the noise of one."""
_FITTED_ON = 1_000
"""Chosen: validation events that τ and a are fitted on; the NLL of τ / 1.1 differs in the third digit."""
MERGES: tuple[Merge, ...] = ("mean", "max")
OURS = "DimeRec"
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


class Fitted(NamedTuple):
    """A side ready to be measured."""

    contender: Contender
    settings: dict[str, Any]


def fitted_sides(
    model: DimeRec, serving: ServingDefaults, others: Mapping[str, Scorer], split: Split, seed: int = 0
) -> dict[str, Fitted]:
    """DimeRec as `serving` asks it, its draws and its guidance alone, both controls, and `others`.

    Every τ, the merge of the guidance and the weight of the sampled items are fitted on validation. Raises
    ConfigError where `serving` draws nothing.
    """
    mode = serving.interest_mode
    if mode == "guidance":
        raise ConfigError("--controls judge draws, and --interest-mode guidance has none; take draws or both")
    targets = split.validation.sample(_FITTED_ON, np.random.default_rng(seed))
    pull = _pull(model, serving, targets, seed)
    sides = {
        OURS: ModelSide(model, serving, mode),
        "draws alone": ModelSide(model, serving, "draws"),
        "control (a), chance": ModelSide(model, serving, mode, "chance"),
        "control (b), samples": ModelSide(model, serving, mode, "samples", pull),
    }
    if mode == "draws":
        del sides["draws alone"]
    found = {name: _fitted(side, serving.merge, targets, seed) for name, side in sides.items()}
    found["control (b), samples"].settings["pull"] = pull
    guidance = _fitted(ModelSide(model, serving, "guidance"), serving.merge, targets, seed)
    merges = (replace(guidance.contender, merge=merge) for merge in MERGES)
    best = max(merges, key=lambda one: _ndcg(one, targets))
    found["guidance"] = Fitted(best, guidance.settings | {"merge": best.merge})
    for name, scorer in others.items():
        found[name] = _fitted(ScorerSide(scorer), "mean", targets, seed)
    return found


def _fitted(side: ModelSide | ScorerSide, merge: Merge, targets: Targets, seed: int) -> Fitted:
    temperature = fitted_temperature(side, targets, seed)
    settings: dict[str, Any] = {"temperature": temperature}
    if isinstance(side, ModelSide):
        settings["merge"] = merge
    settings |= {"interests": side.interests, "distances": side.interests * side.items}
    return Fitted(Contender(side, temperature, merge), settings)


def _ndcg(contender: Contender, targets: Targets) -> float:
    return evaluate(RankedSide(contender), targets, ks=(10,), exclude_seen=True).metrics["ndcg@10"]


def _pull(model: DimeRec, serving: ServingDefaults, targets: Targets, seed: int) -> float:
    """The weight of sampled items at which control (b) is as near to the guidance as the draws are."""
    side = ModelSide(model, serving, "draws")
    size = block_of(side)
    blocks = [targets.histories.batch(first, size) for first in range(0, len(targets), size)]
    found = [side.guidance_cosines(block, seed) for block in blocks]
    of_draws, of_items = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return fitted_pull(of_items, float(of_draws.mean()))


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
    """Measure each side over a horizon.

    `on_progress` is called with a side's name and the number of users, each once a seed, that are done.
    """
    measured = {
        name: measure(
            side.contender,
            horizon,
            catalogue,
            train,
            seeds,
            on_progress=None if on_progress is None else partial(on_progress, name),
        )
        for name, side in sides.items()
    }
    _put_at_equal_recall(measured, sides)
    categories = len(catalogue.category_names)
    judged = {name: _judged(one.values) for name, one in measured.items()}
    comparisons = compared(judged, horizon, generator)
    metrics = {name: means(one.values) for name, one in measured.items()}
    if measured[OURS].surpluses:
        for name, one in measured.items():
            errors = [calibration_error(surplus, categories) for surplus in one.surpluses]
            metrics[name]["ece"] = float(np.mean(errors))
        surpluses = {name: one.surpluses for name, one in measured.items()}
        comparisons += [
            Compared(first=OURS, second=name, metric="ece", **asdict(found))
            for name, found in ece_differences(surpluses, categories, generator=generator).items()
        ]
    return StageReport(
        events=horizon.events,
        users=len(horizon),
        seeds=len(seeds),
        sides={
            name: SideReport(settings=side.settings, metrics=metrics[name]) for name, side in sides.items()
        },
        comparisons=comparisons,
    )


def _put_at_equal_recall(measured: Mapping[str, Measured], sides: Mapping[str, Fitted]) -> None:
    """Add the categories at the lowest recall of the model's own sides, the baselines aside."""
    if not measured[OURS].curves:
        return
    own = [name for name, side in sides.items() if isinstance(side.contender.side, ModelSide)]
    for name, values in at_equal_recall({name: one.curves for name, one in measured.items()}, own).items():
        measured[name].values.update(values)


def _judged(values: Values) -> Values:
    return {metric: of for metric, of in values.items() if not metric.startswith(_NO_MERIT)}
