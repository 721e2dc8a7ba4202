"""A training run's directory: what it was asked to do, how far it got, and its best model.

```
<run>/config.json         the configuration and the data's fingerprint
<run>/best.safetensors    the model with the best validation so far
<run>/last.safetensors    model, optimiser and history of the last whole epoch, to resume from
<run>/metrics.jsonl       one line per epoch
<run>/refit/              where it was trained on all events afterwards: `training.refit`
```
Every file is replaced whole, `last` after `best`; training is a function of (seed, epoch), so a run that was
killed and resumed ends where an undisturbed one does.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from files.atomic import replacing
from files.errors import first_fault
from training.config import Optimisation, TrainingConfig
from training.errors import ConfigError, TrainingError

CONFIG_FILE = "config.json"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
METRICS_FILE = "metrics.jsonl"

_FORMAT = "dimerec-run-1"
_MODEL = "model."
_OPTIMIZER = "optimizer."

Config = TypeVar("Config", bound=Optimisation)


class RunConfig(BaseModel, Generic[Config]):
    """The identity of a run directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Config
    data_fingerprint: str
    initial_version: str | None = None
    """The bundle that a warm start began from."""
    refit_epochs: int | None = None
    """Of a refit: how many of the epochs that `training` plans; None: it is a run of its own."""


class EpochRecord(BaseModel):
    """One epoch as `metrics.jsonl` holds it; losses are means per example, unweighted parts first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    losses: dict[str, float]
    validation: dict[str, float]
    examples_per_s: float
    seconds: float
    """Training and validation time since the run began, in seconds."""
    card: str | None = None
    """The GPU that trained it; None: the processor, or a run older than this."""


@dataclass(frozen=True)
class Progress:
    """A run after a whole epoch."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    records: list[EpochRecord]


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keep other trainings out of a run's directory, which is made, for the block; a kill lets them in, too.

    Raises TrainingError where another process trains there: each would go on from the other's files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{directory}: another process trains there; wait for it, or name another --out"
            ) from error
        yield
    finally:
        os.close(held)


def open_run(directory: Path, config: RunConfig[Config]) -> bool:
    """Make the run's directory, or find it there; True if there is progress to resume from.

    Raises ConfigError if the directory belongs to a run with another configuration or other data.
    """
    path = directory / CONFIG_FILE
    directory.mkdir(parents=True, exist_ok=True)
    if path.exists():
        existing = _read_config(path, type(config.training))
        if existing != config:
            what = _difference(existing, config)
            raise ConfigError(f"{directory} holds a run with another {what}; name a new --out or remove it")
        return (directory / LAST_FILE).exists()
    _write_text(path, config.model_dump_json(indent=2) + "\n")
    return False


def read_run_config(directory: Path) -> RunConfig[TrainingConfig]:
    """Read what a run of DimeRec was asked to do. Raises TrainingError if `directory` holds none."""
    return _read_config(directory / CONFIG_FILE, TrainingConfig)


def _read_config(path: Path, kind: type[Config]) -> RunConfig[Config]:
    try:
        return RunConfig[kind].model_validate_json(path.read_bytes())  # type: ignore[valid-type]
    except FileNotFoundError as error:
        raise TrainingError(f"{path.parent} holds no training run ({CONFIG_FILE} is missing)") from error
    except ValidationError as error:
        fault = first_fault(error.errors(), "the file")
        raise TrainingError(f"{path} is unusable: {fault}; train anew") from error


def read_records(directory: Path) -> list[EpochRecord]:
    """The epochs of a run so far, oldest first; none if it has not finished its first.

    Read from `last.safetensors`, which a kill cannot part from the model. Raises TrainingError
    if it is damaged.
    """
    path = directory / LAST_FILE
    return _read_last(path, tensors=False)[1] if path.exists() else []


def best_of(directory: Path) -> EpochRecord:
    """The best epoch of a run of DimeRec. Raises TrainingError if it has not finished any."""
    config, records = read_run_config(directory), read_records(directory)
    if not records:
        raise TrainingError(f"{directory} has not finished an epoch; let `dimerec train` go on")
    return best_record(records, config.training.monitor)


def best_record(records: list[EpochRecord], monitor: str) -> EpochRecord:
    """The epoch whose model is in `best.safetensors`: the first with the best value of `monitor`."""
    return max(records, key=lambda record: record.validation[monitor])


def write_progress(directory: Path, progress: Progress) -> None:
    """Write `last.safetensors`, then `metrics.jsonl`."""
    tensors = {_MODEL + name: tensor for name, tensor in progress.model.items()}
    state = progress.optimizer["state"]
    for index, entries in state.items():
        tensors |= {f"{_OPTIMIZER}{index}.{name}": torch.as_tensor(value) for name, value in entries.items()}
    records = [record.model_dump_json(exclude_none=True) for record in progress.records]
    metadata = {"format": _FORMAT, "records": json.dumps(records)}
    with replacing(directory / LAST_FILE) as temporary:
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata
        )
    write_records(directory, progress.records)


def read_progress(directory: Path, param_groups: list[dict[str, Any]]) -> Progress:
    """Read `last.safetensors`; `param_groups` are those of a fresh optimiser of the same configuration.

    Raises TrainingError if the file is damaged.
    """
    tensors, records = _read_last(directory / LAST_FILE)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            _, index, entry = name.split(".")
            state.setdefault(int(index), {})[entry] = tensor
    model = {name.removeprefix(_MODEL): tensor for name, tensor in tensors.items() if name.startswith(_MODEL)}
    return Progress(model, {"state": state, "param_groups": param_groups}, records)


def write_records(directory: Path, records: list[EpochRecord]) -> None:
    """Write `metrics.jsonl`, for people and plots; the run itself does not read it."""
    _write_text(
        directory / METRICS_FILE,
        "".join(f"{record.model_dump_json(exclude_none=True)}\n" for record in records),
    )


def _read_last(path: Path, *, tensors: bool = True) -> tuple[dict[str, Tensor], list[EpochRecord]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            values = {name: file.get_tensor(name) for name in (file.keys() if tensors else ())}
        if metadata.get("format") != _FORMAT:
            raise TrainingError(f"{path} is no {_FORMAT} file; remove the run and train anew")
        records = [EpochRecord.model_validate_json(line) for line in json.loads(metadata["records"])]
    except (OSError, SafetensorError, ValidationError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be resumed from ({error}); remove the run and train anew"
        ) from error
    return values, records


def _difference(existing: RunConfig[Config], asked: RunConfig[Config]) -> str:
    """Name the first setting in which two runs differ."""
    if existing.data_fingerprint != asked.data_fingerprint:
        return "data set"
    if existing.initial_version != asked.initial_version:
        return f"--init ({existing.initial_version}, not {asked.initial_version})"
    if existing.refit_epochs != asked.refit_epochs:
        return f"refit_epochs ({existing.refit_epochs}, not {asked.refit_epochs})"
    before, after = (_flat(run.training.model_dump()) for run in (existing, asked))
    key = next(key for key in before if before[key] != after[key])
    return f"{key} ({before[key]}, not {after[key]})"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
