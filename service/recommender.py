"""From a request to its response: history, queue, computation."""

import time
from typing import NamedTuple

from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from service.answers import Answer, Timings
from service.batch import Job
from service.batcher import Completed, MicroBatcher
from service.engines import Engines
from service.errors import (
    DeadlineExceededError,
    FieldFault,
    InvalidRequestError,
    OverloadedError,
    RequestRefusedError,
)
from service.history.errors import HistoryUnavailableError
from service.history.protocol import HistoryStore
from service.requests import RecommendRequest
from service.settings import Settings
from service.telemetry import Metrics

Batcher = MicroBatcher[Job, EngineAnswer]


class RequestInfo(NamedTuple):
    """Moment of a request's arrival (`time.perf_counter`, s), and its id in logs and responses."""

    at: float
    request_id: str


class _Known(NamedTuple):
    """Facts about the user: items watched, oldest first, and whether the store failed to say."""

    stored: list[str]
    unavailable: bool


class Recommender:
    """Answers `/recommend`. Nothing here blocks: Redis by asyncio, computation in a thread."""

    def __init__(
        self,
        engines: Engines,
        history: HistoryStore,
        batcher: Batcher,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._engines = engines
        self._history = history
        self._batcher = batcher
        self._metrics = metrics
        self._settings = settings

    async def recommend(self, request: RecommendRequest, info: RequestInfo) -> Answer:
        """Answer one request.

        Raises InvalidRequestError when the bundle cannot do what is asked, and RequestRefusedError.
        A history store that fails only weakens the answer.
        """
        engine = self._engines.engine
        if request.steps is not None and request.steps > engine.max_steps:
            fault = f"the model in service takes at most {engine.max_steps} steps"
            raise InvalidRequestError([FieldFault("steps", fault)])
        known = await self._known(request)
        job = Job(engine, _asked(request, known))
        deadline_ms = request.deadline_ms or self._settings.default_deadline_ms
        left_s = deadline_ms / 1000 - (time.perf_counter() - info.at)
        try:
            completed = await self._batcher.submit(job, left_s)
        except RequestRefusedError as refusal:
            self._metrics.refused.labels(_reason(refusal)).inc()
            raise
        answer = _answer(completed, engine, known, info)
        self._observe(answer)
        return answer

    async def _known(self, request: RecommendRequest) -> _Known:
        """Read the stored history, where it is needed: as the model's input or as what was seen."""
        if request.user_id is None or (request.history is not None and not request.exclude_seen):
            return _Known([], unavailable=False)
        started = time.perf_counter()
        try:
            events = await self._history.read(request.user_id, self._settings.history_max_events)
        except HistoryUnavailableError:
            return _Known([], unavailable=True)
        finally:
            self._metrics.observe_stage("history", 1000 * (time.perf_counter() - started))
        return _Known([event.item_id for event in events], unavailable=False)

    def _observe(self, answer: Answer) -> None:
        self._metrics.observe_stage("queue", answer.timings_ms.queue)
        self._metrics.observe_stage("model", answer.timings_ms.model)
        self._metrics.observe_stage("search", answer.timings_ms.search)
        self._metrics.answers.labels(answer.source).inc()
        if answer.degraded:
            self._metrics.degraded.labels(answer.degraded).inc()


def _asked(request: RecommendRequest, known: _Known) -> EngineRequest:
    """The request to the engine; an inline history replaces the stored one, and both were seen."""
    excluded = list(request.exclude)
    if request.exclude_seen:
        excluded += [*known.stored, *(request.history or ())]
    return EngineRequest(
        user_id=request.user_id,
        history=known.stored if request.history is None else request.history,
        k=request.k,
        excluded=excluded,
        categories=request.categories,
        diversity=request.diversity,
        draws=request.draws,
        interest_mode=request.interest_mode,
        steps=request.steps,
        seed=request.seed,
        explain=request.explain,
    )


def _answer(completed: Completed[EngineAnswer], engine: Engine, known: _Known, info: RequestInfo) -> Answer:
    computed = completed.answer
    return Answer(
        items=computed.items,
        interests=computed.interests,
        source=computed.source,
        unknown_categories=computed.unknown_categories,
        model_version=engine.version,
        request_id=info.request_id,
        degraded="history_unavailable" if known.unavailable else None,
        timings_ms=Timings(
            queue=round(completed.queue_ms, 3),
            model=round(computed.model_ms, 3),
            search=round(computed.search_ms, 3),
            total=round(1000 * (time.perf_counter() - info.at), 3),
        ),
    )


def _reason(refusal: RequestRefusedError) -> str:
    if isinstance(refusal, OverloadedError):
        return "overloaded"
    return "deadline" if isinstance(refusal, DeadlineExceededError) else "closing"
