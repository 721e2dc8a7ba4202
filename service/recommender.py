"""From a caller's wish to an answer: history, queue, computation, and back to the caller's own ids."""

import time
from typing import NamedTuple

from engine.contract import AnsweredInterest, EngineAnswer, EngineRequest, RecommendedItem
from engine.engine import Engine
from service import answers
from service.answers import RecommendAnswer, Timings
from service.batch import Job
from service.batcher import Completed, MicroBatcher
from service.bundles import Bundles
from service.errors import (
    DeadlineExceededError,
    FieldFault,
    InvalidRequestError,
    OverloadedError,
    RequestRefusedError,
)
from service.history.errors import HistoryUnavailable
from service.history.protocol import HistoryStore
from service.schemas import RecommendRequest
from service.settings import Settings
from service.telemetry import Metrics

Batcher = MicroBatcher[Job, EngineAnswer]


class Arrival(NamedTuple):
    """When a request came (`time.perf_counter`, s) and what it is called in logs and answers."""

    at: float
    request_id: str


class _Known(NamedTuple):
    """What is known of the user: items watched, oldest first, and whether the store failed to say."""

    stored: list[str]
    unavailable: bool


class Recommender:
    """Answers `/recommend`. Nothing here blocks: Redis by asyncio, computation in a thread."""

    def __init__(
        self,
        bundles: Bundles,
        history: HistoryStore,
        batcher: Batcher,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._bundles = bundles
        self._history = history
        self._batcher = batcher
        self._metrics = metrics
        self._settings = settings

    async def recommend(self, wish: RecommendRequest, arrival: Arrival) -> RecommendAnswer:
        """Answer one request.

        Raises InvalidRequestError when the bundle cannot do what is asked, and RequestRefusedError.
        A history store that fails only weakens the answer.
        """
        engine = self._bundles.engine
        if wish.steps is not None and wish.steps > engine.max_steps:
            fault = f"the model in service takes at most {engine.max_steps} steps"
            raise InvalidRequestError([FieldFault("steps", fault)])
        known = await self._known(wish)
        job = Job(engine, _asked(wish, known))
        deadline_ms = wish.deadline_ms or self._settings.default_deadline_ms
        left_s = deadline_ms / 1000 - (time.perf_counter() - arrival.at)
        try:
            completed = await self._batcher.submit(job, left_s)
        except RequestRefusedError as refusal:
            self._metrics.refused.labels(_reason(refusal)).inc()
            raise
        answer = _answer(completed, engine, known, arrival)
        self._observe(answer)
        return answer

    async def _known(self, wish: RecommendRequest) -> _Known:
        """Read the stored history, where it is needed: as the model's input or as what was seen."""
        if wish.user_id is None or (wish.history is not None and not wish.exclude_seen):
            return _Known([], unavailable=False)
        started = time.perf_counter()
        try:
            with self._metrics.counting_history_errors("read"):
                events = await self._history.read(wish.user_id, self._settings.history_max_events)
        except HistoryUnavailable:
            return _Known([], unavailable=True)
        finally:
            self._metrics.observe_stage("history", 1000 * (time.perf_counter() - started))
        return _Known([event.item_id for event in events], unavailable=False)

    def _observe(self, answer: RecommendAnswer) -> None:
        self._metrics.observe_stage("queue", answer.timings_ms.queue)
        self._metrics.observe_stage("model", answer.timings_ms.model)
        self._metrics.observe_stage("search", answer.timings_ms.search)
        self._metrics.answers.labels(answer.source).inc()
        if answer.degraded:
            self._metrics.degraded.labels(answer.degraded).inc()


def _asked(wish: RecommendRequest, known: _Known) -> EngineRequest:
    """What the engine is asked; an inline history replaces the stored one, and both were seen."""
    excluded = list(wish.exclude)
    if wish.exclude_seen:
        excluded += [*known.stored, *(wish.history or ())]
    return EngineRequest(
        user_id=wish.user_id,
        history=known.stored if wish.history is None else wish.history,
        k=wish.k,
        excluded=excluded,
        categories=wish.categories,
        diversity=wish.diversity,
        draws=wish.draws,
        interest_mode=wish.interest_mode,
        steps=wish.steps,
        seed=wish.seed,
        explain=wish.explain,
    )


def _answer(
    completed: Completed[EngineAnswer], engine: Engine, known: _Known, arrival: Arrival
) -> RecommendAnswer:
    computed = completed.answer
    return RecommendAnswer(
        items=list(map(_item, computed.items)),
        interests=list(map(_interest, computed.interests)),
        source=computed.source,
        unknown_categories=computed.unknown_categories,
        model_version=engine.version,
        request_id=arrival.request_id,
        degraded="history_unavailable" if known.unavailable else None,
        timings_ms=Timings(
            queue=round(completed.queue_ms, 3),
            model=round(computed.model_ms, 3),
            search=round(computed.search_ms, 3),
            total=round(1000 * (time.perf_counter() - arrival.at), 3),
        ),
    )


def _item(item: RecommendedItem) -> answers.RecommendedItem:
    because = item.because
    return answers.RecommendedItem(
        item_id=item.item_id,
        score=item.score,
        interest=item.interest,
        because=None
        if because is None
        else [answers.WatchedItem(item_id=watched.item_id, title=watched.title) for watched in because],
        categories=list(item.categories),
        title=item.title,
    )


def _interest(interest: AnsweredInterest) -> answers.Interest:
    return answers.Interest(
        kind=interest.kind,
        weight=interest.weight,
        item_count=interest.item_count,
        top_categories=None if interest.top_categories is None else list(interest.top_categories),
    )


def _reason(refusal: RequestRefusedError) -> str:
    if isinstance(refusal, OverloadedError):
        return "overloaded"
    return "deadline" if isinstance(refusal, DeadlineExceededError) else "closing"
