"""README's table: six recommenders on three public logs, from the results of the benchmark."""

from collections.abc import Mapping, Sequence
from itertools import product

from training.benchmark.comparisons import Comparison
from training.benchmark.rows import Row
from training.benchmark.summary import Line, lines, served

RECOMMENDERS = {
    "dimerec": "**DimeRec**",
    "dimerec-no-noise": "its network without noise",
    "sasrec-ce": "SASRec, softmax over all items",
    "comirec-sa": "ComiRec-SA",
    "itemknn": "ItemKNN",
    "popularity": "Popularity",
}
"""Names in the registry → how the table calls them."""
LOGS = {"amazon-beauty": "Amazon Beauty", "kuairand-pure": "KuaiRand-Pure", "movielens-1m": "MovieLens-1M"}
METRICS = ("hr@10", "ndcg@10")
TIMED = "kuairand-pure"
"""The log whose time a user is shown."""
DRAWN = "dimerec (both mean "
"""The label of draws and guidance begins so, however many draws there are."""
SASRECS = {"sasrec-ce": "", "sasrec": " (softmax over a sample)"}
"""Names in the registry → a remark: the first that DimeRec was compared with on a log counts."""


def quality_table(rows: Sequence[Row], differences: Sequence[Comparison]) -> str:
    """The table, and under it what DimeRec has more than SASRec and than its own network without noise."""
    found = _served(rows)
    heading = [
        f"HR@10 / NDCG@10, means over {_seeds(found)} seeds",
        *(f"{title} ({_targets(found, log)} users)" for log, title in LOGS.items()),
        "ms a user",
    ]
    body = [[label, *_cells(found, name)] for name, label in RECOMMENDERS.items()]
    table = [heading, ["---", *["---:"] * (len(heading) - 1)], *body]
    sasrec = _compared(differences, SASRECS)
    noiseless = _compared(differences, {"dimerec-no-noise": ""}, DRAWN)
    shown = [f"| {' | '.join(cells)} |" for cells in table]
    shown += ["", f"NDCG@10 of DimeRec less that of SASRec ({_gain(found)}), with 95 % intervals:"]
    shown.append(f"{sasrec}{';' if noiseless else '.'}")
    if noiseless:
        shown.append(f"of its draws and guidance less that of its network without noise: {noiseless}.")
    return "\n".join(shown)


def _served(rows: Sequence[Row]) -> dict[tuple[str, str], Line]:
    """Lines by log and recommender: asked as served, seen items removed, test events."""
    return {
        (line.first.data, line.first.model): line
        for line in lines(served(rows))
        if line.first.split == "leave-one-out"
    }


def _seeds(found: Mapping[tuple[str, str], Line]) -> str:
    counts = {len(found[key].rows) for key in product(LOGS, RECOMMENDERS) if key in found}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))


def _targets(found: Mapping[tuple[str, str], Line], log: str) -> str:
    return f"{found[log, 'dimerec'].first.targets:,}"


def _cells(found: Mapping[tuple[str, str], Line], name: str) -> list[str]:
    cells = [_accuracy(found.get((log, name))) for log in LOGS]
    return [*cells, f"{_mean(found[TIMED, name], 'ms_per_user'):.1f}"]


def _accuracy(line: Line | None) -> str:
    """A recommender's two metrics on a log, a dash where it was not measured."""
    return "–" if line is None else " / ".join(_decimals(_mean(line, metric)) for metric in METRICS)


def _mean(line: Line, metric: str) -> float:
    return line.mean(metric) or 0.0


def _decimals(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


def _gain(found: Mapping[tuple[str, str], Line]) -> str:
    """From the least to the most that NDCG@10 gains over SASRec on a log."""
    gains = [
        _mean(found[log, "dimerec"], "ndcg@10") / _mean(found[log, "sasrec-ce"], "ndcg@10") for log in LOGS
    ]
    return f"{100 * (min(gains) - 1):+.0f} to {100 * (max(gains) - 1):+.0f} %"


def _compared(differences: Sequence[Comparison], others: Mapping[str, str], first: str = "dimerec") -> str:
    """The first difference of each log that there is, with its interval; `others` have remarks.

    `first`: how the label of DimeRec's line begins.
    """
    shown = []
    for log, title in LOGS.items():
        found = [
            (one, remark)
            for other, remark in others.items()
            if (one := _difference(differences, log, first, other))
        ]
        if found:
            one, remark = found[0]
            mean, low, high = (_signed(value) for value in (one.mean, one.low, one.high))
            shown.append(f"{title}{remark} {mean} [{low}, {high}]")
    return ", ".join(shown)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("0.", ".").replace("-", "−")


def _difference(differences: Sequence[Comparison], log: str, first: str, other: str) -> Comparison | None:
    wanted = (log, "leave-one-out", other, "ndcg@10", True)
    for one in differences:
        named = one.first == first or (first == DRAWN and one.first.startswith(first))
        if named and (one.data, one.split, one.second, one.metric, one.exclude_seen) == wanted:
            return one
    return None
