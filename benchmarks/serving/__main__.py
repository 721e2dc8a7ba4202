"""Measures the service and writes what it found: `python -m benchmarks.serving`, `make bench`."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, cast

import typer

from benchmarks.serving import preparing
from benchmarks.serving.checkouts import HERE, Code, checked_out
from benchmarks.serving.closed_loop import MISSING, have_wrk
from benchmarks.serving.parts import (
    changes,
    computing,
    costs,
    lone,
    memory,
    overload,
    rate,
    saturation,
    searching,
    workers,
)
from benchmarks.serving.peer_sides import FASTAPI, PEERS
from benchmarks.serving.processes import BenchmarkError
from benchmarks.serving.report import table, write_report
from benchmarks.serving.results import Findings, merged, read_results, write_results
from benchmarks.serving.stage import DEFAULT_CACHE, Stage
from index.tuning import IndexChoice

PARTS: dict[str, Callable[[Stage], Findings]] = {
    "saturation": lambda stage: saturation.measure(stage, 10),
    "saturation-100": lambda stage: saturation.measure(stage, 100),
    "saturation-500": lambda stage: saturation.measure(stage, 500),
    "lone": lone.measure,
    "rate": rate.measure,
    "rate-peers": rate.measure_peers,
    "overload": overload.measure,
    "costs": costs.measure,
    "compute": computing.measure,
    "catalogues": computing.measure_sizes,
    "changes": changes.measure,
    "changes-replicas": changes.measure_replicas,
    "million": computing.measure_million,
    "search": searching.measure,
    "memory": memory.measure,
    "workers": workers.measure,
}
"""By name, in the order of the report."""
SIDES = ("before", "floor", "bare", FASTAPI, *PEERS)
DEFAULT_OUT = Path("docs/results/serving.json")
EARLIER = "c17d33a"
"""The commit before the work on the fast path."""


def main(
    parts: Annotated[str, typer.Option(help=f"Of {', '.join(PARTS)}; separated by commas.")] = "all",
    side: Annotated[
        str, typer.Option("--sides", help=f"Beside ours, of {', '.join(SIDES)}; separated by commas.")
    ] = ",".join(SIDES),
    before: Annotated[
        str, typer.Option(help="Earlier commits, separated by commas; the first is the one to compare with.")
    ] = EARLIER,
    at: Annotated[str | None, typer.Option(help="Measure this commit instead of the working tree.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the sides take turns in each.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of a round of one side.")] = 2.0,
    connections: Annotated[int, typer.Option(min=1)] = 64,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    demo: Annotated[Path, typer.Option(help="Where `dimerec demo` left its run and its data.")] = Path(
        ".demo"
    ),
    cache: Annotated[Path, typer.Option(help="Keeps environments, commits and bundles.")] = DEFAULT_CACHE,
    out: Annotated[
        Path, typer.Option(help="Results in JSON; Markdown goes beside it, pictures to ../images.")
    ] = DEFAULT_OUT,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make what the parts need and the cache lacks.")
    ] = False,
    items: Annotated[int, typer.Option(min=10_000, help="Of the parts search and memory.")] = 1_000_000,
    kinds: Annotated[
        str, typer.Option(help="Indexes of the parts million and memory, of auto and hnsw.")
    ] = "auto,hnsw",
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute: ours and plain FastAPI, two rounds.")
    ] = False,
) -> None:
    """Measure some parts, each in one run with its sides in turns, and merge them into the results."""
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    names = frozenset({"fastapi"} if quick else side.split(","))
    try:
        stage = Stage(
            ours=HERE if at is None else checked_out(at, cache, "ours"),
            before=_earlier(before, cache) if "before" in names else (),
            run=demo.resolve() / "run",
            data=demo.resolve() / "data",
            cache=cache,
            work=Path(mkdtemp(prefix="dimerec-bench-")),
            sides=names,
            rounds=2 if quick else rounds,
            seconds=seconds,
            connections=connections,
            device=device,
            items=items,
            kinds=tuple(cast("list[IndexChoice]", kinds.split(","))),
        )
        wanted = ["saturation"] if quick else PARTS if parts == "all" else parts.split(",")
        if prepare:
            preparing.prepare(stage)
            return
        if not have_wrk():
            print(f"serving: {MISSING}", file=sys.stderr)
        findings = [PARTS[part](stage) for part in wanted]
    except BenchmarkError as error:
        print(f"serving: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    results = merged(read_results(out), findings, at)
    print(table([row for row in results.rows if row.part in {one.part for one in findings} and row.ours]))
    if not quick:
        write_results(out, results)
        write_report(out, results, out.parents[1] / "performance.md" if out == DEFAULT_OUT else None)


def _earlier(commits: str, cache: Path) -> tuple[Code, ...]:
    first, *others = commits.split(",")
    return (
        checked_out(first, cache, "before"),
        *(checked_out(commit, cache, f"at {commit}") for commit in others),
    )


if __name__ == "__main__":
    typer.run(main)
