"""A training run with its data, as the measurements of one run take it, and where their findings are from."""

from pathlib import Path
from typing import Any, NamedTuple

import typer

from training.benchmark.machine import hardware, source_revision
from training.data.dataset import Dataset, read_dataset
from training.data.splits import SPLITS, Split
from training.drawing import fit_draws
from training.evaluation.trained import Trained, check_fit, trained_model


class OpenedRun(NamedTuple):
    """The best model of a run, the data that it was trained on, and how that was split."""

    trained: Trained
    dataset: Dataset
    split: Split


def opened_run(run: Path, data: Path) -> OpenedRun:
    """Open a run, asked as it would be published, and its data; typer.BadParameter where it holds none."""
    trained, dataset = trained_model(run, None, None, "cpu"), read_dataset(data)
    if trained is None or trained.split is None:
        raise typer.BadParameter("holds no run", param_hint="--run")
    check_fit(trained, dataset, None)
    split = SPLITS[trained.split](dataset)
    serving = fit_draws(trained.model, trained.serving, split.validation).serving
    return OpenedRun(trained._replace(serving=serving), dataset, split)


def provenance(call: str, dataset: Dataset) -> dict[str, Any]:
    """The command (`call` after `python -m benchmarks.quality.`), the code, the machine and the data."""
    return {
        "command": f"python -m benchmarks.quality.{call}",
        "commit": source_revision(),
        "hardware": hardware().model_dump(),
        "data_fingerprint": dataset.fingerprint,
    }
