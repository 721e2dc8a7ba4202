"""Progress of a benchmark in lines: one for each job that is over."""

import traceback
from collections.abc import Callable
from typing import Self

from training.benchmark.execute import Job
from training.benchmark.rows import Row
from training.errors import TrainingError
from training.run import EpochRecord


class ProgressLines:
    """The watcher of a benchmark, and the observer of its trainings, that writes lines with `write_line`."""

    def __init__(self, write_line: Callable[[str], object]) -> None:
        self.write_line = write_line

    def fitting(self, job: Job) -> Self:  # noqa: ARG002
        """Follow a training."""
        return self

    def epoch_started(self, epoch: int, examples: int) -> None:
        """Nothing is written of a single epoch: its run directory has it."""

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        """Nothing is written of a batch."""

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        """Nothing is written of a single epoch."""

    def measuring(self, job: Job, targets: int) -> None:
        """Nothing is written before a measurement is over."""

    def measured(self, targets: int) -> None:
        """Nothing is written of a part of a measurement."""

    def finished(self, job: Job, rows: list[Row], *, cached: bool) -> None:
        """Write the test metrics of the job, asked as it is served."""
        served = next(row for row in rows if row.part == "test")
        self.write_line(
            f"{job.label}: hr@20 {served.hr_20:.4f}  ndcg@20 {served.ndcg_20:.4f}"
            f"  trained {served.train_s:.0f} s{'  (done before)' if cached else ''}"
        )

    def failed(self, job: Job, error: Exception) -> None:
        """Write the error; one that nobody expected with its trace."""
        self.write_line(f"{job.label} failed: {error}")
        if not isinstance(error, TrainingError):
            self.write_line("".join(traceback.format_exception(error)))
