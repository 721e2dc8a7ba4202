"""DimeRec's draws as a retrieval stage, beside its guidance, controls, baselines: `make retrieval-stage`.

Trained on a data set's training part, fitted on validation, reported on test: `dimerec evaluate --controls`
with fits of the benchmark, which are kept in the working directory and shared with `make quality`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from benchmarks.quality.quality import SOURCES, prepared, split_names
from files.atomic import replacing
from model.checkpoint import read_checkpoint
from training.benchmark.execute import Job
from training.benchmark.machine import hardware, source_revision
from training.benchmark.progress import ProgressLines
from training.benchmark.recipe import Budget, Fitted
from training.benchmark.registry import find, plan
from training.benchmark.rows import Hardware
from training.benchmark.store import Store
from training.data.splits import SplitName
from training.errors import BenchmarkError, TrainingError
from training.evaluation.horizon import future, horizon, sample
from training.evaluation.stage.report import NOISE_SEEDS, StageReport, fitted_sides, stage_report
from training.evaluation.trained import Trained, check_fit
from training.run import BEST_FILE, read_records, read_run_config
from training.trainer import choose_device

OURS = "dimerec"
_MAX_EVENTS = 10_000
"""Chosen, as that of `dimerec evaluate --horizon`."""
ROWS = (
    *("temperature", "merge", "pull", "interests", "distances"),
    *("recall@50", "recall@200", "recall@500", "hit@20", "hit@50"),
    *("budget_recall@50", "budget_recall@200", "budget_recall@500", "read@500"),
    *("category_recall@20", "category_recall@50"),
    *("categories_at_equal_recall@20", "categories_at_equal_recall@50"),
    *("nll-next", "nll", "brier", "ece"),
    *("best_of_1", "best_of_2", "best_of_4", "best_of_8"),
    *("guidance_cosine", "pairwise_cosine"),
)
"""Rows of the table, of settings and of metrics."""


class Results(BaseModel):
    """The findings, and where they are from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    split: str
    command: str
    commit: str | None
    hardware: Hardware
    epoch: int
    """Of the model, the best on validation."""
    epochs: int
    """That the run was to have."""
    dim: int
    blocks: int
    stages: list[StageReport]


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
    users: Annotated[int | None, typer.Option(min=1, help="At most so many of a horizon.")] = None,
    noise_seeds: Annotated[int, typer.Option(min=1)] = NOISE_SEEDS,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of DimeRec's training.")
    ] = None,
) -> None:
    """Fit DimeRec and the baselines where that is not done, measure all sides and write the table."""
    try:
        ahead = [_events(text) for text in split_names(horizons)]
        if data not in SOURCES:
            raise BenchmarkError(f"--data: {data!r} is none of {', '.join(SOURCES)}")
        log, store = prepared(data, shared, work), Store(work)
        given = run
        if run is None:
            (job,) = plan(log, find([OURS]), seeds=1, overrides=overrides or [])
            _fit(job, store)
            run = store.training(job.training)
        baselines = {
            one.model: _fit(one, store).variants[0].scorer
            for one in plan(log, find(split_names(others)), seeds=1)
        }
        model = read_checkpoint(run / BEST_FILE, choose_device("cpu"))
        described, records = read_run_config(run), read_records(run)
        config = described.training
        trained = Trained(model, config.serving, config.split, described.data_fingerprint, None)
        check_fit(trained, log.dataset, cast(SplitName, log.split.name))
    except TrainingError as error:
        typer.echo(f"retrieval-stage: {error}", err=True)
        raise typer.Exit(1) from error
    sides = fitted_sides(model, config.serving, baselines, log.split)
    stages = [
        stage_report(
            sides,
            sample(horizon(log.split.test, events), users, 0),
            log.dataset.catalogue,
            log.split.train,
            seeds=range(noise_seeds),
            generator=np.random.default_rng(0),
        )
        for events in ahead
    ]
    results = Results(
        data=log.name,
        split=log.split.name,
        command=_command(data, others, horizons, given, users, noise_seeds, overrides or []),
        commit=source_revision(),
        hardware=hardware(),
        epoch=max(records, key=lambda record: record.validation[config.monitor]).epoch,
        epochs=config.epochs,
        dim=model.config.dim,
        blocks=model.config.blocks,
        stages=stages,
    )
    _write(results, out)
    typer.echo(markdown(results))


def _events(text: str) -> int | None:
    if text != "rest" and not (text.isascii() and text.isdigit() and 0 < int(text) < _MAX_EVENTS):
        raise BenchmarkError(f"--horizons: {text!r} is no number of events, nor rest")
    return None if text == "rest" else int(text)


def _fit(job: Job, store: Store) -> Fitted:
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
    users: int | None,
    noise_seeds: int,
    overrides: Sequence[str],
) -> str:
    parts = ["python -m benchmarks.quality.retrieval_stage --shared ../shared/data", f"--data {data}"]
    parts += [f"--others {others}", f"--horizons {horizons}"]
    parts += [] if run is None else [f"--run {run}"]
    parts += [] if users is None else [f"--users {users}"]
    parts += [] if noise_seeds == NOISE_SEEDS else [f"--noise-seeds {noise_seeds}"]
    return " ".join([*parts, *(f"--set {change}" for change in overrides)])


def _write(results: Results, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("retrieval-stage.json", results.model_dump_json(indent=1)),
        ("retrieval-stage.md", markdown(results)),
    ):
        with replacing(out / name) as temporary:
            temporary.write_text(text.rstrip() + "\n", encoding="utf-8")


def markdown(results: Results) -> str:
    """The tables, and DimeRec less each side of its own model with intervals."""
    lines = [
        "# DimeRec's draws as a retrieval stage",
        "",
        f"`{results.command}`; {results.data}, {results.split} split, one fit (d = {results.dim},"
        f" {results.blocks} blocks, epoch {results.epoch} of {results.epochs}),"
        f" commit {results.commit}, {results.hardware.cpu}. What each row is:"
        " [data-and-evaluation.md](../data-and-evaluation.md#draws-beside-controls). +: better than DimeRec"
        " by a 95 % bootstrap interval over users that has no 0, −: worse.",
    ]
    for stage in results.stages:
        title = future(stage.events)
        lines += [
            "",
            f"## {title[0].upper()}{title[1:]}, {stage.users:,} users, {stage.seeds} seeds of noise",
            "",
        ]
        lines += [*_table(stage), "", "DimeRec less", "", *_differences(stage)]
    return "\n".join(lines)


def _table(stage: StageReport) -> Iterator[str]:
    yield f"| | {' | '.join(stage.sides)} |"
    yield f"|---|{'---:|' * len(stage.sides)}"
    marks = {(one.second, one.metric): one.mark for one in stage.comparisons}
    for row in ROWS:
        values = [{**side.settings, **side.metrics}.get(row) for side in stage.sides.values()]
        if any(value is not None for value in values):
            shown = (
                _cell(value) + marks.get((name, row), "")
                for name, value in zip(stage.sides, values, strict=True)
            )
            yield f"| {row.replace('_', ' ')} | {' | '.join(shown)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _differences(stage: StageReport) -> Iterator[str]:
    """Of what the targets are stated in."""
    shown: Mapping[str, str] = {
        "recall@200": "recall@200",
        "budget_recall@200": "budget recall@200",
        "categories_at_equal_recall@20": "categories at equal recall@20",
        "nll": "nll",
        "brier": "brier",
        "ece": "ece",
    }
    yield f"| | {' | '.join(shown.values())} |"
    yield f"|---|{'---|' * len(shown)}"
    for name in [name for name in stage.sides if name != "DimeRec"]:
        found = {one.metric: one for one in stage.comparisons if one.second == name}
        cells = (found.get(metric) for metric in shown)
        yield (
            f"| {name} | "
            + " | ".join(
                "–" if one is None else f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" for one in cells
            )
            + " |"
        )


if __name__ == "__main__":
    typer.run(main)
