"""The configuration of a training run: a typed, validated configuration, read from TOML."""

import tomllib
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bundle.manifest import ServingDefaults
from files.errors import first_fault
from model.config import Architecture, ModelConfig
from model.dimerec import DimeRec
from training.data.splits import SplitName
from training.errors import ConfigError
from training.learner import DimeRecLearner, Learner
from training.log_recipe import FOLLOWING, POOLED, LogSize, Recipe, recipe_for, suited


class Optimisation(BaseModel):
    """Settings of the training of any network; frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: SplitName = Field("leave-one-out", description="what is held out")
    monitor: Literal["ndcg@5", "ndcg@10", "ndcg@20", "hr@10", "hr@20"] = Field(
        "ndcg@10", description="validation metric (seen items removed) that picks the best epoch"
    )
    validation_targets: int = Field(
        10_000, ge=1, description="at most this many, drawn once for all seeds, are ranked after each epoch"
    )
    epochs: int = Field(16, ge=1, le=100_000, description="at most this many passes over the data")
    minutes: float | None = Field(None, gt=0, description="stop after the first epoch that ends later")
    patience: int = Field(
        16,
        ge=1,
        description="epochs without a better validation before stopping; fewer than `epochs` may stop a run"
        " before its learning rate has fallen, which costs more than it saves",
    )

    batch_size: int = Field(512, ge=1, le=1_000_000, description="examples (prefixes) per step, about")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        description="AdamW's, after the warm-up; unset: .001, for DimeRec less on small logs of few users",
    )
    learning_rate_decay: Literal["cosine", "none"] = Field(
        "cosine",
        description="how the learning rate falls: to 0 over the epochs there is time for, or not at all",
    )
    warmup_steps: int = Field(100, ge=0, description="steps in which the learning rate rises from 0")
    weight_decay: float = Field(0.0, ge=0, le=10, description="AdamW's, for all but embedding tables")
    clip_norm: float = Field(5.0, gt=0, description="largest norm of a step's gradient")

    seed: int = Field(0, ge=0, lt=2**63, description="of the initial weights, the batches and the noise")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: CUDA when there")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: float32, which is quicker at the default sizes, on a GPU too; bfloat16: autocast",
    )

    follows_log: ClassVar[frozenset[str]] = frozenset()
    """Keys such as `epochs` or `model.dim` whose value follows the log where nobody chose it."""

    def following(self, log: LogSize, older: ModelConfig | None) -> Mapping[str, Any]:  # noqa: ARG002
        """By key, what suits a log and, where it is given, an older model to start from."""
        return {}

    def leaves_open(self, key: str) -> bool:
        """True where nobody chose the value of `key`, such as `epochs` or `model.dim`."""
        section, _, name = key.rpartition(".")
        holder: BaseModel = attrgetter(section)(self) if section else self
        return name not in holder.model_fields_set or getattr(holder, name) == "auto"

    @property
    def open_keys(self) -> list[str]:
        """Keys that follow the log, since nobody chose their values; sorted."""
        return sorted(filter(self.leaves_open, self.follows_log))

    def learner(self, items: int) -> Learner:
        """A fresh network for a catalogue of `items`; its weights come from torch's global generator."""
        raise NotImplementedError


class TrainingConfig(Optimisation):
    """Everything that decides what a run of DimeRec learns, except the data."""

    follows_log = FOLLOWING

    recipe: Literal["auto", "small", "large"] = Field(
        "auto", description="what keys that are unset follow: small or large logs; auto: by training events"
    )
    model: Architecture = Field(Architecture(), description="the network and its objective")
    item_start: Literal["cooccurrence", "random"] = Field(
        "cooccurrence", description="item vectors before the first step: turned to co-occurrence, or random"
    )
    serving: ServingDefaults = Field(
        ServingDefaults(),
        description="how the model is asked: when it is validated, and by default when it is served, where"
        " `dimerec publish` leaves out draws that add nothing",
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.serving.steps > self.model.timesteps:
            raise ValueError(
                f"serving.steps ({self.serving.steps}) exceeds model.timesteps ({self.model.timesteps})"
            )
        return self

    def following(self, log: LogSize, older: ModelConfig | None) -> Mapping[str, Any]:
        """The recipe and its values (`training.log_recipe`).

        A warm start has the older model's architecture, all but its dropout, and the recipe that this
        architecture is of. Serving has the model's temperature.
        """
        recipe = self._recipe(log, older)
        values = {"recipe": recipe, **suited(recipe, log)}
        if older is not None:
            its = older.model_dump(exclude={"items", "dropout"})
            values |= {f"model.{key}": value for key, value in its.items()}
        temperature = "model.temperature"
        values["serving.temperature"] = (
            values[temperature] if self.leaves_open(temperature) else self.value(temperature)
        )
        return values

    def _recipe(self, log: LogSize, older: ModelConfig | None) -> Recipe:
        if self.recipe != "auto":
            return self.recipe
        if older is not None:
            return "small" if older.guidance == POOLED else "large"
        return recipe_for(log)

    def value(self, key: str) -> Any:
        """The value of `key`, such as `epochs` or `model.dim`."""
        return attrgetter(key)(self)

    def learner(self, items: int) -> DimeRecLearner:
        """A fresh DimeRec for a catalogue of `items`."""
        model = DimeRec(ModelConfig(items=items, **self.model.model_dump()))
        return DimeRecLearner(model, self.serving, self.seed, self.item_start == "cooccurrence")


Configured = TypeVar("Configured", bound=Optimisation)


def resolve(config: Configured, log: LogSize, older: ModelConfig | None = None) -> Configured:
    """The configuration with every value decided: as chosen, as `following` says, or the default.

    All of it counts as chosen from then on, so that it stays as it is whatever log it is resolved for.
    Raises ConfigError where the values do not fit together.
    """
    chosen = config.model_dump(exclude_unset=True)
    for key, value in config.following(log, older).items():
        if config.leaves_open(key):
            set_value(chosen, key, value)
    complete = _validated(type(config), chosen)
    return _validated(type(config), complete.model_dump())


def read_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a TOML file (None: all defaults) and apply overrides of the form `model.dim=128`.

    Raises ConfigError, naming the key and the remedy.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise ConfigError(f"{path} does not exist; leave out --config for the defaults") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is no UTF-8 text: save it as UTF-8") from error
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    return _overridden(TrainingConfig, values, overrides)


def override(config: Configured, overrides: Sequence[str]) -> Configured:
    """The configuration with overrides of the form `learning_rate=0.01` applied.

    Raises ConfigError, naming the key and the remedy.
    """
    return _overridden(type(config), config.model_dump(exclude_unset=True), overrides)


def _overridden(kind: type[Configured], values: dict[str, Any], overrides: Sequence[str]) -> Configured:
    for change in overrides:
        _apply(values, change)
    return _validated(kind, values)


def _validated(kind: type[Configured], values: dict[str, Any]) -> Configured:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        remedy = ""
        if faults[0]["type"] == "extra_forbidden":
            remedy = f"; its keys are {', '.join(kind.model_fields)}"
            if kind is TrainingConfig:
                remedy = "; `dimerec train --show-config` lists the keys"
        raise ConfigError(f"{first_fault(faults, 'the configuration')}{remedy}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value`; the value is read as TOML, or as plain text where it is none."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"{override!r} is no override; write KEY=VALUE, as in model.dim=128")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    set_value(values, key, value)


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.key` in nested dictionaries. Raises ConfigError where a section is none."""
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: {section} is no section; `dimerec train --show-config` lists the keys")
    values[name] = value
