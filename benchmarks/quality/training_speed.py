"""Our SASRec and that of RecTools on the same data: seconds per epoch, and until both are equally good.

    python -m benchmarks.quality.training_speed --events ../shared/data/amazon-beauty.parquet

Both have the same width, depth, length of histories, dropout, number of negatives and threads; batches,
optimiser and all else are each one's own. They take turns, an epoch each, so that what disturbs one disturbs
the other. Times are of training alone, without reading and validation; NDCG@10 is that on validation.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated, NamedTuple

import typer

from benchmarks.external.exchange import ExternalProcess
from benchmarks.external.recipe import RecToolsSASRec
from files.atomic import replacing
from training.baselines.sasrec import SASRecConfig
from training.benchmark.data import Data, prepare_data
from training.benchmark.machine import hardware, source_revision
from training.benchmark.rows import METRIC_DIGITS
from training.errors import TrainingError
from training.run import EpochRecord
from training.trainer import train

SHARED = ("dim", "blocks", "heads", "max_length", "dropout", "negatives")
"""Settings of RecTools' SASRec that ours takes over."""
LABELS = {
    "seconds_per_epoch": "seconds per epoch",
    "examples_per_s": "examples per second",
    "best_ndcg@10": "best validation NDCG@10",
    "seconds_to_level": "seconds to validation NDCG@10 of {}",
}
"""Quantities of the table."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of one of the two."""

    examples: int
    train_s: float
    ndcg: float

    def __str__(self) -> str:
        return f"{self.train_s:.1f} s, NDCG@10 {self.ndcg:.4f}"


class Pair(NamedTuple):
    """Both with one seed, epoch by epoch; they have as many."""

    ours: tuple[Epoch, ...]
    rectools: tuple[Epoch, ...]


@dataclass(frozen=True)
class Spread:
    """The middle of some values, and how far they lie apart."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}–{self.most:.3g})"


@dataclass(frozen=True)
class Compared:
    """One quantity of both; `ratio` is theirs by ours, of each pair of values."""

    ours: Spread
    rectools: Spread
    ratio: Spread


class _TimeUpError(Exception):
    """The minutes are used up."""


class _Turns:
    """Watches our training, and has the other one train an epoch after each of ours."""

    def __init__(self, external: ExternalProcess, until: float | None) -> None:
        self._external = external
        self._until = until
        self._examples = 0
        self.ours: list[Epoch] = []
        self.theirs: list[Epoch] = []

    def epoch_started(self, epoch: int, examples: int) -> None:  # noqa: ARG002
        self._examples = examples

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None: ...

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:  # noqa: ARG002
        other = self._external.epoch()
        self.ours.append(_epoch(record, self._examples))
        self.theirs.append(_epoch(other, other.examples))
        print(f"epoch {record.epoch}: ours {self.ours[-1]}, RecTools {self.theirs[-1]}", flush=True)
        if self._until is not None and monotonic() >= self._until:
            raise _TimeUpError


def main(
    events: Annotated[Path, typer.Option(help="An event log.")],
    epochs: Annotated[int, typer.Option(min=1, help="Of each, with each seed.")] = 20,
    minutes: Annotated[float | None, typer.Option(help="No new epoch after so long, in all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Both with seeds 0 … N-1.")] = 3,
    level: Annotated[
        float | None,
        typer.Option(help="NDCG@10 to reach. [default: with each seed, the lower of both bests]"),
    ] = None,
    work: Annotated[Path, typer.Option(help="Directory of prepared data.")] = Path(".quality"),
    out: Annotated[Path, typer.Option(help="File of the results; a table goes beside it.")] = Path(
        "docs/results/training-speed.json"
    ),
) -> None:
    """Train both, write what was found, and print it as a table."""
    theirs = replace(RecToolsSASRec(), epochs=epochs)
    shared = {key: theirs.settings[key] for key in SHARED}
    seconds = None if minutes is None else 60 * minutes / seeds
    try:
        data = prepare_data(events.name.partition(".")[0], events, None, "leave-one-out", work / "data")
        stopping = {"epochs": epochs, "patience": epochs, "validation_targets": len(data.split.validation)}
        ours = SASRecConfig.model_validate({**shared, **stopping})
        pairs = [take_turns(data, ours, theirs, seed, seconds) for seed in range(seeds)]
    except TrainingError as error:
        typer.echo(f"training-speed: {error}", err=True)
        raise typer.Exit(1) from error
    found = {
        "data": data.name,
        "data_fingerprint": data.dataset.fingerprint,
        "commit": source_revision(),
        "hardware": hardware().model_dump(),
        "settings": {"ours": ours.model_dump(mode="json"), "rectools": theirs.settings},
        "level": level,
        **{name: None if one is None else asdict(one) for name, one in compared(pairs, level).items()},
        "pairs": [
            {name: list(map(asdict, of_one)) for name, of_one in pair._asdict().items()} for pair in pairs
        ],
    }
    text = table(data.name, pairs, level)
    _write(out, json.dumps(found, indent=2))
    _write(out.with_suffix(".md"), text)
    print(text)


def take_turns(
    data: Data, ours: SASRecConfig, theirs: RecToolsSASRec, seed: int, seconds: float | None
) -> Pair:
    """Train both with one seed, an epoch each in turn; no new one after `seconds`."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        with ExternalProcess(data.split, theirs.settings_of(seed), directory / "theirs") as external:
            turns = _Turns(external, None if seconds is None else monotonic() + seconds)
            config = ours.model_copy(update={"seed": seed, "split": data.split.name})
            with suppress(_TimeUpError):
                train(data.dataset, config, directory / "ours", turns)
    return Pair(tuple(turns.ours), tuple(turns.theirs))


def compared(pairs: Sequence[Pair], level: float | None) -> dict[str, Compared | None]:
    """All quantities by name; None where one of the two never reached the level."""
    quantities: dict[str, Compared | None] = {
        "seconds_per_epoch": _compare(
            [(one.train_s, other.train_s) for pair in pairs for one, other in zip(*pair, strict=True)]
        ),
        "examples_per_s": _compare(
            [
                (one.examples / one.train_s, other.examples / other.train_s)
                for pair in pairs
                for one, other in zip(*pair, strict=True)
            ]
        ),
        "best_ndcg@10": _compare([(_best(pair.ours), _best(pair.rectools)) for pair in pairs]),
    }
    reached = [tuple(seconds_to(of_one, level_of(pair, level)) for of_one in pair) for pair in pairs]
    known = [(one, other) for one, other in reached if one is not None and other is not None]
    quantities["seconds_to_level"] = _compare(known) if len(known) == len(pairs) else None
    return quantities


def level_of(pair: Pair, level: float | None) -> float:
    """The NDCG@10 that both have to reach: `level`, or the lower of their bests."""
    return min(_best(pair.ours), _best(pair.rectools)) if level is None else level


def seconds_to(epochs: Sequence[Epoch], level: float) -> float | None:
    """Training time up to the end of the first epoch that is so good; None if none is."""
    times = accumulate(epoch.train_s for epoch in epochs)
    return next((time for time, epoch in zip(times, epochs, strict=True) if epoch.ndcg >= level), None)


def table(data: str, pairs: Sequence[Pair], level: float | None) -> str:
    """The comparison as Markdown."""
    lines = [
        "# Training speed",
        "",
        f"SASRec on {data}: median (least–most) over {len(pairs)} seeds and, per epoch,"
        f" {sum(len(pair.ours) for pair in pairs)} pairs of epochs that took turns; training only.",
        "",
        "| | ours | RecTools | RecTools ÷ ours |",
        "|---|---|---|---|",
    ]
    wanted = "the lower of both bests" if level is None else f"{level:g}"
    for name, label in LABELS.items():
        one = compared(pairs, level)[name]
        cells = ("not reached",) * 3 if one is None else (one.ours, one.rectools, one.ratio)
        lines.append(f"| {label.format(wanted)} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _compare(values: Sequence[tuple[float, float]]) -> Compared:
    ours, theirs = zip(*values, strict=True)
    return Compared(
        _spread(ours), _spread(theirs), _spread([other / one if one else inf for one, other in values])
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _best(epochs: Sequence[Epoch]) -> float:
    return max(epoch.ndcg for epoch in epochs)


def _epoch(record: EpochRecord, examples: int) -> Epoch:
    train_s, ndcg = examples / record.examples_per_s, record.validation["ndcg@10"]
    return Epoch(examples, round(train_s, 4), round(ndcg, METRIC_DIGITS))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
