"""Draws the benchmark's results: `python -m benchmarks.quality.plots docs/results/quality.json docs/images`.

Accuracy is NDCG@10 on the test events, seen items removed; a panel for each data set and split; the mean over
the seeds, with a line from the least to the most where there are several. Curves over δ are of HR@20, the
mean over the seeds, and come from `diversity.json` beside the results. Ablations (`dimerec-…`) are left to
the tables. Colours are those of Okabe and Ito, which the colour-blind can tell apart, and no two recommenders
share a marker. The same results give the same bytes.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import matplotlib as mpl
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.benchmark.diversity_curve import Point
from training.benchmark.rows import Row
from training.benchmark.store import DIVERSITY_FILE, read_kept, read_rows
from training.benchmark.summary import Line, by_quality, lines

QUALITY = "ndcg@10"
OURS = "dimerec"
SWEPT = f"{OURS}-steps"
"""The row of the registry that asks with many numbers of steps and draws."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dimerec",
}
_OUR_COLOUR = "#d55e00"
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#000000", _OUR_COLOUR, "#f0c000")
_MARKERS = "osD^vP<>XphHd8"
_COLUMNS = 3
"""At most."""
_PANEL_INCHES = (3.6, 2.9)
_LEGEND_INCHES = 0.9
"""Of a panel, wide and high, and of the legend below all: as wide as a page of the documents."""


class _Axis(NamedTuple):
    """The horizontal axis of a plot."""

    metric: str
    label: str
    linear_below: float
    """Logarithmic above this value."""


_AXES = {
    "quality-latency": _Axis("ms_per_user", "ms per user, scored in batches", 0.1),
    "quality-training": _Axis("train_s", "seconds of training to the kept model", 1.0),
}
_CURVES = {
    "quality-diversity": ("categories_20", "distinct categories among the first 20"),
    "quality-distance": ("ild_20", "mean distance of two of the first 20"),
}
"""The metrics that curves are drawn against: the field of a point, its label."""

Panel = Callable[[Axes, Sequence[Line]], None]
"""Draws the lines of one data set."""


def draw(rows: Sequence[Row], points: Sequence[Point], out: Path) -> list[Path]:
    """Write every plot that the rows and the curves have something for into `out`, as SVG; the files."""
    tested = lines(row for row in rows if row.part == "test" and row.exclude_seen)
    written = []
    swept = [line for line in tested if line.first.model == SWEPT and line.first.interest_mode == "draws"]
    if len({line.first.steps for line in swept}) > 1:
        written.append(_figure(swept, _by_steps, out / "quality-steps.svg"))
    shown = [line for line in tested if not line.first.model.startswith(f"{OURS}-")]
    served = [line for line in shown if line.first.variant == 0]
    styles = _styles(served)
    if served:
        written.append(_figure(served, _ranked, out / "quality-ranking.svg"))
    for name, axis in _AXES.items():
        timed = _by_processor(served) if axis.metric == "train_s" else served
        found = [line for line in timed if line.values(axis.metric)]
        if found:
            written.append(_figure(found, _against(axis, styles), out / f"{name}.svg"))
    for name, (field, label) in _CURVES.items():
        known = [point for point in points if getattr(point, field) is not None]
        found = [line for line in shown if line.points(known)]
        if found:
            panel = _over_delta(field, label, known, styles)
            written.append(_figure(found, panel, out / f"{name}.svg"))
    return written


def _by_processor(found: Sequence[Line]) -> list[Line]:
    """Without the seeds that a GPU trained, whose times are of another kind."""
    rows = (tuple(row for row in line.rows if row.trained_on is None) for line in found)
    return [Line(mine) for mine in rows if mine]


def _figure(found: Sequence[Line], panel: Panel, path: Path) -> Path:
    """One panel for each data set, one legend for all where the panels have labels for it."""
    groups = [
        (title, list(of_title)) for title, of_title in groupby(found, key=lambda line: _title(line.first))
    ]
    rows = ceil(len(groups) / _COLUMNS)
    columns = ceil(len(groups) / rows)
    width, height = columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1] + _LEGEND_INCHES
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        labelled: dict[str, Any] = {}
        for axes, (title, of_title) in zip(panels, groups, strict=False):
            axes.set_title(title)
            panel(axes, of_title)
            labelled |= {
                label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
        if labelled:
            figure.legend(
                labelled.values(), labelled.keys(), loc="outside lower center", ncols=max(2, 2 * columns)
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return path


def _ranked(axes: Axes, found: Sequence[Line]) -> None:
    """A bar for each recommender as it is served, the best on top, with its value."""
    worst_first = by_quality(found, QUALITY)[::-1]
    bars = axes.barh(
        [line.first.model for line in worst_first],
        [line.mean(QUALITY) or 0 for line in worst_first],
        xerr=_spread(worst_first, QUALITY),
        color=[_OUR_COLOUR if line.first.model == OURS else "#b5b5b5" for line in worst_first],
    )
    axes.bar_label(bars, fmt="{:.4f}", padding=3, fontsize=8)
    axes.margins(x=0.2)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(QUALITY.upper())


def _by_steps(axes: Axes, found: Sequence[Line]) -> None:
    """A curve over the denoising steps for each number of draws."""
    counts = sorted({line.first.draws for line in found if line.first.draws is not None})
    for index, draws in enumerate(counts):
        curve = sorted(
            (line for line in found if line.first.draws == draws), key=lambda line: line.first.steps or 0
        )
        axes.errorbar(
            [line.first.steps or 0 for line in curve],
            [line.mean(QUALITY) or 0 for line in curve],
            yerr=_spread(curve, QUALITY),
            label=f"{draws} draw{'s' if draws > 1 else ''}",
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("denoising steps")
    _upwards(axes, QUALITY)


def _against(axis: _Axis, styles: dict[str, dict[str, Any]]) -> Panel:
    """A point for each recommender as it is served."""

    def panel(axes: Axes, found: Sequence[Line]) -> None:
        for line in found:
            axes.errorbar(
                [line.mean(axis.metric) or 0],
                [line.mean(QUALITY) or 0],
                xerr=_spread([line], axis.metric),
                yerr=_spread([line], QUALITY),
                label=line.first.model,
                linestyle="none",
                clip_on=False,
                **styles[line.first.model],
            )
        axes.set_xscale("symlog", linthresh=axis.linear_below)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(axis.label)
        _upwards(axes, QUALITY)

    return panel


def _over_delta(field: str, label: str, points: Sequence[Point], styles: dict[str, dict[str, Any]]) -> Panel:
    """A curve for each recommender: the means over the seeds, for each δ."""

    def panel(axes: Axes, found: Sequence[Line]) -> None:
        for line in found:
            mine = sorted(line.points(points), key=lambda point: point.delta)
            by_delta = [list(of_delta) for _, of_delta in groupby(mine, key=lambda point: point.delta)]
            axes.plot(
                [fmean(getattr(point, field) for point in of_delta) for of_delta in by_delta],
                [fmean(point.hr_20 for point in of_delta) for of_delta in by_delta],
                label=line.label,
                linestyle="-" if line.first.variant == 0 else "--",
                **{**styles[line.first.model], "markersize": 4},
            )
        axes.set_xlabel(label)
        _upwards(axes, "hr@20")

    return panel


def _upwards(axes: Axes, metric: str) -> None:
    axes.set_ylabel(metric.upper())
    axes.set_ylim(bottom=0)


def _spread(found: Sequence[Line], metric: str) -> list[list[float]]:
    """The distances of the least and the most of the seeds from their mean `(2, lines)`."""
    values = [line.values(metric) or [0.0] for line in found]
    means = [sum(of_line) / len(of_line) for of_line in values]
    both = list(zip(values, means, strict=True))
    return [[mean - min(of_line) for of_line, mean in both], [max(of_line) - mean for of_line, mean in both]]


def _styles(found: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each recommender; ours is the star."""
    names = sorted({line.first.model for line in found} - {OURS})
    styles: dict[str, dict[str, Any]] = {
        name: {"color": _COLOURS[index % 6], "marker": _MARKERS[index % len(_MARKERS)], "markersize": 6}
        for index, name in enumerate(names)
    }
    return {OURS: {"color": _OUR_COLOUR, "marker": "*", "markersize": 12}, **styles}


def _title(row: Row) -> str:
    return row.data if row.split == "leave-one-out" else f"{row.data}, {row.split}"


def main(results: Path, out: Path) -> None:
    """Draw the results of the file `results`, and the curves beside it, into the directory `out`."""
    curves = results.with_name(DIVERSITY_FILE)
    points = read_kept(curves, Point) if curves.exists() else []
    for path in draw(read_rows(results), points, out):
        print(path)


if __name__ == "__main__":
    typer.run(main)
