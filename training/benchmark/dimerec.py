"""DimeRec in the benchmark: trained as `dimerec train` does it, asked as it is served and in other ways."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from bundle.manifest import ServingDefaults
from model.checkpoint import load_checkpoint
from model.dimerec import DimeRec
from training.benchmark.recipe import Asked, Budget, Fitted
from training.config import TrainingConfig
from training.dataset import Dataset
from training.evaluation import DimeRecScorer
from training.run import BEST_FILE
from training.splits import Split
from training.trainer import choose_device, train

STEPS = (1, 2, 4, 8, 16)
DRAWS = (1, 4, 8, 16)
"""What a sweep asks for, every number of steps with every number of draws."""


@dataclass(frozen=True)
class DimeRecRecipe:
    """A DimeRec model; split, seed and minutes of its configuration are the benchmark's."""

    config: TrainingConfig
    sweep: bool = False
    """Ask with many numbers of steps and draws as well."""

    @property
    def settings(self) -> dict[str, Any]:
        """The training configuration, and the ways of asking."""
        return {
            "config": self.config.model_dump(mode="json", exclude={"split", "seed", "minutes"}),
            "asked": [serving.model_dump(mode="json") for serving in self._ways()],
        }

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        """Train, or resume the run in the budget's directory; keep the epoch of the best validation."""
        given = {"split": split.name, "seed": budget.seed, "minutes": budget.minutes}
        config = TrainingConfig.model_validate({**self.config.model_dump(), **given})
        outcome = train(dataset, config, budget.directory, budget.observer)
        model = load_checkpoint(budget.directory / BEST_FILE, choose_device(config.device))
        return Fitted(
            asked=tuple(_asked(model, serving, budget.seed) for serving in self._ways()),
            train_s=outcome.best.seconds,
            epochs=outcome.best.epoch,
        )

    def _ways(self) -> list[ServingDefaults]:
        return list(dict.fromkeys([self.config.serving, *self._others()]))

    def _others(self) -> Iterator[ServingDefaults]:
        serving = self.config.serving
        for merge in ("max", "mean"):
            yield serving.model_copy(update={"interest_mode": "guidance", "merge": merge})
        generated = serving.model_copy(update={"interest_mode": "generated"})
        yield generated
        if self.sweep:
            within = [steps for steps in STEPS if steps <= self.config.model.timesteps]
            for steps, draws in product(within, DRAWS):
                yield generated.model_copy(update={"steps": steps, "draws": draws})


def _asked(model: DimeRec, serving: ServingDefaults, seed: int) -> Asked:
    draws = serving.interest_mode != "guidance"
    return Asked(
        scorer=DimeRecScorer(model, serving, seed),
        steps=serving.steps if draws else None,
        draws=serving.draws if draws else None,
        interest_mode=serving.interest_mode,
        merge=serving.merge,
        temperature=serving.temperature if serving.merge == "mean" else None,
    )
