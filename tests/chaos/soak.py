"""A long run at a steady rate: memory, descriptors and threads must not grow (`make soak`)."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import psutil
import typer
from pydantic import BaseModel, ConfigDict

from files.atomic import replacing
from tests.chaos.stage import Stage, staged

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "soak.json"
PART = 0.7
"""Of saturation: the load."""
SETTLING = 1 / 6
"""Part of the run that does not count: minutes 0 to 5 of 30."""
MAX_GROWTH = 0.02
"""Of memory, from then to the end."""
MAX_REFUSED = 0.01
"""Of the requests; more, and the load was beyond what this machine could do meanwhile. Chosen."""
_EVERY_S = 5.0

program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Sample(BaseModel):
    """The service's processes at one moment, added up."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    rss_bytes: int
    descriptors: int
    threads: int


class Soak(BaseModel):
    """A run, and what became of its requests."""

    model_config = ConfigDict(frozen=True)

    minutes: float
    rate: float
    outcomes: dict[str, int]
    events_lost: int
    samples: list[Sample]
    verdict: str


@program.command()
def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 30.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    out: Annotated[Path, typer.Option(help="Where to keep what was measured.")] = RESULTS,
) -> None:
    """Drive the service at 70 % of what it can do, and see whether it grows."""
    with TemporaryDirectory(prefix="dimerec-soak-") as directory, staged(Path(directory), workers) as stage:
        result = soak(stage, 60 * minutes)
    with replacing(out) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    typer.echo(f"{result.rate:.0f} a second for {minutes:g} min: {result.outcomes}")
    typer.echo(result.verdict)


def soak(stage: Stage, seconds: float) -> Soak:
    """Load for so long, with samples on the way."""
    stage.saturate()
    rate = stage.begin_load("soak", PART)
    began = time.monotonic()
    samples = []
    while (passed := time.monotonic() - began) < seconds:
        samples.append(_sample(stage, passed))
        time.sleep(min(_EVERY_S, seconds / 60))
    report = stage.end_load()
    names = [answer.outcome for answer in report.answers]
    lost = len(stage.lost(report))
    outcomes = {str(name): names.count(name) for name in sorted(set(names))}
    found = [*judged(samples), *unborne(outcomes), *([f"{lost} events lost"] if lost else [])]
    return Soak(
        minutes=seconds / 60,
        rate=round(rate, 1),
        outcomes=outcomes,
        events_lost=lost,
        samples=samples,
        verdict="; ".join(found) or "held",
    )


def judged(samples: Sequence[Sample]) -> list[str]:
    """What grew, in words: medians of the first and the last tenth of what counts."""
    counted = samples[int(len(samples) * SETTLING) :]
    part = max(1, len(counted) // 10)
    found = []
    for name, most in (("rss_bytes", MAX_GROWTH), ("descriptors", MAX_GROWTH), ("threads", 0.0)):
        values = [int(getattr(sample, name)) for sample in counted]
        first, last = sorted(values[:part])[part // 2], sorted(values[-part:])[part // 2]
        if last > first * (1 + most):
            found.append(f"{name} grew from {first} to {last}")
    return found


def unborne(outcomes: Mapping[str, int]) -> list[str]:
    """The part of the requests without an answer, in words, where the load was more than could be borne."""
    asked = sum(outcomes.values())
    left = asked - outcomes.get("ok", 0) - outcomes.get("degraded", 0)
    return [f"{left / asked:.1%} had no answer: no load of {PART:.0%}"] if left > MAX_REFUSED * asked else []


def _sample(stage: Stage, seconds: float) -> Sample:
    rss = descriptors = threads = 0
    for process in stage.processes():
        with suppress(psutil.NoSuchProcess):
            rss += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
    return Sample(seconds=round(seconds, 1), rss_bytes=rss, descriptors=descriptors, threads=threads)


if __name__ == "__main__":
    program()
