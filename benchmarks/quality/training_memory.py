"""Peak memory of training on a log, and on the same log many times over, each time with other users.

    python -m benchmarks.quality.training_memory --events ../shared/data/movielens-1m.parquet

Each is read, split, trained and validated in a process of its own as `dimerec train` does it, but for the
same number of steps and of validation rankings. What a process says of its peak is the kernel's count.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from files.atomic import replacing
from training.benchmark.machine import hardware, source_revision
from training.config import read_config
from training.data.dataset import read_dataset
from training.data.prepare import prepare
from training.data.splits import SPLITS
from training.evaluation.ranking import evaluate
from training.run import EpochRecord
from training.trainer import Trainer

RANKINGS = 1024
"""Validation targets that are ranked after the steps."""

application = typer.Typer(add_completion=False)


class _StepsDoneError(Exception):
    """The steps are done."""


class _Steps:
    """Ends a training run after so many steps."""

    def __init__(self, left: int) -> None:
        self.left = left

    def epoch_started(self, epoch: int, examples: int) -> None: ...

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:  # noqa: ARG002
        self.left -= 1
        if not self.left:
            raise _StepsDoneError

    def epoch_done(self, record: EpochRecord, improved: bool) -> None: ...


@application.command()
def compare(
    events: Annotated[Path, typer.Option(help="An event log.")],
    times: Annotated[int, typer.Option(min=2, help="How often the long log repeats the short one.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each.")] = 200,
    out: Annotated[Path, typer.Option(help="File of the results.")] = Path(
        "docs/results/training-memory.json"
    ),
) -> None:
    """Measure both, write and print what was found."""
    with TemporaryDirectory() as directory:
        logs = [_measured(events, count, steps, Path(directory) / str(count)) for count in (1, times)]
    ratio = round(logs[1]["peak_mb"] / logs[0]["peak_mb"], 3)
    found = {"commit": source_revision(), "hardware": hardware().model_dump(), "steps": steps}
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(json.dumps({**found, "logs": logs, "ratio": ratio}, indent=2) + "\n")
    for log in logs:
        print(f"{log['events']:>12,} events: {log['peak_mb']:,.0f} MB, reading {log['read_mb']:,.0f} MB")
    print(f"{logs[1]['events'] / logs[0]['events']:.3g} times the events take {ratio} times the memory.")


@application.command(hidden=True)
def one(data: Path, steps: int) -> None:
    """Train on prepared data in this process, and print what it took."""
    config = read_config(None)
    dataset = read_dataset(data)
    split = SPLITS[config.split](dataset)
    read_mb = peak_mb()
    trainer = Trainer(config, split, dataset.catalogue, data)
    try:
        trainer.run(_Steps(steps))
    except _StepsDoneError:
        validation = split.validation
        some = validation.sample(RANKINGS, np.random.default_rng(0))
        evaluate(trainer.learner.scorer(), some, dataset.catalogue, exclude_seen=True)
    else:
        raise typer.BadParameter(f"an epoch has less than {steps} steps", param_hint="--steps")
    taken = {"users": len(dataset), "events": len(dataset.items), "read_mb": read_mb, "peak_mb": peak_mb()}
    print(json.dumps(taken))


def repeated(events: pl.DataFrame, times: int) -> pl.DataFrame:
    """The log `times` over, with other users each time."""
    users = pl.col("user_id").cast(pl.String)
    return pl.concat(events.with_columns(user_id=users + f"-{copy}") for copy in range(times))


def peak_mb() -> float:
    """The most memory of this process that was ever resident, in megabytes; Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return round(int(kibibytes) * 1024 / 1e6, 1)


def _measured(events: Path, times: int, steps: int, directory: Path) -> dict[str, Any]:
    directory.mkdir()
    log = directory / "events.parquet"
    repeated(pl.read_parquet(events), times).write_parquet(log)
    prepare(log, None, directory)
    command = [sys.executable, "-m", "benchmarks.quality.training_memory", "one", str(directory), str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    application()
