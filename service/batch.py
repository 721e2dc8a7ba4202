"""Jobs of one batch: of several kinds, and of several engines, since after a swap a request keeps its own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from engine.contract import EngineAnswer, EngineRequest, ScoredItem
from engine.engine import Engine
from index.filters import Filter


@dataclass(frozen=True, slots=True)
class SimilarRequest:
    """The `k` items nearest to an item that `where` lets through."""

    item_id: str
    k: int
    where: Filter | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request and the engine that it is for."""

    engine: Engine
    request: EngineRequest | SimilarRequest


JobAnswer = EngineAnswer | list[ScoredItem] | None
"""Of an EngineRequest, or of a SimilarRequest: None for an item that the catalogue does not have."""


def compute(jobs: Sequence[Job]) -> list[JobAnswer]:
    """Answer every job, in order; recommendations of one engine share a batch."""
    by_engine: defaultdict[Engine, list[tuple[int, EngineRequest]]] = defaultdict(list)
    answers: dict[int, JobAnswer] = {}
    for index, job in enumerate(jobs):
        if isinstance(job.request, EngineRequest):
            by_engine[job.engine].append((index, job.request))
        else:
            answers[index] = job.engine.similar(job.request.item_id, job.request.k, job.request.where)
    for engine, requests in by_engine.items():
        found = engine.recommend([request for _, request in requests])
        answers.update(zip([index for index, _ in requests], found, strict=True))
    return [answers[index] for index in range(len(jobs))]
