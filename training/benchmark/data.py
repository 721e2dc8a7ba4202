"""The data sets of a benchmark: logs, prepared as `dimerec prepare` does by default, and split."""

from dataclasses import dataclass
from pathlib import Path

from training.data.dataset import Dataset, read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.data.reading.sources import Paths
from training.data.splits import SPLITS, Split

WINDOW_COLUMN = "window"
"""Options with which the split by window reads a log."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split."""

    name: str
    dataset: Dataset
    split: Split


def split_data(name: str, prepared: Path, split: str) -> Data:
    """Load what `dimerec prepare` wrote."""
    dataset = read_dataset(prepared)
    return Data(name, dataset, SPLITS[split](dataset))


def prepared_directory(name: str, split: str, directory: Path) -> Path:
    """The folder of a data set and a split under `directory`."""
    return directory / f"{name}-{split}"


def prepare_data(name: str, events: Paths, items: Paths | None, split: str, directory: Path) -> Data:
    """Prepare a log under `directory`, in its `prepared_directory`, and load it.

    This is done anew each time, for it is quick and the log may have changed.
    """
    prepared = prepared_directory(name, split, directory)
    window = WINDOW_COLUMN if split == "window" else None
    prepare(events, items, prepared, PrepareOptions(window_column=window))
    return split_data(name, prepared, split)
