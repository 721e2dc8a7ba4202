"""The results as Markdown and as plots."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving.results import Results, Row, Spread
from files.atomic import replacing

_HEADING = ("what", "ours", "beside", "ratio", "target", "met")


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [_HEADING, ["---"] * len(_HEADING), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_report(path: Path, results: Results) -> None:
    """Write the results' Markdown beside their JSON."""
    parts = ["# Serving", "", "Median of the rounds (least–most); ratios are of neighbouring rounds."]
    for part in dict.fromkeys(row.part for row in results.rows):
        parts += ["", f"## {part.capitalize()}", ""]
        run = results.runs.get(part)
        if run is not None:
            parts += [f"`{run.command}` at {run.commit}, {run.measured}, {run.hardware.cpu}.", ""]
        parts.append(table([row for row in results.rows if row.part == part]))
    with replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")


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
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
