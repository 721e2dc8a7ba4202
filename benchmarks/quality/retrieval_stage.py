"""DimeRec's draws as a retrieval stage, beside its guidance, controls, baselines: `make retrieval-stage`.

Trained on a data set's training part, fitted on validation, reported on test: `dimerec evaluate --controls`
with fits of the benchmark, which are kept in the working directory and shared with `make quality`. Results of
a data set take the place of its older ones; those of other data sets stay.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import numpy as np
import typer

from benchmarks.quality.quality import SOURCES, prepared, split_names
from benchmarks.quality.results import put
from benchmarks.quality.stage_tables import Results, markdown, read_results
from files.atomic import replacing
from model.checkpoint import read_checkpoint
from model.dimerec import DimeRec
from training.benchmark.data import Data
from training.benchmark.execute import Job
from training.benchmark.machine import hardware, source_revision
from training.benchmark.progress import ProgressLines
from training.benchmark.recipe import Budget, Fitted
from training.benchmark.registry import find, plan
from training.benchmark.store import Store
from training.config import TrainingConfig
from training.data.splits import SplitName, held_out_after
from training.errors import BenchmarkError, TrainingError
from training.evaluation.horizon import Horizon, future, horizon, sample
from training.evaluation.scorer import Scorer
from training.evaluation.stage.fitting import Fitted as FittedSide
from training.evaluation.stage.fitting import fitted_sides, sides_by_steps
from training.evaluation.stage.report import NOISE_SEEDS, StageReport, stage_report
from training.evaluation.trained import Trained, check_fit
from training.run import BEST_FILE, best_record, read_records, read_run_config
from training.trainer import choose_device

OURS = "dimerec"
_MAX_EVENTS = 10_000
"""Chosen, as that of `dimerec evaluate --horizon`."""
STEPS = (1, 2, 4, 8, 16)
"""Numbers of denoising steps that what is served is held against."""
FILE = "retrieval-stage.json"


class _Ours(NamedTuple):
    """The trained DimeRec."""

    model: DimeRec
    config: TrainingConfig
    epoch: int
    """The best on validation."""


def main(
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    work: Annotated[Path, typer.Option(help="Fits are kept here.")] = Path(".quality"),
    out: Annotated[Path, typer.Option(help="Directory of retrieval-stage.json and .md.")] = Path(
        "docs/results"
    ),
    data: Annotated[str, typer.Option(help="A data set of `make quality`.")] = "kuairand-pure-window",
    others: Annotated[str, typer.Option(help="Baselines, separated by commas.")] = "itemknn,popularity",
    horizons: Annotated[str, typer.Option(help="Numbers of events, and `rest`.")] = "5,10,rest",
    run: Annotated[
        Path | None, typer.Option(help="A run of `dimerec train` on this split, instead of a fit.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each baseline that is random.")] = 1,
    users: Annotated[int | None, typer.Option(min=1, help="At most so many of a horizon.")] = None,
    noise_seeds: Annotated[int, typer.Option(min=1)] = NOISE_SEEDS,
    both: Annotated[
        bool,
        typer.Option(
            "--both",
            help="Look ahead from the first event of validation, through test: for what was settled before,"
            " since temperatures are fitted on some of these events.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of DimeRec's training.")
    ] = None,
) -> None:
    """Fit DimeRec and the baselines where that is not done, measure all sides and write the table."""
    commit = source_revision()
    try:
        ahead = [_events(text) for text in split_names(horizons)]
        if data not in SOURCES:
            raise BenchmarkError(f"--data: {data!r} is none of {', '.join(SOURCES)}")
        log, store = prepared(data, shared, work), Store(work)
        targets = held_out_after(log.split) if both else log.split.test
        futures = [sample(horizon(targets, events), users, 0) for events in ahead]
        ours = _ours(log, store, run, overrides or [])
        serving = ours.config.serving
        baselines = _baselines(log, store, split_names(others), seeds)
        sides = fitted_sides(ours.model, serving, baselines, log.split)
    except TrainingError as error:
        typer.echo(f"retrieval-stage: {error}", err=True)
        raise typer.Exit(1) from error
    over = partial(_measured, log=log, noise_seeds=noise_seeds)
    stages = [over(sides, one) for one in futures]
    by_steps = over(sides_by_steps(ours.model, serving, log.split, STEPS), futures[0])
    results = Results(
        data=log.name,
        split=log.split.name,
        both=both,
        command=_command(data, others, horizons, run, seeds, users, noise_seeds, overrides or [], both=both),
        commit=commit,
        hardware=hardware(),
        epoch=ours.epoch,
        epochs=ours.config.epochs,
        dim=ours.model.config.dim,
        blocks=ours.model.config.blocks,
        steps=serving.steps,
        stages=stages,
        by_steps=by_steps,
    )
    put(f"{data}-both" if both else data, results.model_dump(mode="json"), out / FILE)
    with replacing(out / "retrieval-stage.md") as temporary:
        temporary.write_text(markdown(read_results(out / FILE)), encoding="utf-8")
    typer.echo(markdown({data: results}))


def _ours(log: Data, store: Store, run: Path | None, overrides: Sequence[str]) -> _Ours:
    """DimeRec of a run, or of the benchmark's fit."""
    if run is None:
        (job,) = plan(log, find([OURS]), seeds=1, overrides=overrides)
        fitted(job, store)
        run = store.training(job.training)
    model = read_checkpoint(run / BEST_FILE, choose_device("cpu"))
    described = read_run_config(run)
    config = described.training
    trained = Trained(model, config.serving, config.split, described.data_fingerprint, None)
    check_fit(trained, log.dataset, cast(SplitName, log.split.name))
    return _Ours(model, config, best_record(read_records(run), config.monitor).epoch)


def _baselines(log: Data, store: Store, names: Sequence[str], seeds: int) -> dict[str, list[Scorer]]:
    """The fits of each."""
    found: dict[str, list[Scorer]] = {name: [] for name in names}
    for job in plan(log, find(names), seeds=seeds):
        found[job.model].append(fitted(job, store).variants[0].scorer)
    return found


def _measured(sides: Mapping[str, FittedSide], ahead: Horizon, *, log: Data, noise_seeds: int) -> StageReport:
    typer.echo(f"{len(sides)} sides, {future(ahead.events)}, {len(ahead):,} users", err=True)
    return stage_report(
        sides,
        ahead,
        log.dataset.catalogue,
        log.split.train,
        seeds=range(noise_seeds),
        generator=np.random.default_rng(0),
    )


def _events(text: str) -> int | None:
    if text != "rest" and not (text.isascii() and text.isdigit() and 0 < int(text) < _MAX_EVENTS):
        raise BenchmarkError(f"--horizons: {text!r} is no number of events, nor rest")
    return None if text == "rest" else int(text)


def fitted(job: Job, store: Store) -> Fitted:
    """A fit from the store; one that is not there, or not whole, is made."""
    watcher = ProgressLines(partial(typer.echo, err=True))
    with store.locked(job.training):
        budget = Budget(job.seed, None, store.training(job.training), watcher.fitting(job))
        return job.recipe.fit(job.data.dataset, job.data.split, budget)


def _command(
    data: str,
    others: str,
    horizons: str,
    run: Path | None,
    seeds: int,
    users: int | None,
    noise_seeds: int,
    overrides: Sequence[str],
    *,
    both: bool,
) -> str:
    parts = ["python -m benchmarks.quality.retrieval_stage --shared ../shared/data", f"--data {data}"]
    parts += [f"--others {others}", f"--horizons {horizons}"]
    parts += [] if run is None else [f"--run {run}"]
    parts += [] if seeds == 1 else [f"--seeds {seeds}"]
    parts += [] if users is None else [f"--users {users}"]
    parts += [] if noise_seeds == NOISE_SEEDS else [f"--noise-seeds {noise_seeds}"]
    parts += ["--both"] if both else []
    return " ".join([*parts, *(f"--set {change}" for change in overrides)])


if __name__ == "__main__":
    typer.run(main)
