"""A configuration fitted to a log: what nobody chose, and what chose it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from training.config import TrainingConfig, resolve
from training.data.dataset import Dataset
from training.data.splits import SPLITS
from training.log_recipe import SMALL_LOG, LogSize
from training.warm_start import Initial


class Fitted(NamedTuple):
    """A concrete configuration, and the reasons for what nobody set."""

    config: TrainingConfig
    reason: str
    """The recipe, and why this one."""
    chosen: Mapping[str, Any]
    """Each key that the recipe decided, such as `model.dim`, with its value; in order."""


def fit(config: TrainingConfig, dataset: Dataset, initial: Initial | None = None) -> Fitted:
    """Decide what `config` leaves open, for the training part of a log and an older model to start from.

    Raises ConfigError where the values do not fit together.
    """
    train = SPLITS[config.split](dataset).train
    size = LogSize.of(train, len(dataset.catalogue))
    fitted = resolve(config, size, None if initial is None else initial.model.config)
    chosen = {key: fitted.value(key) for key in config.open_keys}
    return Fitted(fitted, _reason(config, fitted, size, initial), chosen)


def _reason(asked: TrainingConfig, fitted: TrainingConfig, size: LogSize, initial: Initial | None) -> str:
    if initial is not None:
        return f"Architecture of {initial.version}, recipe {fitted.recipe}"
    if asked.recipe != "auto":
        return f"Recipe {fitted.recipe}, as set"
    compared = "fewer than" if fitted.recipe == "small" else "at least"
    return f"Recipe {fitted.recipe}, for {size.events:,} training events ({compared} {SMALL_LOG:,})"
