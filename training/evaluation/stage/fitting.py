"""The sides of a model, each fitted on validation and ready to be measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bundle.manifest import ServingDefaults
from index.merging import Merge
from model.dimerec import DimeRec
from training.data.splits import Split, Targets
from training.errors import ConfigError
from training.evaluation.ranking import evaluate
from training.evaluation.scorer import Scorer
from training.evaluation.stage.controls import fitted_pull
from training.evaluation.stage.mixture import RankedSide, block_of, fitted_temperature
from training.evaluation.stage.sides import Contender, ModelSide, ScorerSide

OURS = "DimeRec"
GUIDANCE, CHANCE, SAMPLES = "guidance", "control (a), chance", "control (b), samples"
"""Sides of the same model, that its draws are held against."""
MERGES: tuple[Merge, ...] = ("mean", "max")
_FITTED_ON = 1_000
"""Chosen: validation events that τ and a are fitted on; the NLL of τ / 1.1 differs in the third digit."""


class Fitted(NamedTuple):
    """A side ready to be measured."""

    contenders: tuple[Contender, ...]
    """One for each fit of a recommender that was fitted more than once; figures are means over them."""
    settings: dict[str, Any]


def fitted_sides(
    model: DimeRec,
    serving: ServingDefaults,
    others: Mapping[str, Sequence[Scorer]],
    split: Split,
    seed: int = 0,
) -> dict[str, Fitted]:
    """DimeRec as `serving` asks it, its draws and its guidance alone, both controls, and fits of `others`.

    Every τ, the merge of the guidance and the weight of the sampled items are fitted on validation. Raises
    ConfigError where `serving` draws nothing.
    """
    mode = serving.interest_mode
    if mode == "guidance":
        raise ConfigError("--controls judge draws, and --interest-mode guidance has none; take draws or both")
    targets = _fitted_on(split, seed)
    pull = _pull(model, serving, targets, seed)
    sides = {
        OURS: ModelSide(model, serving, mode),
        "draws alone": ModelSide(model, serving, "draws"),
        CHANCE: ModelSide(model, serving, mode, "chance"),
        SAMPLES: ModelSide(model, serving, mode, "samples", pull),
    }
    if mode == "draws":
        del sides["draws alone"]
    found = {name: _fitted([side], serving.merge, targets, seed) for name, side in sides.items()}
    found[SAMPLES].settings["pull"] = pull
    guidance = _fitted([ModelSide(model, serving, "guidance")], serving.merge, targets, seed)
    merges = (replace(guidance.contenders[0], merge=merge) for merge in MERGES)
    best = max(merges, key=lambda one: _ndcg(one, targets))
    found[GUIDANCE] = Fitted((best,), guidance.settings | {"merge": best.merge})
    for name, fits in others.items():
        found[name] = _fitted([ScorerSide(scorer) for scorer in fits], "mean", targets, seed)
    return found


def sides_by_steps(
    model: DimeRec, serving: ServingDefaults, split: Split, steps: Sequence[int], seed: int = 0
) -> dict[str, Fitted]:
    """DimeRec as `serving` asks it, and with each other number of denoising steps, every τ fitted anew."""
    targets = _fitted_on(split, seed)
    asked = {OURS: serving} | {
        f"{count} step{'s' if count > 1 else ''}": serving.model_copy(update={"steps": count})
        for count in steps
        if count != serving.steps and count <= model.config.timesteps
    }
    return {
        name: _fitted([ModelSide(model, one, one.interest_mode)], one.merge, targets, seed)
        for name, one in asked.items()
    }


def _fitted_on(split: Split, seed: int) -> Targets:
    return split.validation.sample(_FITTED_ON, np.random.default_rng(seed))


def _fitted(fits: Sequence[ModelSide | ScorerSide], merge: Merge, targets: Targets, seed: int) -> Fitted:
    temperatures = [fitted_temperature(side, targets, seed) for side in fits]
    side = fits[0]
    settings: dict[str, Any] = {"fits": len(fits), "temperature": float(np.mean(temperatures))}
    if isinstance(side, ModelSide):
        settings["merge"] = merge
    settings |= {"interests": side.interests, "distances": side.interests * side.items}
    asked = zip(fits, temperatures, strict=True)
    return Fitted(tuple(Contender(side, temperature, merge) for side, temperature in asked), settings)


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
