"""Rows of several seeds as one line: what the seeds have in common, and their mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from training.benchmark.diversity_curve import Point
from training.benchmark.rows import Row


@dataclass(frozen=True)
class Line:
    """The rows of one variant of asking one recommender, one for each seed; at least one."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """The row of the first seed: for what the seeds have in common."""
        return self.rows[0]

    @property
    def label(self) -> str:
        """The recommender's name, and how it was asked where that is not how it is served."""
        row = self.first
        if row.variant == 0:
            return row.model
        if row.without_counts:
            return f"{row.model} (without counts)"
        drawn = "" if row.draws is None else f" {row.draws} × {row.steps} steps"
        return f"{row.model} ({row.interest_mode} {row.merge}{drawn})"

    def values(self, metric: str) -> list[float] | None:
        """The metric for each seed; None where it is undefined."""
        values = [row.metric(metric) for row in self.rows]
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None

    def mean(self, metric: str) -> float | None:
        """Over the seeds."""
        values = self.values(metric)
        return None if values is None else sum(values) / len(values)

    def points(self, points: Iterable[Point]) -> list[Point]:
        """Those among the points that are of this line: a curve for each seed."""
        mine = {(row.run, row.variant) for row in self.rows}
        return [point for point in points if (point.run, point.variant) in mine]


def served(rows: Iterable[Row]) -> list[Row]:
    """Of the test part, each recommender as it is served, seen items removed."""
    return [row for row in rows if row.part == "test" and row.exclude_seen and row.variant == 0]


def lines(rows: Iterable[Row]) -> list[Line]:
    """One line for each variant of asking each recommender on each data set, in the order of these names."""
    ordered = sorted(rows, key=lambda row: (*_line(row), row.seed))
    return [Line(tuple(of_line)) for _, of_line in groupby(ordered, key=_line)]


def by_quality(found: Sequence[Line], metric: str = "ndcg@20") -> list[Line]:
    """The best first."""
    return sorted(found, key=lambda line: -(line.mean(metric) or 0))


def _line(row: Row) -> tuple[str, str, str, str, float, str, bool, int]:
    budget = float("inf") if row.minutes is None else row.minutes
    return (row.data, row.split, row.model, row.settings, budget, row.part, not row.exclude_seen, row.variant)
