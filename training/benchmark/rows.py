"""A row: one recommender, fitted once and asked one variant, measured on one part of one data set."""

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from training.benchmark.recipe import Fitted, Variant
from training.evaluation.ranking import Evaluation
from training.evaluation.report import Part

METRIC_DIGITS = 6
"""After the point, of what is kept: more than the data can tell apart."""
_TIME_DIGITS = 4
"""Of seconds and milliseconds: more than repeats."""
_NAMES = {
    "distinct_categories@20": "categories@20",
    "intra_list_distance@20": "ild@20",
    "coverage@20": "coverage@20",
}
"""Names of an evaluation's measures of diversity → their keys in a row."""


class Hardware(BaseModel):
    """The hardware that computed; nothing of it says where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    cores: int
    """Cores that the process might use."""
    torch_threads: int
    gpu: str | None
    """The card's model, where torch finds one."""


class Fit(BaseModel):
    """The fit that something was measured of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    """Name of the data set."""
    split: str
    model: str
    """Name in the registry."""
    seed: int
    run: str
    """Key of the fit: the name of its files."""


class Identity(Fit):
    """The subject of a row: the parts that are the same for all rows of one fit."""

    data_fingerprint: str
    settings: str
    """Hash of the recipe's settings."""
    minutes: float | None
    """Limit on the training time; None: none."""
    commit: str | None
    """Revision of the source, where it is known."""
    hardware: Hardware


class Row(Identity):
    """One line of the results; metrics are means over the targets.

    The keys in JSON are those of the metrics: `hr@5`, `ndcg@20`.
    """

    variant: int
    """Place of this variant of asking among those of the fit; 0 is how the recommender is served."""
    steps: int | None
    draws: int | None
    interest_mode: str | None
    guidance_weight: float | None = None
    """None also in rows older than it: there each interest counted the same."""
    merge: str | None
    temperature: float | None
    repeat_weight: float | None = None
    """None also in rows older than it: there an item of the history counted as any other."""
    counts: float | None = None
    """Part of the counts in an item's score, 0 where they add nothing; None: they were not weighed, as in
    rows older than it."""
    without_counts: bool = False
    """True where they are left out on purpose."""
    part: Part
    exclude_seen: bool
    """True where items of the history are left out of the ranking, as when serving."""
    targets: int

    hr_5: float = Field(alias="hr@5")
    hr_10: float = Field(alias="hr@10")
    hr_20: float = Field(alias="hr@20")
    hr_50: float = Field(alias="hr@50")
    ndcg_5: float = Field(alias="ndcg@5")
    ndcg_10: float = Field(alias="ndcg@10")
    ndcg_20: float = Field(alias="ndcg@20")
    ndcg_50: float = Field(alias="ndcg@50")
    categories_20: float | None = Field(alias="categories@20")
    """Distinct categories among the first 20; None where items have none."""
    ild_20: float | None = Field(alias="ild@20")
    """Mean Jaccard distance between the categories of two of the first 20; None where items have none."""
    coverage_20: float = Field(alias="coverage@20")
    """Part of the catalogue that is among anybody's first 20."""

    train_s: float
    """Seconds until the kept model was reached, validation included."""
    trained_on: str | None = None
    """The GPU that took these, whatever `hardware` asked the model; None: the processor."""
    ms_per_user: float
    """Time to score the whole catalogue for one user, in batches of users, without ranking."""
    epochs: int | None
    chosen: dict[str, Any] | None
    """Hyper-parameters that were chosen on validation."""

    @property
    def sort_key(self) -> tuple[str, str, str, str, int, str, str, bool, int]:
        """The key of its order among other rows."""
        fit = (self.data, self.split, self.model, self.settings, self.seed, self.run)
        return (*fit, self.part, not self.exclude_seen, self.variant)

    def metric(self, name: str) -> float | None:
        """The value under a key of the JSON, such as `ndcg@20` or `train_s`."""
        value: float | None = getattr(self, name.replace("@", "_"))
        return value


class Found(NamedTuple):
    """Results of one variant of asking on one part; the fields are those of a row."""

    part: Part
    exclude_seen: bool
    evaluation: Evaluation
    ms_per_user: float


def make_row(identity: Identity, index: int, variant: Variant, fitted: Fitted, found: Found) -> Row:
    """A row from what was measured; numbers are rounded to what the data can tell apart."""
    measured = {name: round(value, METRIC_DIGITS) for name, value in found.evaluation.metrics.items()}
    accuracy = {name: value for name, value in measured.items() if name.startswith(("hr@", "ndcg@"))}
    diversity = {key: measured.get(name) for name, key in _NAMES.items()}
    return Row.model_validate(
        {
            **identity.model_dump(),
            "variant": index,
            "steps": variant.steps,
            "draws": variant.draws,
            "interest_mode": variant.interest_mode,
            "guidance_weight": variant.guidance_weight,
            "merge": variant.merge,
            "temperature": variant.temperature,
            "repeat_weight": variant.repeat_weight,
            "counts": variant.counts,
            "without_counts": variant.without_counts,
            "part": found.part,
            "exclude_seen": found.exclude_seen,
            "targets": len(found.evaluation.ranks),
            **accuracy,
            **diversity,
            "train_s": round(fitted.train_s, _TIME_DIGITS),
            "trained_on": fitted.trained_on,
            "ms_per_user": round(found.ms_per_user, _TIME_DIGITS),
            "epochs": fitted.epochs,
            "chosen": fitted.chosen,
        }
    )
