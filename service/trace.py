"""One request as its trace sees it; `service/tracing.py` says where traces come from.

Whoever does a part of the work notes when it began and ended. Where nothing is traced, which is the default,
there is no Trace, and a comparison with None is all that it costs.
"""

import time
from typing import Any, Literal, Protocol

from engine.contract import EngineAnswer
from service.batcher import Completed

Part = Literal["admission", "validation", "history", "queue", "model", "search", "answer"]
"""A stage of a request, in the order in which it goes through them; each becomes a span."""


class Trace(Protocol):
    """Takes notes about one request. Moments are those of `time.perf_counter`."""

    def note(self, part: Part, began: float, ended: float, **facts: str | int) -> None:
        """Note a stage; the same part that ends at the same moment is noted once, as for a whole batch."""
        ...

    def describe(self, **facts: str | int) -> None:
        """Note facts about the request as a whole. None of them may be about the user."""
        ...


def note_computation(trace: Trace, completed: Completed[Any]) -> None:
    """Note the stages from the queue on of a request that has just been computed, with others in a batch."""
    started, answer = completed.started, completed.answer
    trace.note("queue", started - completed.queue_ms / 1000, started)
    if isinstance(answer, EngineAnswer):
        modelled = started + answer.model_ms / 1000
        trace.note("model", started, modelled, batch_size=completed.batch_size)
        trace.note("search", modelled, modelled + answer.search_ms / 1000)
    else:
        trace.note("search", started, time.perf_counter(), batch_size=completed.batch_size)
