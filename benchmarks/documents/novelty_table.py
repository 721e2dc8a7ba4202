"""The table of docs/experiments.md on novelty: each side where it costs a tenth of the hits on validation."""

from collections.abc import Mapping
from typing import Any

SIDES: Mapping[str, str] = {
    "alone": "the model",
    "power": "score / (events + 1)^β",
    "mean": "g∅: mean interest",
    "fitted": "g∅: fitted to the log",
    "diversity": "diversity δ",
}
"""Sides in their order, and what a table calls them."""
_HEADING = (
    "log",
    "side",
    "strength",
    "HR@10",
    "change, 95 %",
    "NDCG@10",
    "coverage@20",
    "share@20, ‱",
)


def novelty_table(results: Mapping[str, Any]) -> str:
    """The test events of the results, the model alone first, as a table of Markdown."""
    rows = [
        _cells(log, row)
        for log, result in results.items()
        for row in [*(one for one in result["test"] if one["side"] == "alone"), *result["test_at_loss"]]
    ]
    aligned = ["---", "---", *["---:"] * (len(_HEADING) - 2)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (_HEADING, aligned, *rows))


def _cells(log: str, row: Mapping[str, Any]) -> list[str]:
    low, high = row["hr@10_change"]
    alone = row["side"] == "alone"
    return [
        log,
        SIDES[row["side"]],
        "" if alone else f"{row['strength']:.2f}",
        f"{row['hr@10']:.4f}",
        "" if alone else f"[{low:+.4f}, {high:+.4f}]",
        f"{row['ndcg@10']:.4f}",
        f"{row['coverage@20']:.3f}",
        f"{1e4 * row['share@20']:.1f}",
    ]
