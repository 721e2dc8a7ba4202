"""`dimerec evaluate --horizon`: recommenders judged by all that people went on to."""

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from cli.bars import measuring
from cli.output import print_comparisons, print_table
from index.catalogue import Catalogue
from training.data.splits import Sequences, Targets
from training.errors import ConfigError
from training.evaluation.horizon import Horizon, HorizonReport, future, horizon, measure, report
from training.evaluation.report import Contestant

REST = "rest"
"""The horizon that is all of the part that is held out."""
MAX_EVENTS = 10_000
"""Chosen: longer than anybody's session; a typing error is told at once."""


def lengths(given: Iterable[str]) -> list[int | None]:
    """The horizons in events, None for the rest of the part. Raises ConfigError."""
    return [None if text == REST else _events(text) for text in dict.fromkeys(given)]


def _events(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_EVENTS):
        raise ConfigError(f"--horizon {text}: give a number of events from 1 to {MAX_EVENTS}, or {REST}")
    return int(text[:9])


def horizons_of(targets: Targets, asked: Iterable[int | None]) -> list[Horizon]:
    """The horizons of a part of a split. Raises DataError where nobody has so many events in it."""
    return [horizon(targets, events) for events in asked]


def measure_horizons(
    contestants: Mapping[str, Contestant],
    horizons: Iterable[Horizon],
    catalogue: Catalogue,
    train: Sequences,
    seed: int,
) -> list[HorizonReport]:
    """Each horizon, behind a progress bar."""
    found = []
    for ahead in horizons:
        with measuring(contestants, len(ahead)) as advance:
            measured = {
                name: measure(
                    one.scorer,
                    ahead,
                    catalogue,
                    train,
                    on_progress=partial(advance, name),
                )
                for name, one in contestants.items()
            }
        found.append(report(ahead, measured, generator=np.random.default_rng(seed)))
    return found


def show_horizons(reports: Iterable[HorizonReport]) -> None:
    """Print a table a horizon: a row a metric, a column a recommender."""
    for found in reports:
        names = list(found.recommenders)
        metrics = list(found.recommenders[names[0]])
        print_table(
            ["", *names],
            [
                [metric.replace("_", " "), *(f"{found.recommenders[name][metric]:.4f}" for name in names)]
                for metric in metrics
            ],
            title=f"{future(found.events)} of {found.users:,} users,"
            f" {found.relevant:.1f} new items each, seen removed",
            right_from=1,
        )
        print_comparisons(found.comparisons, width=18)
