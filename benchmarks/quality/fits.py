"""Fits of the benchmark, several at once, where there are the cores for it or a GPU.

    python -m benchmarks.quality.fits --shared ../shared/data movielens-1m:sasrec-ce:1 kuairand-pure:mind:2

Each is DATA:MODEL:SEED, trained by a process of its own on one thread. Nothing is measured: `make quality`
and `make retrieval-stage` find the trained networks in the working directory, and do that. A fit that was
stopped goes on where its last whole epoch left it.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple, Self, cast

import torch
import typer

from benchmarks.quality.quality import SOURCES, prepared
from training.benchmark.data import Data, prepared_directory, split_data
from training.benchmark.execute import Job
from training.benchmark.networks import NetworkRecipe
from training.benchmark.progress import ProgressLines
from training.benchmark.recipe import Budget
from training.benchmark.registry import find, plan
from training.benchmark.store import Store
from training.errors import BenchmarkError, TrainingError


class Asked(NamedTuple):
    """One fit that is asked for."""

    data: str
    model: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BenchmarkError unless it is DATA:MODEL:SEED of what there is."""
        data, model, seed = (*text.split(":"), "", "", "")[:3]
        if text.count(":") != 2 or data not in SOURCES or not (seed.isascii() and seed.isdigit()):
            raise BenchmarkError(
                f"{text!r} is not DATA:MODEL:SEED, as in movielens-1m:sasrec-ce:1; data: {', '.join(SOURCES)}"
            )
        find([model])
        return cls(data, model, int(seed))

    def __str__(self) -> str:
        return ":".join(map(str, self))


def main(
    fits: Annotated[list[str], typer.Argument(metavar="DATA:MODEL:SEED…", help="Names as `make quality`'s.")],
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    work: Annotated[Path, typer.Option(help="Fits are kept here.")] = Path(".quality"),
    processes: Annotated[int, typer.Option(min=1, help="Fits at a time.")] = 2,
) -> None:
    """Train the named fits, the first of them first."""
    try:
        asked = [Asked.parse(text) for text in fits]
        data = {name: prepared(name, shared, work) for name in dict.fromkeys(one.data for one in asked)}
        for one in asked:
            _job(data[one.data], one)
    except TrainingError as error:
        typer.echo(f"fits: {error}", err=True)
        raise typer.Exit(1) from error
    fit = partial(_fitted, work)
    splits = [(data[one.data].name, data[one.data].split.name) for one in asked]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        failures = [found for found in pool.map(fit, asked, splits) if found is not None]
    if failures:
        typer.echo("\n".join(failures), err=True)
        raise typer.Exit(1)


def _job(data: Data, one: Asked) -> Job:
    """Raises BenchmarkError for a recommender that is not trained."""
    jobs = plan(data, find([one.model]), seeds=one.seed + 1)
    if not isinstance(jobs[-1].recipe, NetworkRecipe):
        raise BenchmarkError(f"{one}: {one.model} is not trained, `make quality` fits it as it measures")
    return jobs[-1]


def _fitted(work: Path, one: Asked, named: tuple[str, str]) -> str | None:
    """Train on what was prepared of (data set, split), in a process of its own; a failure's reason."""
    torch.set_num_threads(1)
    name, split = named
    job = _job(split_data(name, prepared_directory(name, split, work / "data"), split), one)
    store, watcher = Store(work), ProgressLines(partial(typer.echo, err=True))
    budget = Budget(job.seed, job.minutes, store.training(job.training), watcher.fitting(job))
    try:
        with store.locked(job.training):
            _, best = cast(NetworkRecipe, job.recipe).train(job.data.dataset, job.data.split, budget)
    except TrainingError as error:
        return f"{job.label} failed: {error}"
    watcher.write_line(f"{job.label}: best after epoch {best.epoch}, {best.seconds:.0f} s")
    return None


if __name__ == "__main__":
    typer.run(main)
