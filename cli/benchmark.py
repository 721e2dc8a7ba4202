"""`dimerec benchmark`: many recommenders, trained and measured alike."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.bars import Bars
from cli.interrupts import interruptible
from cli.log_options import ItemsFiles, OptionalEventsFiles
from cli.output import Json, print_comparisons, print_json, print_table
from training.benchmark.comparisons import compare_with
from training.benchmark.data import prepare_data, split_data
from training.benchmark.execute import Job, Outcome, run
from training.benchmark.machine import source_revision
from training.benchmark.markdown import write_markdown
from training.benchmark.progress import ProgressLines
from training.benchmark.registry import REGISTRY, find, plan
from training.benchmark.rows import Row
from training.benchmark.store import RESULTS_FILE, TABLES_FILE, Store
from training.benchmark.summary import Line, by_quality, lines, served
from training.data.splits import SplitName
from training.errors import ConfigError

SHOWN = {
    "hr@10": "HR\n@10",
    "ndcg@10": "NDCG\n@10",
    "hr@20": "HR\n@20",
    "ndcg@20": "NDCG\n@20",
    "categories@20": "cate-\ngories",
    "ild@20": "distance\nin list",
    "train_s": "train\ns",
    "ms_per_user": "ms per\nuser",
}
"""Metrics of the printed table, with their headings; results.json has more."""
DIGITS = {"categories@20": 1, "ild@20": 3, "train_s": 0, "ms_per_user": 2}


def command(
    events: OptionalEventsFiles = None,
    items: ItemsFiles = None,
    data: Annotated[
        Path | None, typer.Option(help="Instead of --events: a directory that `dimerec prepare` wrote.")
    ] = None,
    models: Annotated[str, typer.Option(help="Names of the registry, separated by commas.")] = (
        "popularity,itemknn,dimerec"
    ),
    configs: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="NAME=FILE",
            help="Besides them, under that name, the DimeRec that `dimerec train --config FILE` trains;"
            " repeatable.",
        ),
    ] = None,
    show_registry: Annotated[bool, typer.Option("--list", help="Show the registry and exit.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Fit each that is random with seeds 0 … N-1.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(help="Stop each training after the first epoch that ends later.")
    ] = None,
    split: Annotated[
        SplitName,
        typer.Option(help="What is held out; window reads the log's column of that name."),
    ] = "leave-one-out",
    against: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Compare this one of --models with the others: paired bootstrap."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the results call the data set. [default: as its file]")
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Where items have categories: accuracy against diversity, and probes of item vectors.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of every trained model; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of results; what is in it is not done again.")] = Path(
        "runs/benchmark"
    ),
    revision: Annotated[
        str | None,
        typer.Option(
            envvar="DIMEREC_SOURCE_REVISION",
            help="Source revision to note in the results. [default: the checkout's]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train and measure many recommenders by one protocol: full ranking, the same split, several seeds.

    Each fit is kept under --out by its settings, data and seed, so that a second call repeats nothing, a
    killed one resumes, and several may work on one directory at the same time. All rows are in results.json,
    and in results.md for people.

    - `dimerec benchmark --list`

    - `dimerec benchmark --events watches.parquet --items videos.csv --models popularity,itemknn,dimerec`

    - `dimerec benchmark --data data --models dimerec,sasrec --seeds 3 --against dimerec --out results`

    - `dimerec benchmark --data data --models dimerec --set model.dim=64 --out results`

    - `dimerec benchmark --data data --models dimerec --config wide=wide.toml --against wide --out results`
    """
    if show_registry or models == "list":
        _show_registry(as_json=as_json)
        return
    if minutes is not None and minutes <= 0:
        raise ConfigError(f"--minutes is {minutes:g}; give more than 0, or leave it out for no limit")
    entries = find([word.strip() for word in models.split(",") if word.strip()], configs or [])
    if not entries:
        raise ConfigError("--models names none; `dimerec benchmark --list` shows them")
    if against is not None and against not in entries:
        raise ConfigError(f"--against: {against!r} is not among --models ({', '.join(entries)})")
    if data is not None and not events:
        held = split_data(name or data.name, data, split)
    elif events and data is None:
        held = prepare_data(
            name or events[0].name.partition(".")[0] or "log", events, items, split, out / "data"
        )
    else:
        raise ConfigError("name the data either with --events FILE or, prepared, with --data DIRECTORY")
    jobs = plan(held, entries, seeds=seeds, minutes=minutes, overrides=overrides or [])
    store = Store(out)
    with interruptible(lambda: f"what was done is kept in {out}; give the same command again to go on"):
        outcome = _measure(jobs, store, revision, curves=curves)
        comparisons = (
            [] if against is None else list(compare_with(against, lines(served(outcome.rows)), store))
        )
        write_markdown(out / TABLES_FILE, store.collect(), comparisons, store.points(), store.probes())
    if as_json:
        print_json({"rows": served(outcome.rows), "comparisons": comparisons, "all_rows": out / RESULTS_FILE})
    else:
        _show_results(outcome.rows)
        print_comparisons(comparisons)
        typer.echo(f"All rows: {out / RESULTS_FILE}, as tables: {out / TABLES_FILE}")
    outcome.check()


def _measure(jobs: Sequence[Job], store: Store, revision: str | None, *, curves: bool) -> Outcome:
    with BenchmarkProgress(Console(stderr=True)) as watcher:
        return run(jobs, store, watcher, revision or source_revision(), curves=curves)


def _show_results(rows: Sequence[Row]) -> None:
    """Print a table for each data set: every recommender as it is served, the best first."""
    shown = served(rows)
    for data, split in sorted({(row.data, row.split) for row in shown}):
        of_data = [row for row in shown if (row.data, row.split) == (data, split)]
        seeds = len({row.seed for row in of_data})
        print_table(
            ["", *SHOWN.values()],
            [
                [line.first.model, *(_cell(line, metric) for metric in SHOWN)]
                for line in by_quality(lines(of_data))
            ],
            title=f"{data}, {split} split, {of_data[0].targets:,} targets, seen items removed,"
            f" {seeds} seed{'s (means)' if seeds > 1 else ''}",
            right_from=1,
            compact=True,
        )


def _cell(line: Line, metric: str) -> str:
    mean = line.mean(metric)
    return "–" if mean is None else f"{mean:.{DIGITS.get(metric, 4)}f}"


def _show_registry(*, as_json: bool) -> None:
    if as_json:
        print_json({name: entry.summary for name, entry in REGISTRY.items()})
    else:
        print_table(["--models", "what it is"], [[name, entry.summary] for name, entry in REGISTRY.items()])


class BenchmarkProgress(Bars, ProgressLines):
    """A bar for the job under way and a line for every one that is over."""

    def __init__(self, console: Console) -> None:
        progress = Progress(
            *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        Bars.__init__(self, console, progress)
        ProgressLines.__init__(self, partial(console.print, highlight=False, markup=False, soft_wrap=True))
        self.task = self.progress.add_task("")
        self.label = ""

    def fitting(self, job: Job) -> Self:
        """Show that a job learns."""
        self.label = job.label
        self.progress.reset(self.task, description=f"{self.label}: learns", total=None)
        return self

    def epoch_started(self, epoch: int, examples: int) -> None:
        """Start the epoch's bar."""
        self.progress.reset(self.task, description=f"{self.label}: epoch {epoch}", total=examples)

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:  # noqa: ARG002
        """Move the bar."""
        self.progress.advance(self.task, examples)

    def measuring(self, job: Job, targets: int) -> None:
        """Start the measurement's bar."""
        self.progress.reset(self.task, description=f"{job.label}: is measured", total=targets)

    def measured(self, targets: int) -> None:
        """Move the bar."""
        self.progress.advance(self.task, targets)
