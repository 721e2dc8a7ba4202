"""Results as Markdown: for each data set and split, every recommender, how it was asked, who is better."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from index.atomic import replacing
from training.benchmark.comparisons import Comparison
from training.benchmark.rows import Row
from training.benchmark.summary import Line, by_quality, lines

_ACCURACY = ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20", "hr@50", "ndcg@50")
_BEYOND = ("categories@20", "ild@20", "coverage@20", "train_s", "epochs", "ms_per_user")
_ASKED = ("hr@20", "ndcg@20", "categories@20", "ild@20", "coverage@20", "ms_per_user")
_HEADINGS = {
    "categories@20": "categories@20",
    "ild@20": "list distance@20",
    "coverage@20": "coverage@20",
    "train_s": "training s",
    "epochs": "epochs",
    "ms_per_user": "ms per user",
}
_DIGITS = {"categories@20": 2, "train_s": 0, "epochs": 0, "ms_per_user": 3}


def write_markdown(path: Path, rows: Iterable[Row], comparisons: Iterable[Comparison] = ()) -> None:
    """Write what `render` makes of them, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(render(rows, comparisons), encoding="utf-8")


def render(rows: Iterable[Row], comparisons: Iterable[Comparison] = ()) -> str:
    """The test results as Markdown; the same rows in any order give the same text."""
    tested = lines(row for row in rows if row.part == "test")
    compared = list(comparisons)
    parts = []
    for (data, split), found in groupby(tested, key=lambda line: (line.first.data, line.first.split)):
        mine = [one for one in compared if (one.data, one.split) == (data, split)]
        parts.append("\n\n".join(_data_set(f"{data}, {split} split", list(found), mine)))
    return "\n\n".join(parts) + "\n"


def _data_set(title: str, found: Sequence[Line], compared: Sequence[Comparison]) -> Iterator[str]:
    removed = by_quality([line for line in found if line.first.filtered])
    served = [line for line in removed if line.first.way == 0]
    kept = by_quality([line for line in found if not line.first.filtered and line.first.way == 0])
    yield f"## {title}"
    targets = sorted({line.first.targets for line in found})
    processors = sorted({line.first.hardware.cpu for line in found})
    yield (
        f"{' / '.join(f'{count:,}' for count in targets)} targets, every item a candidate; means over the"
        f" seeds (least–most); times on {', '.join(processors)}."
    )
    yield "Seen items removed, as when serving:"
    yield _table(served, _ACCURACY)
    yield "Beyond accuracy, and what it costs:"
    yield _table(served, _BEYOND)
    yield "Seen items kept:"
    yield _table(kept, _ACCURACY)
    several = {line.first.run for line in removed if line.first.way > 0}
    asked = sorted(
        (line for line in removed if line.first.run in several),
        key=lambda line: (line.first.model, line.first.settings, line.first.way),
    )
    if asked:
        yield "The same model asked in other ways, seen items removed:"
        yield _table(asked, _ASKED)
    if compared:
        yield "Differences, with 95 % paired bootstrap intervals over users:"
        yield _differences(compared)


def _table(found: Sequence[Line], metrics: Sequence[str]) -> str:
    shown = [metric for metric in metrics if any(line.values(metric) for line in found)]
    labels = Counter(line.label for line in found)
    names = [_told_apart(line) if labels[line.label] > 1 else line.label for line in found]
    table = [
        ["", "seeds", *(_HEADINGS.get(metric, metric.upper()) for metric in shown)],
        ["---", *["---:"] * (len(shown) + 1)],
        *(
            [name, str(len(line.rows)), *(_cell(line, metric) for metric in shown)]
            for name, line in zip(names, found, strict=True)
        ),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _told_apart(line: Line) -> str:
    """A name for what was also fitted with other settings."""
    limit = "" if line.first.minutes is None else f", {line.first.minutes:g} min"
    return f"{line.label} [{line.first.settings[:6]}{limit}]"


def _cell(line: Line, metric: str) -> str:
    values, mean = line.values(metric), line.mean(metric)
    if values is None or mean is None:
        return "–"
    low, high, middle = (_number(value, metric) for value in (min(values), max(values), mean))
    return middle if low == high else f"{middle} ({low}–{high})"


def _number(value: float, metric: str) -> str:
    return f"{value:,.{_DIGITS.get(metric, 4)}f}"


def _differences(compared: Sequence[Comparison]) -> str:
    table = ["| first − second | metric | difference | |", "| --- | --- | ---: | --- |"]
    for one in compared:
        interval = f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        table.append(f"| {one.first} − {one.second} | {one.metric.upper()} | {interval} | {one.verdict} |")
    return "\n".join(table)
