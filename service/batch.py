"""Jobs of one batch, which may be of several engines: after a swap a request still gets its own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request and the engine that it is for."""

    engine: Engine
    request: EngineRequest


def compute(jobs: Sequence[Job]) -> list[EngineAnswer]:
    """Answer every job, in order; jobs of one engine share a batch."""
    by_engine: defaultdict[Engine, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        by_engine[job.engine].append(index)
    answers: dict[int, EngineAnswer] = {}
    for engine, indices in by_engine.items():
        found = engine.recommend([jobs[index].request for index in indices])
        answers.update(zip(indices, found, strict=True))
    return [answers[index] for index in range(len(jobs))]
