"""A refit: the model of a run trained anew on all events, those that the run held out among them.

```
<run>/refit/config.json         as of the run, with the number of epochs
<run>/refit/last.safetensors    how far it got, to resume from
<run>/refit/metrics.jsonl       one line per epoch, without validation
<run>/refit/model.safetensors   the model, once it is whole
```
It begins as the run began and takes as many epochs as led to the run's best one: each example is then seen as
often as validation found best, and the learning rate ends where it was. Nothing is left to measure it on,
so whatever is measured is of the run's own model.
"""

from pathlib import Path

import numpy as np

from training.config import TrainingConfig
from training.data.dataset import Dataset
from training.data.splits import Histories, Sequences, Split, Targets
from training.errors import TrainingError
from training.run import RunConfig, alone_in, best_of, read_records, read_run_config
from training.trainer import Observer, Trainer, planned_epochs
from training.warm_start import Initial

REFIT_DIRECTORY = "refit"
MODEL_FILE = "model.safetensors"


def refit(dataset: Dataset, run: Path, observer: Observer, initial: Initial | None = None) -> int:
    """Train the model of the finished `run` on all events, or go on with that; returns the number of epochs.

    `dataset` and `initial` are those of the run. Raises TrainingError where the run has no epoch or the loss
    stops being a number, ConfigError where the run has the refit of another one.
    """
    config, out = _config_of(run), run / REFIT_DIRECTORY
    with alone_in(out):
        trainer = Trainer.opened(config, _all_of(dataset), dataset.catalogue, out, initial)
        epochs = best_of(run).epoch
        while len(trainer.records) < epochs:
            record = trainer.epoch(observer)
            trainer.keep(record)
            observer.epoch_done(record, improved=False)
        trainer.learner.write(out / MODEL_FILE)
        return epochs


def refitted(run: Path) -> Path | None:
    """The checkpoint of a run's refit; None where it has none.

    Raises TrainingError where it is unfinished or belongs to another run.
    """
    out = run / REFIT_DIRECTORY
    if not out.exists():
        return None
    if not (out / MODEL_FILE).exists():
        raise TrainingError(
            f"the refit of {run} is unfinished: let `dimerec train --refit` go on, or remove {out}"
        )
    if read_run_config(out) != _config_of(run):
        raise TrainingError(f"{out} is the refit of another run: remove it, and refit with `dimerec train`")
    return out / MODEL_FILE


def _config_of(run: Path) -> RunConfig[TrainingConfig]:
    """The configuration of a run's refit; minutes, which a faster machine would use otherwise, as epochs."""
    config, records, epochs = read_run_config(run), read_records(run), best_of(run).epoch
    planned = max(planned_epochs(config.training, records), epochs)
    training = config.training.model_copy(update={"epochs": planned, "minutes": None})
    return config.model_copy(update={"training": training, "refit_epochs": epochs})


def _all_of(dataset: Dataset) -> Split:
    """A split that holds nothing out."""
    none = np.empty(0, np.int64)
    nothing = Targets(Histories(dataset.items, none, none), np.empty(0, np.int32), none, none)
    return Split("all", Sequences(dataset.items, dataset.offsets), nothing, nothing)
