"""Results as Markdown: for each data set and split, every recommender, how it was asked, who is better."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from files.atomic import replacing
from training.benchmark.comparisons import Comparison
from training.benchmark.diversity_curve import AtRecall, Point, at_equal_recall, references
from training.benchmark.probing import ProbeRow
from training.benchmark.rows import Row
from training.benchmark.summary import Line, by_quality, lines

_ACCURACY = ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20", "hr@50", "ndcg@50")
_BEYOND = ("categories@20", "ild@20", "coverage@20", "train_s", "epochs", "ms_per_user")
_VARIANTS = ("hr@20", "ndcg@20", "categories@20", "ild@20", "coverage@20", "ms_per_user")
_AT_RECALL = ("delta", "hr@20", "categories@20", "ild@20")
_PROBED = ("accuracy", "auc", "majority", "items")
_HEADINGS = {
    "delta": "δ",
    "accuracy": "accuracy",
    "majority": "majority",
    "items": "items",
    "categories@20": "categories@20",
    "ild@20": "list distance@20",
    "coverage@20": "coverage@20",
    "train_s": "training s",
    "epochs": "epochs",
    "ms_per_user": "ms per user",
}
_DIGITS = {"categories@20": 2, "train_s": 0, "epochs": 0, "ms_per_user": 3, "delta": 2, "items": 0}


def write_markdown(
    path: Path,
    rows: Iterable[Row],
    comparisons: Iterable[Comparison] = (),
    points: Iterable[Point] = (),
    probes: Iterable[ProbeRow] = (),
) -> None:
    """Write what `render` makes of them, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(render(rows, comparisons, points, probes), encoding="utf-8")


def render(
    rows: Iterable[Row],
    comparisons: Iterable[Comparison] = (),
    points: Iterable[Point] = (),
    probes: Iterable[ProbeRow] = (),
) -> str:
    """The test results as Markdown; the same rows in any order give the same text."""
    tested = lines(row for row in rows if row.part == "test")
    compared, curves, probed = list(comparisons), list(points), list(probes)
    parts = []
    for (data, split), group in groupby(tested, key=lambda line: (line.first.data, line.first.split)):
        found = list(group)
        mine = [one for one in compared if (one.data, one.split) == (data, split)]
        removed = by_quality([line for line in found if line.first.exclude_seen])
        paragraphs = [
            *_data_set(f"{data}, {split} split", found, removed),
            *_equal_recall(removed, curves),
            *_probes([line for line in removed if line.first.variant == 0], probed),
            *_differences(mine),
        ]
        parts.append("\n\n".join(paragraphs))
    return "\n\n".join(parts) + "\n"


def _data_set(title: str, found: Sequence[Line], removed: Sequence[Line]) -> Iterator[str]:
    served = [line for line in removed if line.first.variant == 0]
    kept = by_quality([line for line in found if not line.first.exclude_seen and line.first.variant == 0])
    yield f"## {title}"
    targets = sorted({line.first.targets for line in found})
    yield (
        f"{' / '.join(f'{count:,}' for count in targets)} targets, every item a candidate; means over the"
        f" seeds (least–most); times on {_hardware(served)}."
    )
    yield "Seen items removed, as when serving:"
    yield _table(served, _ACCURACY)
    yield "Beyond accuracy, and what it costs:"
    yield _table(served, _BEYOND)
    yield _title_of_kept(kept)
    yield _table(kept, _ACCURACY)
    several = {line.first.run for line in removed if line.first.variant > 0}
    others = sorted(
        (line for line in removed if line.first.run in several),
        key=lambda line: (line.first.model, line.first.settings, line.first.variant),
    )
    if others:
        yield "The same model asked in other ways, seen items removed:"
        yield _table(others, _VARIANTS)


def _hardware(served: Sequence[Line]) -> str:
    """The processors, and the cards that trained for any seed of some."""
    processors = ", ".join(sorted({line.first.hardware.cpu for line in served}))
    cards: defaultdict[str, list[str]] = defaultdict(list)
    for line in sorted(served, key=lambda line: line.label):
        for card in {row.trained_on for row in line.rows if row.trained_on is not None}:
            cards[card].append(line.label)
    trained = [f"{card} trained a seed or more of {', '.join(labels)}" for card, labels in cards.items()]
    return "; ".join([processors, *sorted(trained)])


def _title_of_kept(kept: Sequence[Line]) -> str:
    weighed = [line.label for line in kept if line.first.repeat_weight is not None]
    if not weighed:
        return "Seen items kept:"
    return (
        f"Seen items kept, by {', '.join(weighed)} weighed by how often users come back, by the others as any"
        " item:"
    )


def _equal_recall(removed: Sequence[Line], points: Sequence[Point]) -> Iterator[str]:
    """The lists of each recommender re-ranked until all have one HR@20."""
    curved = [(line, mine) for line in removed if (mine := line.points(points))]
    for recall, among in references(point for _, mine in curved for point in mine):
        yield (
            "Diversity at equal recall: each re-ranked, seen items removed, with the δ that leaves it HR@20 ="
            f" {recall:.4f}, the lowest among {', '.join(among)} without re-ranking; –: never reached:"
        )
        found = [(line, at_equal_recall(mine, recall)) for line, mine in curved]
        yield _grid([_entry(line, rows, _AT_RECALL) for line, rows in found], _AT_RECALL)


def _probes(served: Sequence[Line], probes: Sequence[ProbeRow]) -> Iterator[str]:
    """Results of a linear probe for categories in the item vectors."""
    of_lines = [
        (line, [one for one in probes if one.run in {row.run for row in line.rows}]) for line in served
    ]
    entries = [_entry(line, mine, _PROBED) for line, mine in of_lines if mine]
    if entries:
        yield "Categories found in item vectors by a linear probe; majority: always naming the commonest:"
        yield _grid(entries, _PROBED)


class _Entry(NamedTuple):
    """A line of a table."""

    line: Line
    seeds: int
    values: dict[str, list[float] | None]
    """Each metric for each seed; None where it is undefined."""


def _entry(line: Line, found: Sequence[AtRecall] | Sequence[ProbeRow], metrics: Sequence[str]) -> _Entry:
    """`found`: one for each seed."""
    measured = [one.model_dump(by_alias=True) for one in found]
    columns = {metric: [of_seed[metric] for of_seed in measured] for metric in metrics}
    values = {metric: None if None in column else column for metric, column in columns.items()}
    return _Entry(line, len(found), values)


def _table(found: Sequence[Line], metrics: Sequence[str]) -> str:
    shown = [metric for metric in metrics if any(line.values(metric) for line in found)]
    entries = [
        _Entry(line, len(line.rows), {metric: line.values(metric) for metric in shown}) for line in found
    ]
    return _grid(entries, shown)


def _grid(entries: Sequence[_Entry], metrics: Sequence[str]) -> str:
    labels = Counter(entry.line.label for entry in entries)
    table = [
        ["", "seeds", *(_HEADINGS.get(metric, metric.upper()) for metric in metrics)],
        ["---", *["---:"] * (len(metrics) + 1)],
    ]
    for line, seeds, values in entries:
        name = _told_apart(line) if labels[line.label] > 1 else line.label
        table.append([name, str(seeds), *(_cell(values[metric], metric) for metric in metrics)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _told_apart(line: Line) -> str:
    """A name for what was also fitted with other settings."""
    limit = "" if line.first.minutes is None else f", {line.first.minutes:g} min"
    return f"{line.label} [{line.first.settings[:6]}{limit}]"


def _cell(values: Sequence[float] | None, metric: str) -> str:
    if not values:
        return "–"
    mean = sum(values) / len(values)
    low, high, middle = (_number(value, metric) for value in (min(values), max(values), mean))
    return middle if low == high else f"{middle} ({low}–{high})"


def _number(value: float, metric: str) -> str:
    return f"{value:,.{_DIGITS.get(metric, 4)}f}"


def _differences(compared: Sequence[Comparison]) -> Iterator[str]:
    if not compared:
        return
    yield "Differences, with 95 % paired bootstrap intervals over users:"
    table = ["| first − second | metric | difference | |", "| --- | --- | ---: | --- |"]
    for one in compared:
        interval = f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        table.append(f"| {one.first} − {one.second} | {one.metric.upper()} | {interval} | {one.verdict} |")
    yield "\n".join(table)
