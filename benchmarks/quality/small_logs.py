"""DimeRec beside ItemKNN and Popularity on logs of some thousand events: `make small-logs`.

The logs are all events of users who are drawn, with a fixed seed, from public logs. What a log so small can
tell apart is little: the intervals of the differences are as wide as the metrics. The recipe of small logs
was chosen on samples of other seeds.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from benchmarks.quality.quality import found_file, split_names
from files.atomic import replacing
from training.benchmark.comparisons import compare_with
from training.benchmark.data import Data, prepare_data
from training.benchmark.execute import run
from training.benchmark.machine import source_revision
from training.benchmark.markdown import render, write_markdown
from training.benchmark.progress import ProgressLines
from training.benchmark.registry import find, plan
from training.benchmark.store import Store, in_order, write_rows
from training.benchmark.summary import lines, served
from training.data.movielens import fetch_movielens_100k
from training.errors import TrainingError

SEED = 0
"""Of the users drawn: none that the recipe of small logs was chosen on."""
COLUMNS = ("user_id", "item_id", "timestamp")


@dataclass(frozen=True)
class Sample:
    """Number of users of a log; no file: MovieLens-100K, fetched as the demo does it."""

    users: int
    file: str | None = None


SAMPLES = {
    "movielens-100k-sample": Sample(100),
    "kuairand-pure-sample": Sample(400, "kuairand-pure.parquet"),
    "amazon-beauty-sample": Sample(800, "amazon-beauty.parquet"),
}
"""The logs by name: 11,170, 8,585 and 7,300 events."""


def main(
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    work: Annotated[Path, typer.Option(help="What was measured is kept here.")] = Path(".quality"),
    out: Annotated[Path, typer.Option(help="Directory of small-logs.json and small-logs.md.")] = Path(
        "docs/results"
    ),
    models: Annotated[
        str, typer.Option(help="Names separated by commas.")
    ] = "dimerec,dimerec-large,itemknn,popularity",
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Train and measure the named recommenders on the small logs, and write the results."""
    try:
        entries = find(split_names(models))
        logs = [prepared_sample(name, sample, shared, work) for name, sample in SAMPLES.items()]
        store = Store(work)
        jobs = [job for log in logs for job in plan(log, entries, seeds=seeds)]
        outcome = run(jobs, store, ProgressLines(partial(typer.echo, err=True)), source_revision())
    except TrainingError as error:
        typer.echo(f"small-logs: {error}", err=True)
        raise typer.Exit(1) from error
    compared = list(compare_with("dimerec", lines(served(outcome.rows)), store))
    write_rows(out / "small-logs.json", in_order(outcome.rows))
    write_markdown(out / "small-logs.md", outcome.rows, compared, [], [])
    typer.echo(render(served(outcome.rows)))
    outcome.check()


def prepared_sample(name: str, sample: Sample, shared: Path, work: Path) -> Data:
    """Draw a sample's users, prepare their events and split them."""
    if sample.file is None:
        source, _ = fetch_movielens_100k(work / "source")
        log = pl.read_csv(source, schema_overrides=dict.fromkeys(COLUMNS[:2], pl.String))
    else:
        log = pl.read_parquet(found_file(shared / sample.file, name))
    path = work / "samples" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        of_users(log, sample.users, SEED).write_parquet(temporary)
    return prepare_data(name, path, None, "leave-one-out", work / "data")


def of_users(log: pl.DataFrame, users: int, seed: int) -> pl.DataFrame:
    """All events of `users` users, drawn from the sorted ids without replacement."""
    ids = np.sort(log["user_id"].unique().to_numpy().astype(str))
    drawn = np.random.default_rng(seed).choice(ids, users, replace=False)
    return log.select(COLUMNS).filter(pl.col("user_id").is_in(drawn.tolist()))


if __name__ == "__main__":
    typer.run(main)
