"""Rows of the results, the runs that they come from, and the file that keeps both.

A run is one invocation's measurement of one part, with everything needed to do it again. A run of a part
replaces the part's run before.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from benchmarks.serving.targets import TARGETS, Target
from files.atomic import replacing
from training.benchmark.machine import hardware, source_revision
from training.benchmark.rows import Hardware

_DIGITS = 6
"""After the point, of what is kept: more than repeats."""


_PLACES = {"--demo", "--cache", "--out"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Record):
    """The middle of the rounds, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """That of some rounds."""
        middle, low, high = (float(f"{x:.{_DIGITS}g}") for x in (median(values), min(values), max(values)))
        return cls(median=middle, low=low, high=high)


class Row(_Record):
    """One figure beside another; the ratio is of pairs of neighbouring rounds."""

    part: str
    name: str
    unit: str
    ours: Spread | None
    """None: not measured."""
    other_name: str | None = None
    other: Spread | None = None
    ratio: Spread | None = None
    """Ours ÷ other; the target is for it, or for `ours` where there is no other."""
    target: Target | None = None
    met: bool | None = None


class Run(_Record):
    """The measurement of one part."""

    command: str
    commit: str | None
    measured: str
    """Moment, UTC."""
    hardware: Hardware
    notes: dict[str, Any]
    """Configurations, and what else belongs to the figures."""
    rounds: dict[str, list[float]]
    """Every single figure, by side and quantity, in the order of the rounds."""


class Results(_Record):
    """All parts that were measured."""

    rows: list[Row]
    runs: dict[str, Run]


@dataclass
class Findings:
    """Of one part, while it is measured."""

    part: str
    rows: list[Row] = field(default_factory=list)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, quantity: str, value: float) -> None:
        """One more round of a quantity."""
        self.rounds.setdefault(quantity, []).append(float(f"{value:.{_DIGITS}g}"))

    def report(self, name: str, unit: str, ours: Sequence[float]) -> None:
        """A row of a figure that is beside none."""
        self._append(Row(part=self.part, name=name, unit=unit, ours=Spread.of(ours)))

    def compare(
        self, name: str, unit: str, ours: Sequence[float], other_name: str, other: Sequence[float]
    ) -> None:
        """A row of a figure beside another, round by round."""
        ratios = [one / beside for one, beside in zip(ours, other, strict=True)]
        row = Row(
            part=self.part,
            name=name,
            unit=unit,
            ours=Spread.of(ours),
            other_name=other_name,
            other=Spread.of(other),
            ratio=Spread.of(ratios),
        )
        self._append(row)

    def _append(self, row: Row) -> None:
        target = TARGETS.get((row.part, row.name))
        judged = row.ratio or row.ours
        met = None if target is None or judged is None else target.met_by(judged.median)
        self.rows.append(row.model_copy(update={"target": target, "met": met}))


def read_results(path: Path) -> Results:
    """The results so far; none where there is no file."""
    if not path.exists():
        return Results(rows=[], runs={})
    return Results.model_validate_json(path.read_bytes())


def merged(results: Results, findings: Sequence[Findings], commit: str | None = None) -> Results:
    """The results with new runs of some parts, and a row for each target."""
    new = {one.part for one in findings}
    rows = [row for row in results.rows if row.part not in new and row.ours is not None]
    rows += [row for one in findings for row in one.rows]
    measured = {(row.part, row.name) for row in rows}
    rows += [
        Row(part=part, name=name, unit="", ours=None, target=target)
        for (part, name), target in TARGETS.items()
        if (part, name) not in measured
    ]
    runs = {**results.runs, **{one.part: _run(one, commit) for one in findings}}
    return Results(rows=sorted(rows, key=_position), runs=runs)


def write_results(path: Path, results: Results) -> None:
    """Write the file, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _run(findings: Findings, commit: str | None) -> Run:
    return Run(
        command=" ".join(["python -m benchmarks.serving", *_asked(sys.argv[1:])]),
        commit=commit or source_revision(),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        hardware=hardware(),
        notes=findings.notes,
        rounds=findings.rounds,
    )


def _position(row: Row) -> int:
    parts: Mapping[str, int] = {
        part: index for index, part in enumerate(dict.fromkeys(p for p, _ in TARGETS))
    }
    return parts.get(row.part, len(parts))


def _asked(arguments: Sequence[str]) -> list[str]:
    """The options that say what is measured, without those that say where things lie on this machine."""
    pairs = zip(arguments, ["", *arguments], strict=False)
    return [one for one, before in pairs if before not in _PLACES and one.partition("=")[0] not in _PLACES]
