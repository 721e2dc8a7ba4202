"""A recommender as the benchmark sees it: how it is set, how it is fitted, and what can be asked of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.scorer import Scorer
from training.trainer import Observer


@dataclass(frozen=True)
class Variant:
    """A fitted recommender, asked in one manner; the fields without meaning for it are None."""

    scorer: Scorer
    steps: int | None = None
    """Denoising steps."""
    draws: int | None = None
    """Interests drawn per user."""
    interest_mode: str | None = None
    guidance_weight: float | None = None
    """Weight of the guidance among several interests of both kinds."""
    merge: str | None = None
    """The rule that makes one score of several interests'."""
    temperature: float | None = None
    """Of the softmaxes that are merged."""
    repeat_weight: float | None = None
    """Factor on the score of an item of the history, fitted on validation."""
    counts: float | None = None
    """Part of the counts in an item's score, fitted on validation: 0 where they add nothing; None: they were
    not weighed."""
    without_counts: bool = False
    """True where they are left out on purpose."""
    ms_per_user: float | None = None
    """Time for one user where the scorer only repeats what was answered elsewhere; None: it is timed."""


@dataclass(frozen=True)
class Fitted:
    """A recommender that has learned."""

    variants: tuple[Variant, ...]
    """The first is as served; the others are what else is worth a row."""
    train_s: float
    """Seconds until the kept model was reached, validation included."""
    trained_on: str | None = None
    """The GPU that took these; None: the processor."""
    epochs: int | None = None
    """Epochs until the kept model was reached; None where there are none."""
    chosen: dict[str, Any] | None = None
    """Hyper-parameters that were chosen on validation."""
    item_vectors: npt.NDArray[np.float32] | None = None
    """`(items, dim)`, line i of item row i + 1; None where items have no vectors."""

    @property
    def curved(self) -> dict[int, Variant]:
        """The variants whose diversity is measured, by index: as served, and the first by draws alone."""
        drawn = [index for index, variant in enumerate(self.variants) if variant.interest_mode == "draws"]
        return {index: self.variants[index] for index in [0, *drawn[:1]]}


@dataclass(frozen=True)
class Budget:
    """Limits of a fit."""

    seed: int
    minutes: float | None
    """Training stops after the first epoch that ends later; None: no limit."""
    directory: Path
    """Directory of a fit's run; a killed fit resumes from it."""
    observer: Observer


class Recipe(Protocol):
    """A recommender with everything that decides what it learns, but for the data and the seed."""

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-serialisable; a result is cached under the hash of this, the data and the budget.

        What is learned otherwise has other settings, whatever it is called in the registry.
        A key `variants` says only how the fitted recommender is asked: where nothing else changed, the run is
        not trained again.
        """

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        """Learn from the training part, choose on the validation part, never look at the test part."""
