"""Recommenders that the trainer fits, as recipes of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from training.baselines.comirec import ComiRecConfig
from training.baselines.diffurec import DiffuRecConfig
from training.baselines.diffusion import DiffusionBaseline, DiffusionConfig
from training.baselines.dreamrec import DreamRecConfig
from training.baselines.mind import MINDConfig
from training.baselines.sasrec import SASRecConfig
from training.benchmark.recipe import Budget, Fitted, Recipe, Variant
from training.config import Optimisation, resolve, set_value
from training.data.dataset import Dataset
from training.data.splits import Split
from training.learner import Learner
from training.log_recipe import LogSize
from training.run import BEST_FILE, EpochRecord, read_records
from training.trainer import choose_device, train


@dataclass(frozen=True)
class NetworkRecipe:
    """A network trained as its configuration says, but for the seed, the minutes and the split."""

    config: Optimisation

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration without what the budget decides, and with null for what the data will decide."""
        written = self.config.model_dump(mode="json", exclude={"seed", "minutes", "split"})
        for key in filter(self.config.leaves_open, self.config.follows_log):
            set_value(written, key, None)
        return written

    def train(self, dataset: Dataset, split: Split, budget: Budget) -> tuple[Optimisation, EpochRecord]:
        """Train in the budget's directory, or resume there; the configuration, and the best epoch."""
        given = {"seed": budget.seed, "minutes": budget.minutes, "split": split.name}
        config = type(self.config).model_validate(self.config.model_dump(exclude_unset=True) | given)
        config = resolve(config, LogSize.of(split.train, len(dataset.catalogue)))
        return config, train(dataset, config, budget.directory, budget.observer).best

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        """Train, and take the epoch that validated best."""
        config, best = self.train(dataset, split, budget)
        cards = {one.card for one in read_records(budget.directory)[: best.epoch] if one.card is not None}
        learner = config.learner(len(dataset.catalogue))
        learner.read(budget.directory / BEST_FILE)
        learner.network.to(choose_device(config.device)).eval()
        return Fitted(
            self.variants(learner, split),
            train_s=best.seconds,
            trained_on=", ".join(sorted(cards)) or None,
            epochs=best.epoch,
            item_vectors=learner.item_vectors().detach().float().cpu().numpy(),
        )

    def variants(self, learner: Learner, split: Split) -> tuple[Variant, ...]:  # noqa: ARG002
        """Variants of asking the trained network; what they choose, they choose on validation."""
        return (Variant(learner.scorer()),)


@dataclass(frozen=True)
class DiffusionRecipe(NetworkRecipe):
    """A diffusion baseline, measured with more reverse steps than the epochs' validations can afford."""

    config: DiffusionConfig

    def variants(self, learner: Learner, split: Split) -> tuple[Variant, ...]:  # noqa: ARG002
        """One variant, with the configuration's `steps`."""
        steps = self.config.steps
        return (Variant(cast(DiffusionBaseline, learner).scorer(steps), steps=steps, draws=1),)


NETWORKS: dict[str, Callable[[], Recipe]] = {
    "sasrec": lambda: NetworkRecipe(SASRecConfig()),
    "sasrec-ce": lambda: NetworkRecipe(SASRecConfig(negatives=None)),
    "sasrec-ce-deep": lambda: NetworkRecipe(SASRecConfig(negatives=None, dim=128, blocks=4)),
    "comirec-sa": lambda: NetworkRecipe(ComiRecConfig(extractor="self_attentive")),
    "comirec-dr": lambda: NetworkRecipe(ComiRecConfig(extractor="dynamic_routing")),
    "mind": lambda: NetworkRecipe(MINDConfig()),
    "dreamrec": lambda: DiffusionRecipe(DreamRecConfig()),
    "diffurec": lambda: DiffusionRecipe(DiffuRecConfig()),
}
"""Neural baselines by name."""
