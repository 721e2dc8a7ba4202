"""Every recommender on every public data set: `make quality`, and `DATA`, `MODELS`, `SEEDS` for a part of it.

What was measured is kept in a working directory, so that nothing is done twice. The results of all calls come
together in one JSON file, where those of a recommender on a data set replace its older ones. Differences with
their intervals need the rank of every target: they are told of what lies in the working directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.benchmark import measure, served, show_results
from training.benchmark.comparisons import compare_with
from training.benchmark.data import Data, prepare_data
from training.benchmark.markdown import write_markdown
from training.benchmark.roster import ROSTER, plan
from training.benchmark.rows import Row
from training.benchmark.store import Store, read_rows, write_rows
from training.benchmark.summary import lines
from training.errors import BenchmarkError, TrainingError
from training.movielens import fetch_movielens_100k

OURS = "dimerec"
BASELINES = [name for name in ROSTER if not name.startswith(f"{OURS}-")]
"""What is measured by default: all but the ablations."""


@dataclass(frozen=True)
class Source:
    """A data set: files of the directory of public data, and what is held out."""

    name: str
    events: str
    items: str | None = None
    split: str = "leave-one-out"


SOURCES = {
    "movielens-100k": None,
    "amazon-beauty": Source("amazon-beauty", "amazon-beauty.parquet"),
    "kuairand-pure": Source("kuairand-pure", "kuairand-pure.parquet", "kuairand-pure-items.parquet"),
    "kuairand-pure-window": Source(
        "kuairand-pure", "kuairand-pure.parquet", "kuairand-pure-items.parquet", "window"
    ),
    "movielens-1m": Source("movielens-1m", "movielens-1m.parquet"),
}
"""The data sets by the name that `DATA` takes; None: fetched as the demo does it."""


def main(
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    work: Annotated[Path, typer.Option(help="What was measured is kept here.")] = Path(".quality"),
    out: Annotated[Path, typer.Option(help="Directory of quality.json and quality.md.")] = Path(
        "docs/results"
    ),
    data: Annotated[str, typer.Option(help="Names separated by commas.")] = ",".join(SOURCES),
    models: Annotated[str, typer.Option(help="Names separated by commas.")] = ",".join(BASELINES),
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Train and measure the named recommenders on the named data sets, and collect the results."""
    try:
        _measure(shared, work, out, _names(data), _names(models), seeds)
    except TrainingError as error:
        typer.echo(f"quality: {error}", err=True)
        raise typer.Exit(1) from error


def _measure(
    shared: Path, work: Path, out: Path, data: Sequence[str], models: Sequence[str], seeds: int
) -> None:
    for name in data:
        if name not in SOURCES:
            raise BenchmarkError(f"DATA: {name!r} is none of {', '.join(SOURCES)}")
    jobs = [job for name in data for job in plan(_load(name, shared, work), models, seeds=seeds)]
    store = Store(work)
    outcome = measure(jobs, store, None)
    rows = collect(outcome.rows, out / "quality.json", store)
    here = lines(row for row in served(rows) if store.has_ranks(row.run))
    write_markdown(out / "quality.md", rows, compare_with(OURS, here, store))
    show_results(outcome.rows, Console())
    outcome.check()


def collect(rows: Sequence[Row], path: Path, store: Store) -> list[Row]:
    """Put rows into a file of results, instead of those of the same recommenders on the same data."""
    with store.locked("quality"):
        replaced = {(row.data, row.split, row.model) for row in rows}
        kept = read_rows(path) if path.exists() else []
        kept = [row for row in kept if (row.data, row.split, row.model) not in replaced]
        merged = sorted([*kept, *rows], key=lambda row: row.place)
        write_rows(path, merged)
    return merged


def _load(name: str, shared: Path, work: Path) -> Data:
    source = SOURCES[name]
    if source is None:
        return prepare_data(name, *fetch_movielens_100k(work / "source"), "leave-one-out", work / "data")
    events = _found(shared / source.events, name)
    items = None if source.items is None else _found(shared / source.items, name)
    return prepare_data(source.name, events, items, source.split, work / "data")


def _found(path: Path, name: str) -> Path:
    if path.exists():
        return path
    raise BenchmarkError(
        f"{path} is not there: lay it (columns user_id, item_id, timestamp) there, name its directory with"
        f" SHARED=…, or leave {name} out, as in DATA=movielens-100k"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    typer.run(main)
