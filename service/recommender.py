"""From a caller's wish to an answer: history, queue, computation, and back to the caller's own ids."""

import time
from typing import NamedTuple

import numpy as np

from index.catalogue import Catalogue
from service.answers import Interest, RecommendAnswer, RecommendedItem, Timings, WatchedItem
from service.batcher import Completed, MicroBatcher
from service.bundles import Bundles
from service.engine import Engine, EngineAnswer, EngineRequest, Job
from service.errors import (
    DeadlineExceededError,
    FieldFault,
    InvalidRequestError,
    OverloadedError,
    RequestRefusedError,
)
from service.explain import Explanation
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
        if wish.steps is not None and wish.steps > engine.most_steps:
            fault = f"the model in service takes at most {engine.most_steps} steps"
            raise InvalidRequestError([FieldFault("steps", fault)])
        known = await self._known(wish)
        job = Job(engine, _resolve(wish, known, engine))
        deadline_ms = wish.deadline_ms or self._settings.default_deadline_ms
        left_s = deadline_ms / 1000 - (time.perf_counter() - arrival.at)
        try:
            completed = await self._batcher.submit(job, left_s)
        except RequestRefusedError as refusal:
            self._metrics.refused.labels(_reason(refusal)).inc()
            raise
        answer = _answer(completed, engine, wish, known, arrival)
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


def _resolve(wish: RecommendRequest, known: _Known, engine: Engine) -> EngineRequest:
    """Turn ids into rows of the engine's catalogue, and fill in its defaults."""
    defaults, catalogue = engine.defaults, engine.catalogue
    history = known.stored if wish.history is None else wish.history
    left_out = list(wish.exclude)
    if wish.exclude_seen:
        left_out += [*known.stored, *(wish.history or ())]
    if wish.seed is not None:
        seed = wish.seed
    elif wish.user_id is not None:
        seed = engine.seed_for("user", wish.user_id)
    else:
        seed = engine.seed_for("history", *history)
    return EngineRequest(
        history=catalogue.rows(history),
        k=wish.k,
        excluded=np.unique(catalogue.rows(left_out)),
        categories=None if wish.categories is None else frozenset(wish.categories),
        diversity=defaults.diversity if wish.diversity is None else wish.diversity,
        draws=wish.draws or defaults.draws,
        interest_mode=wish.interest_mode or defaults.interest_mode,
        steps=wish.steps or defaults.steps,
        seed=seed,
        explain=wish.explain,
    )


def _answer(
    completed: Completed[EngineAnswer],
    engine: Engine,
    wish: RecommendRequest,
    known: _Known,
    arrival: Arrival,
) -> RecommendAnswer:
    computed, catalogue = completed.answer, engine.catalogue
    because = [_because(interest.explanation, catalogue) for interest in computed.interests]
    of_everyone: list[WatchedItem] | None = [] if wish.explain else None
    return RecommendAnswer(
        items=[
            RecommendedItem(
                item_id=catalogue.item_id(item.row),
                score=item.score,
                interest=item.interest,
                because=of_everyone if item.interest is None else because[item.interest],
                categories=list(catalogue.category(item.row)),
                title=catalogue.title(item.row),
            )
            for item in computed.items
        ],
        interests=[
            Interest(
                kind=interest.kind,
                weight=interest.weight,
                item_count=interest.item_count,
                top_categories=None
                if interest.explanation is None
                else list(interest.explanation.top_categories),
            )
            for interest in computed.interests
        ],
        source="personal" if computed.interests else "popularity",
        unknown_categories=catalogue.unknown_categories(wish.categories or ()),
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


def _because(explanation: Explanation | None, catalogue: Catalogue) -> list[WatchedItem] | None:
    if explanation is None:
        return None
    return [
        WatchedItem(item_id=catalogue.item_id(row), title=catalogue.title(row)) for row in explanation.because
    ]


def _reason(refusal: RequestRefusedError) -> str:
    if isinstance(refusal, OverloadedError):
        return "overloaded"
    return "deadline" if isinstance(refusal, DeadlineExceededError) else "closing"
