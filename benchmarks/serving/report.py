"""The results as Markdown, with pictures; the table of targets also in docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.documents.blocks import with_block
from benchmarks.serving.plots import draw
from benchmarks.serving.results import Results, Row, Run, Spread
from files.atomic import replacing

BLOCK = "serving: make bench"
"""Name of the block of docs/performance.md with the table of targets."""
_HEADING = ("what", "ours", "beside", "ratio", "target", "met")


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [_HEADING, ["---"] * len(_HEADING), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def targets(results: Results) -> str:
    """The rows that have a target, each with its part, and the machine."""
    rows = [row.model_copy(update={"name": f"{row.part}: {row.name}"}) for row in results.rows if row.target]
    machines = {f"{run.hardware.cpu}, {run.hardware.cores} cores" for run in results.runs.values()}
    commits = {str(run.commit) for run in results.runs.values()}
    said = f"Measured on {'; '.join(sorted(machines))}, at {', '.join(sorted(commits))}."
    return f"{said}\n\n{table(rows)}"


def write_report(path: Path, results: Results, document: Path | None = None) -> None:
    """Write the results' Markdown beside their JSON, pictures, and the targets into a document."""
    directory = path.parent.parent / "images"
    pictures = draw(results, directory)
    _write(path.with_suffix(".md"), _report(results, pictures))
    if document is not None and document.exists():
        _write(document, with_block(document.read_text(encoding="utf-8"), BLOCK, targets(results)))


def _report(results: Results, pictures: Sequence[Path]) -> str:
    parts = ["# Serving", "", "Medians of the rounds (least–most); ratios are of figures of one round."]
    for picture in pictures:
        parts += ["", f"![{picture.stem}](../images/{picture.name})"]
    for part in dict.fromkeys(row.part for row in results.rows):
        rows = [row for row in results.rows if row.part == part]
        parts += ["", f"## {part.capitalize()}", "", *_said(results.runs.get(part)), table(rows)]
    return "\n".join(parts) + "\n"


def _said(run: Run | None) -> list[str]:
    """Origin of a part's figures, and how the sides are set up."""
    if run is None:
        return []
    configurations = run.notes.get("configurations", {})
    notes = {name: value for name, value in run.notes.items() if name != "configurations"}
    machine = f"{run.hardware.cpu}, {run.hardware.cores} cores"
    if run.hardware.gpu:
        machine += f", {run.hardware.gpu}"
    return [
        f"`{run.command}` at {run.commit}, {run.measured}, {machine}.",
        "",
        *(f"- {name}: {value}" for name, value in notes.items()),
        *(f"- {name}: {value}" for name, value in configurations.items()),
        *([""] if run.notes else []),
    ]


def _cells(row: Row) -> Sequence[str]:
    if row.ours is None:
        return (row.name, "not measured", "", "", str(row.target or ""), "")
    beside = "" if row.other is None else f"{row.other_name}: {_spread(row.other)}"
    met = "" if row.met is None else "yes" if row.met else "**no**"
    ratio = "" if row.ratio is None else _spread(row.ratio)
    return (row.name, f"{_spread(row.ours)} {row.unit}", beside, ratio, str(row.target or ""), met)


def _spread(spread: Spread) -> str:
    low, middle, high = (_number(value) for value in (spread.low, spread.median, spread.high))
    return middle if low == high else f"{middle} ({low}–{high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
