"""Pictures of the results: answers a second of every side, and latency against the rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.plots import STYLE
from benchmarks.serving.parts.rate import PARTS_OF_SATURATION
from benchmarks.serving.results import Results, Run

_OUR_COLOUR, _OTHERS = "#d55e00", "#8fa3b0"
_SATURATED = {"saturation": "k = 10", "saturation-100": "k = 100", "saturation-500": "k = 500"}
_NOT_DRAWN = {"floor"}
"""Ten times the others: a line of the text says it."""

Rounds = Mapping[str, Sequence[float]]


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what was measured into `directory`; the same results give the same bytes."""
    drawn = []
    with mpl.rc_context(STYLE):
        runs = {part: results.runs[part] for part in _SATURATED if part in results.runs}
        if runs:
            drawn.append(_save(_saturation(runs), directory / "serving-saturation.svg"))
        if "rate" in results.runs:
            drawn.append(_save(_rate(results.runs["rate"].rounds), directory / "serving-rate.svg"))
    return drawn


def _saturation(runs: Mapping[str, Run]) -> Figure:
    figure = Figure(figsize=(3.6 * len(runs), 2.6), layout="constrained")
    panels = figure.subplots(1, len(runs), squeeze=False)[0]
    for panel, (part, run) in zip(panels, runs.items(), strict=True):
        _bars(panel, run.rounds)
        panel.set_title(_SATURATED[part])
        panel.set_xlabel("answers/s, one core")
    return figure


def _bars(panel: Axes, rounds: Rounds) -> None:
    suffix = " answers/s"
    rates = {name.removesuffix(suffix): values for name, values in rounds.items() if name.endswith(suffix)}
    shown = {name: values for name, values in rates.items() if name not in _NOT_DRAWN}
    ordered = sorted(shown, key=lambda name: median(shown[name]))
    middles = [median(shown[name]) for name in ordered]
    spreads = [
        [middle - min(shown[name]) for name, middle in zip(ordered, middles, strict=True)],
        [max(shown[name]) - middle for name, middle in zip(ordered, middles, strict=True)],
    ]
    colours = [_OUR_COLOUR if name == "ours" else _OTHERS for name in ordered]
    panel.barh(ordered, middles, xerr=spreads, color=colours, ecolor="#444444", height=0.7)
    panel.grid(axis="y", visible=False)


def _rate(rounds: Rounds) -> Figure:
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    panel = figure.subplots()
    for quantity, style in (("p99", "-o"), ("p50", "--o")):
        values = [rounds[f"ours {quantity} ms at {part:.0%}"] for part in PARTS_OF_SATURATION]
        middles = [median(one) for one in values]
        rates = [100 * part for part in PARTS_OF_SATURATION]
        panel.plot(rates, middles, style, color=_OUR_COLOUR, label=quantity, markersize=4)
        lows, highs = [min(one) for one in values], [max(one) for one in values]
        panel.fill_between(rates, lows, highs, color=_OUR_COLOUR, alpha=0.15, linewidth=0)
    panel.axhline(median(rounds["ours lone p50 ms"]), color="#444444", linewidth=0.8, linestyle=":")
    panel.set_xlabel("rate, % of saturation (Poisson arrivals)")
    panel.set_ylabel("ms; dotted: a lone request's p50")
    panel.set_ylim(bottom=0)
    panel.legend()
    return figure


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path
