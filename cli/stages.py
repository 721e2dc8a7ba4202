"""`dimerec evaluate --horizon … --controls`: a model's interests beside controls, as a retrieval stage."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import typer

from cli.bars import measuring
from cli.output import print_table
from index.catalogue import Catalogue
from training.data.splits import Sequences
from training.evaluation.horizon import Horizon, future
from training.evaluation.stage.fitting import Fitted
from training.evaluation.stage.report import StageReport, stage_report


def measure_stages(
    sides: Mapping[str, Fitted],
    horizons: Iterable[Horizon],
    catalogue: Catalogue,
    train: Sequences,
    noise_seeds: int,
    seed: int,
) -> list[StageReport]:
    """Each horizon, behind a progress bar."""
    found = []
    for ahead in horizons:
        with measuring(sides, len(ahead) * noise_seeds) as advance:
            found.append(
                stage_report(
                    sides,
                    ahead,
                    catalogue,
                    train,
                    seeds=range(seed, seed + noise_seeds),
                    generator=np.random.default_rng(seed),
                    on_progress=advance,
                )
            )
    return found


def show_stages(stages: Sequence[StageReport]) -> None:
    """Print a table a horizon: a row a metric, a column a side."""
    for stage in stages:
        print_table(
            ["", *stage.sides],
            list(_settings(stage)),
            list(_metrics(stage)),
            title=f"{future(stage.events)} of {stage.users:,} users, as a retrieval stage:"
            f" τ fitted on validation, the mean of {stage.seeds} seeds of noise",
            right_from=1,
        )
    if stages:
        typer.echo(
            "+ better than DimeRec, − worse, by a 95 % bootstrap interval over users that has no 0;"
            " docs/data-and-evaluation.md says what each row is."
        )


def _settings(stage: StageReport) -> Iterator[list[str]]:
    for setting in ("temperature", "merge", "pull", "interests", "distances"):
        values = [side.settings.get(setting) for side in stage.sides.values()]
        yield [setting, *(_shown(value) for value in values)]


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metrics(stage: StageReport) -> Iterator[list[str]]:
    marks = {(one.second, one.metric): one.mark or " " for one in stage.comparisons}
    for metric in dict.fromkeys(metric for side in stage.sides.values() for metric in side.metrics):
        values = ((name, side.metrics.get(metric)) for name, side in stage.sides.items())
        yield [
            metric.replace("_", " "),
            *("– " if of is None else f"{of:.4f}{marks.get((name, metric), ' ')}" for name, of in values),
        ]
