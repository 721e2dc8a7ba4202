"""DimeRec in the benchmark: trained as `dimerec train` does it, asked as it is served and in other ways."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

from bundle.manifest import ServingDefaults
from training.benchmark.networks import NetworkRecipe
from training.benchmark.recipe import Variant
from training.config import TrainingConfig
from training.counts import Fitted, fit_followers
from training.data.splits import Split
from training.drawing import fit_draws
from training.evaluation.repeat_weight import learned_repeat_weight
from training.learner import DimeRecLearner, Learner
from training.log_recipe import FOLLOWING

STEPS = (1, 2, 4, 8, 16)
DRAWS = (1, 4, 8, 16)
"""Variants of a sweep, every number of steps with every number of draws."""


@dataclass(frozen=True)
class DimeRecRecipe(NetworkRecipe):
    """A DimeRec model; split, seed and minutes of its configuration are the benchmark's."""

    config: TrainingConfig
    sweep: bool = False
    """Ask with many numbers of steps and draws as well."""
    as_published: bool = True
    """Serve guidance alone where draws add nothing, as `dimerec publish` does; False: as is configured."""

    @property
    def settings(self) -> dict[str, Any]:
        """The training configuration with null for what follows the log, and the variants."""
        variants = [
            {**_written(serving), "repeat_weight": "fitted", "counts": "fitted" if counted else None}
            for serving, counted in self._variants(self.config.serving, self.config.serving)
        ]
        if self._decides(self.config.serving):
            variants[0]["interest_mode"] = "fitted"
        return {**super().settings, "variants": variants}

    def variants(self, learner: Learner, split: Split) -> tuple[Variant, ...]:
        """As served first, then in every mode, what the sweep adds, and without counts."""
        trained = cast(DimeRecLearner, learner)
        serving = trained.serving
        if self._decides(serving):
            serving = fit_draws(trained.network, serving, split.validation).serving
        asked = self._variants(serving, trained.serving)
        fitted = None
        if serving.merge == "mean":
            scorer = replace(trained, serving=serving).scorer()
            fitted = fit_followers(scorer, split, trained.network.config.items)
        return tuple(
            _variant(replace(trained, serving=serving), fitted if counted else None, split)
            for serving, counted in asked
        )

    def _variants(
        self, served: ServingDefaults, trained: ServingDefaults
    ) -> list[tuple[ServingDefaults, bool]]:
        """Ways of asking, each with counts or without: a greatest cosine is without, as in a bundle.

        `served`: the first of them, `trained`: what the others differ from.
        """
        others = dict.fromkeys(self._others(trained))
        ways = [served, *others] if self._decides(trained) else list(dict.fromkeys([served, *others]))
        asked = [(way, way.merge == "mean") for way in ways]
        return [*asked, (served, False)] if served.merge == "mean" else asked

    def _decides(self, serving: ServingDefaults) -> bool:
        """True where the mode of what is served is fitted."""
        return self.as_published and serving.interest_mode == "both"

    def _others(self, serving: ServingDefaults) -> Iterator[ServingDefaults]:
        if serving.interest_mode == "both":
            yield serving
        for merge in ("max", "mean"):
            yield serving.model_copy(update={"interest_mode": "guidance", "merge": merge})
        draws_alone = serving.model_copy(update={"interest_mode": "draws"})
        yield draws_alone
        if self.sweep:
            within = [steps for steps in STEPS if steps <= self.config.model.timesteps]
            for steps, draws in product(within, DRAWS):
                yield draws_alone.model_copy(update={"steps": steps, "draws": draws})


def _written(serving: ServingDefaults) -> dict[str, Any]:
    followed = serving.model_dump(mode="json", exclude=serving.model_fields_set)
    return {
        key: None if key in followed and f"serving.{key}" in FOLLOWING else value
        for key, value in serving.model_dump(mode="json").items()
    }


def _variant(learner: DimeRecLearner, fitted: Fitted | None, split: Split) -> Variant:
    """`fitted`: counts, which have their part where they add something; None: they are left out."""
    serving = learner.serving
    learner = replace(learner, counts=fitted and fitted.used)
    weight = learned_repeat_weight(learner.network, serving, learner.seed, split.validation, learner.counts)
    draws = serving.interest_mode != "guidance"
    shared = serving.interest_mode == "both" and serving.merge == "mean"
    return Variant(
        scorer=replace(learner, repeat_weight=weight).scorer(),
        steps=serving.steps if draws else None,
        draws=serving.draws if draws else None,
        interest_mode=serving.interest_mode,
        guidance_weight=serving.guidance_weight if shared else None,
        merge=serving.merge,
        temperature=serving.temperature if serving.merge == "mean" else None,
        repeat_weight=weight if serving.merge == "mean" else None,
        counts=None if fitted is None else fitted.counts.weight,
        without_counts=fitted is None and serving.merge == "mean",
    )
