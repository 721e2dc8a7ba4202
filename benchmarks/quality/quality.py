"""Every recommender on every public data set: `make quality`, and `DATA`, `MODELS`, `SEEDS` for a part of it.

What was measured is kept in a working directory, so that nothing is done twice. The results of all calls come
together in JSON files, where those of a recommender on a data set replace its older ones. Differences with
their intervals need the rank of every target, which only the working directory has: one that is written
stays as long as the results have the fits that it is of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from benchmarks.external.recipe import RecToolsSASRec
from training.benchmark.comparisons import Comparison, compare_with
from training.benchmark.data import Data, prepare_data
from training.benchmark.diversity_curve import Point
from training.benchmark.execute import Job, run
from training.benchmark.machine import source_revision
from training.benchmark.markdown import render, write_markdown
from training.benchmark.probing import ProbeRow
from training.benchmark.progress import ProgressLines
from training.benchmark.registry import REGISTRY, Entry, find, plan
from training.benchmark.rows import Row
from training.benchmark.store import (
    DIVERSITY_FILE,
    PROBING_FILE,
    Kept,
    Store,
    in_order,
    read_kept,
    write_rows,
)
from training.benchmark.summary import lines, served
from training.data.movielens import fetch_movielens_100k
from training.errors import BenchmarkError, TrainingError

OfFit = TypeVar("OfFit", Point, ProbeRow)
"""Results of a fit that are kept beside its rows."""
OURS = "dimerec"
NOISELESS = "dimerec-no-noise"
BASELINES = [name for name in REGISTRY if not name.startswith(f"{OURS}-")]
"""The recommenders that are measured by default: all but the ablations and the sweep over steps × draws."""
DIFFERENCES_FILE = "differences.json"
EXTERNAL = {"rectools-sasrec": Entry("SASRec of RecTools", lambda _: RecToolsSASRec())}
"""Recommenders of other projects, which have to be named; `make external` does it."""


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
    "movielens-1m": Source("movielens-1m", "movielens-1m-file-order.parquet"),
    "movielens-1m-last-events": Source(
        "movielens-1m", "movielens-1m-file-order.parquet", split="last-events"
    ),
}
"""The data sets by the name that `DATA` takes; None: fetched as the demo does it."""


def main(
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    work: Annotated[Path, typer.Option(help="What was measured is kept here.")] = Path(".quality"),
    out: Annotated[Path, typer.Option(help="Directory of the results' JSON files and of quality.md.")] = Path(
        "docs/results"
    ),
    data: Annotated[str, typer.Option(help="Names separated by commas.")] = ",".join(SOURCES),
    models: Annotated[str, typer.Option(help="Names separated by commas.")] = ",".join(BASELINES),
    config: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="As that of `dimerec benchmark`.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    curves: Annotated[bool, typer.Option(help="As that of `dimerec benchmark`.")] = True,
) -> None:
    """Train and measure the named recommenders on the named data sets, and collect the results."""
    try:
        entries = recommenders(split_names(models), config or [])
        jobs = _plan(shared, work, split_names(data), entries, seeds)
        _measure(jobs, Store(work), out, curves=curves)
    except TrainingError as error:
        typer.echo(f"quality: {error}", err=True)
        raise typer.Exit(1) from error


def recommenders(names: Sequence[str], configs: Sequence[str]) -> dict[str, Entry]:
    """Those of the registry, then those of other projects, then those of `configs` (NAME=FILE)."""
    return find(sorted(names, key=EXTERNAL.__contains__), configs, REGISTRY | EXTERNAL)


def _plan(
    shared: Path, work: Path, data: Sequence[str], entries: Mapping[str, Entry], seeds: int
) -> list[Job]:
    for name in data:
        if name not in SOURCES:
            raise BenchmarkError(f"DATA: {name!r} is none of {', '.join(SOURCES)}")
    return [job for name in data for job in plan(prepared(name, shared, work), entries, seeds=seeds)]


def _measure(jobs: Sequence[Job], store: Store, out: Path, *, curves: bool) -> None:
    outcome = run(jobs, store, ProgressLines(partial(typer.echo, err=True)), source_revision(), curves=curves)
    rows = collect(outcome.rows, out / "quality.json", store)
    points = collect_beside(rows, store.points(), Point, out / DIVERSITY_FILE, store)
    probes = collect_beside(rows, store.probes(), ProbeRow, out / PROBING_FILE, store)
    differences = collect_differences(rows, _differences(rows, store), out / DIFFERENCES_FILE, store)
    write_markdown(out / "quality.md", rows, differences, points, probes)
    typer.echo(render(served(outcome.rows)))
    outcome.check()


def _differences(rows: Sequence[Row], store: Store) -> list[Comparison]:
    """Of each DimeRec but ablations: to all others as served, and to what it is when asked otherwise.

    Of its draws with the guidance, to what is without them: its other modes, and the network without noise.
    """
    here = [row for row in rows if row.part == "test" and row.exclude_seen and store.has_ranks(row.run)]
    others = {*REGISTRY, *EXTERNAL} - {OURS}
    ours = list(dict.fromkeys(row.model for row in here if row.model not in others))
    found: list[Comparison] = []
    for index, name in enumerate(ours):
        earlier = ours[:index]
        beside = [row for row in here if row.model == name or (row.variant == 0 and row.model not in earlier)]
        found += compare_with(name, lines(beside), store)
    own = lines(row for row in here if row.model == OURS or (row.model == NOISELESS and row.variant == 0))
    for label in sorted({line.label for line in own if _is_drawn(line.first)}):
        found += compare_with(label, own, store)
    return found


def _is_drawn(row: Row) -> bool:
    """True of draws and guidance asked whatever they add, and with counts."""
    return row.interest_mode == "both" and row.variant > 0 and not row.without_counts


def collect(rows: Sequence[Row], path: Path, store: Store) -> list[Row]:
    """Put rows into a file of results, instead of those of the same recommenders on the same data."""
    replaced = {(row.data, row.split, row.model) for row in rows}

    def merge(older: list[Row]) -> list[Row]:
        kept = [row for row in older if (row.data, row.split, row.model) not in replaced]
        return [*kept, *rows]

    return _rewritten(path, Row, store, merge)


def collect_beside(
    rows: Sequence[Row], found: Sequence[OfFit], kind: type[OfFit], path: Path, store: Store
) -> list[OfFit]:
    """Put what was found of fits into a file, instead of what it had of them; fits without rows leave it."""
    replaced, wanted = {one.run for one in found}, {row.run for row in rows}

    def merge(older: list[OfFit]) -> list[OfFit]:
        kept = [one for one in older if one.run in wanted - replaced]
        return kept + [one for one in found if one.run in wanted]

    return _rewritten(path, kind, store, merge)


def collect_differences(
    rows: Sequence[Row], found: Sequence[Comparison], path: Path, store: Store
) -> list[Comparison]:
    """Put differences into a file, instead of older ones of as many seeds or fewer.

    An older one whose fits have no rows any more is dropped.
    """
    fits = {row.run for row in rows}

    def merge(older: list[Comparison]) -> list[Comparison]:
        latest = {one.sort_key: one for one in older if fits.issuperset(one.runs)}
        for one in found:
            before = latest.get(one.sort_key)
            if before is None or len(before.runs) <= len(one.runs):
                latest[one.sort_key] = one
        return list(latest.values())

    return _rewritten(path, Comparison, store, merge)


def _rewritten(
    path: Path, kind: type[Kept], store: Store, merge: Callable[[list[Kept]], list[Kept]]
) -> list[Kept]:
    """A file with what `merge` makes of what it holds; one process at a time."""
    with store.locked("quality"):
        merged = in_order(merge(read_kept(path, kind) if path.exists() else []))
        write_rows(path, merged)
    return merged


def prepared(name: str, shared: Path, work: Path) -> Data:
    """Prepare and split a data set of `SOURCES`."""
    source = SOURCES[name]
    if source is None:
        return prepare_data(name, *fetch_movielens_100k(work / "source"), "leave-one-out", work / "data")
    events = found_file(shared / source.events, name)
    items = None if source.items is None else found_file(shared / source.items, name)
    return prepare_data(source.name, events, items, source.split, work / "data")


def found_file(path: Path, name: str) -> Path:
    """The file that a data set needs. Raises BenchmarkError, with the remedy, where it is not there."""
    if path.exists():
        return path
    raise BenchmarkError(
        f"{path} is not there: lay it (columns user_id, item_id, timestamp) there, name its directory with"
        f" SHARED=…, or leave {name} out, as in DATA=movielens-100k"
    )


def split_names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    typer.run(main)
