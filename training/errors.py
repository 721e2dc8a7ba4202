"""Errors between an event log and a trained model.

Every message is one line that names the field, column, key or file and the remedy, because the command line
prints it as it is.

    TrainingError
    ├── DataError      an event log, items file or prepared directory that cannot be used
    ├── ConfigError    a training configuration that cannot be used
    ├── DownloadError  demo data that could not be fetched or is not what it should be
    ├── QualityError   a model that is worse than the one in service
    └── BenchmarkError a benchmark of which some fits failed, or results that cannot be used
"""

from files.errors import DimeRecError


class TrainingError(DimeRecError):
    """The root of this package's errors."""


class DataError(TrainingError):
    """An event log, items file or prepared directory that cannot be used."""


class ConfigError(TrainingError):
    """A training configuration that cannot be used."""


class DownloadError(TrainingError):
    """Demo data that could not be fetched or is not what it should be."""


class QualityError(TrainingError):
    """A model that is worse than the one in service."""


class BenchmarkError(TrainingError):
    """A benchmark of which some fits failed, or results that cannot be used."""
