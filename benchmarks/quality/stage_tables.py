"""The findings of `retrieval_stage` as JSON and Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.quality.stage_targets import steps_row, target_rows
from training.benchmark.rows import Hardware
from training.evaluation.horizon import future
from training.evaluation.stage.fitting import OURS
from training.evaluation.stage.report import StageReport

ROWS = (
    *("fits", "temperature", "merge", "pull", "interests", "distances"),
    *("recall@50", "recall@200", "recall@500", "hit@20", "hit@50"),
    *("budget_recall@50", "budget_recall@200", "budget_recall@500", "read@500"),
    *("category_recall@20", "category_recall@50"),
    *("categories_at_equal_recall@20", "categories_at_equal_recall@50"),
    *("nll-next", "nll", "brier", "ece"),
    *("best_of_1", "best_of_2", "best_of_4", "best_of_8"),
    *("guidance_cosine", "pairwise_cosine"),
)
"""Rows of a table, of settings and of metrics."""
OF_STEPS = ("recall@50", "recall@200", "budget_recall@200", "nll", "best_of_4", "pairwise_cosine")
"""Metrics of the table of steps."""
COMPARED = (
    "recall@200",
    "budget_recall@200",
    "categories_at_equal_recall@20",
    "categories_at_equal_recall@50",
    "nll",
    "brier",
    "ece",
)
"""Metrics of the table of differences: those that targets are stated in."""


class Results(BaseModel):
    """The findings on a data set, and where they are from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    split: str
    both: bool = False
    """True where horizons begin with validation; False: with test."""
    command: str
    commit: str | None
    hardware: Hardware
    epoch: int
    """Of the model, the best on validation."""
    epochs: int
    """That the run was to have."""
    dim: int
    blocks: int
    steps: int
    """Denoising steps, as served."""
    stages: list[StageReport]
    by_steps: StageReport
    """DimeRec with other numbers of steps, over the first horizon."""


def read_results(path: Path) -> dict[str, Results]:
    """By data set, as the benchmark calls it."""
    return TypeAdapter(dict[str, Results]).validate_python(json.loads(path.read_bytes()))


def markdown(results: Mapping[str, Results]) -> str:
    """The tables of each data set."""
    lines = [
        "# DimeRec's draws as a retrieval stage",
        "",
        "What each row is: [data-and-evaluation.md](../data-and-evaluation.md#draws-beside-controls)."
        " DimeRec is asked as it was trained, by draws and guidance, also where its bundle would leave draws"
        " out."
        " +: better than DimeRec by a 95 % bootstrap interval over users that has no 0, −: worse."
        " Of several sides that a target names, the one that DimeRec is least ahead of is in the table.",
    ]
    for found in results.values():
        lines += ["", *_data_set(found)]
    return "\n".join(lines).rstrip() + "\n"


def _data_set(results: Results) -> Iterator[str]:
    name = f"{results.data}, {results.split} split{', both parts' if results.both else ''}"
    blocks = "1 block" if results.blocks == 1 else f"{results.blocks} blocks"
    yield f"## {name}"
    yield ""
    yield (
        f"`{results.command}`; DimeRec is one fit (d = {results.dim}, {blocks},"
        f" epoch {results.epoch} of {results.epochs}), commit {results.commit}, {results.hardware.cpu}."
    )
    yield ""
    yield from _targets(results)
    for stage in results.stages:
        yield ""
        yield f"### {name}: {future(stage.events)}, {stage.users:,} users, {stage.seeds} seeds of noise"
        yield ""
        yield from _table(stage, ROWS)
        yield ""
        yield "DimeRec less"
        yield ""
        yield from _differences(stage)
    yield ""
    yield f"### {name}: denoising steps, {future(results.by_steps.events)}, {results.by_steps.users:,} users"
    yield ""
    yield from _table(results.by_steps, OF_STEPS)


def _targets(results: Results) -> Iterator[str]:
    titles = [f"{future(stage.events)}, {stage.users:,} users" for stage in results.stages]
    yield from _head(["against the targets", "target", *titles, "met"], right=False)
    for name, wanted, cells, met in target_rows(results.stages):
        yield _line([name, wanted, *cells, met])
    name, wanted, shown, met = steps_row(results.by_steps, results.steps)
    yield _line([name, wanted, shown, *("–" for _ in results.stages[1:]), met])


def _table(stage: StageReport, rows: Sequence[str]) -> Iterator[str]:
    yield from _head(["", *stage.sides])
    marks = {(one.second, one.metric): one.mark for one in stage.comparisons}
    for row in rows:
        values = [{**side.settings, **side.metrics}.get(row) for side in stage.sides.values()]
        if any(value is not None for value in values):
            shown = zip(stage.sides, values, strict=True)
            cells = (_cell(value) + marks.get((name, row), "") for name, value in shown)
            yield _line([row.replace("_", " "), *cells])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _differences(stage: StageReport) -> Iterator[str]:
    yield from _head(["", *(metric.replace("_", " ") for metric in COMPARED)], right=False)
    for name in [name for name in stage.sides if name != OURS]:
        found = {one.metric: one for one in stage.comparisons if one.second == name}
        cells = (found.get(metric) for metric in COMPARED)
        yield _line(
            [
                name,
                *(
                    "–" if one is None else f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
                    for one in cells
                ),
            ]
        )


def _head(titles: Sequence[str], *, right: bool = True) -> Iterator[str]:
    yield _line(titles)
    yield f"|---|{('---:|' if right else '---|') * (len(titles) - 1)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
