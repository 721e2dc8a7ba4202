"""Faults under load, with a verdict on each: `make chaos`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.documents.chaos_table import ChaosRow, read_rows, write_rows
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.measure import measured
from tests.chaos.stage import HALF, Stage, staged

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "chaos.json"
HEADING = "fault      workers  asked     ok degrad. refused 5xx unansw. p99 ms  after recov.  lost  verdict"


program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@program.command()
def main(
    only: Annotated[str, typer.Option(help="Names of faults, separated by commas; empty: all.")] = "",
    workers: Annotated[int | None, typer.Option(help="Only with so many workers.")] = None,
    out: Annotated[Path, typer.Option(help="Where to keep the rows; others that are there stay.")] = RESULTS,
    show: Annotated[bool, typer.Option("--list", help="Only list the faults.")] = False,
) -> None:
    """Drive the service at half of what it can do, bring one fault after another, and judge."""
    faults = chosen(only)
    if show:
        for fault in faults:
            typer.echo(f"{fault.name:16} workers: {', '.join(map(str, fault.workers))}")
        return
    typer.echo(HEADING)
    for count in sorted({one for fault in faults for one in fault.workers if workers in (None, one)}):
        those = [fault for fault in faults if count in fault.workers]
        with (
            TemporaryDirectory(prefix="dimerec-chaos-") as directory,
            staged(Path(directory), count) as stage,
        ):
            for row in run(stage, those):
                keep(out, row)
                typer.echo(shown(row))


def chosen(only: str) -> list[Fault]:
    """Faults by their names; all where none is named."""
    names = [name for name in only.split(",") if name]
    unknown = sorted(set(names) - {fault.name for fault in FAULTS})
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such fault; --list shows them")
    return [fault for fault in FAULTS if not names or fault.name in names]


def run(stage: Stage, faults: Sequence[Fault], part: float = HALF) -> Iterator[ChaosRow]:
    """Warm the service up, and measure the faults in turn."""
    stage.saturate()
    for fault in faults:
        yield measured(stage, fault, part)


def keep(out: Path, row: ChaosRow) -> None:
    """Put the row in the place of the one of the same fault and workers."""
    order = [(fault.name, count) for count in (1, 2) for fault in FAULTS]
    rows = {(one.fault, one.workers): one for one in read_rows(out)} | {(row.fault, row.workers): row}
    write_rows(out, [rows[key] for key in order if key in rows])


def shown(row: ChaosRow) -> str:
    """One line for the terminal."""
    answers = f"{row.requests:6} {row.ok:6} {row.degraded:6} {row.refused:6} {row.errors_5xx:4}"
    times = " ".join(_known(value) for value in (row.p99_ms, row.p99_after_ms, row.recovery_s))
    words = "; ".join(filter(None, (row.verdict, row.remark)))
    return f"{row.fault:16} {row.workers} {answers} {row.unanswered:5} {times} {row.events_lost:5}  {words}"


def _known(value: float | None) -> str:
    return f"{'–' if value is None else value:>7}"


if __name__ == "__main__":
    program()
