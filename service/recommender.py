"""From a request to its response: history, queue, computation."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from engine.contract import NO_NOVELTY, EngineAnswer, ScoredItem
from engine.engine import Engine
from index.filters import Filter
from service.answers import Answer, Timings
from service.batch import Job, JobAnswer, SimilarRequest
from service.batcher import Completed, MicroBatcher
from service.budget import Budget
from service.catalogue.following import Follower
from service.engines import Engines
from service.errors import FieldFault, InvalidRequestError, RequestRefusedError, UnknownItemError
from service.filter_text import check_filter
from service.history.meanings import Meanings
from service.history.protocol import HistoryStore
from service.history.reading import NOBODY, HistoryReader, Known
from service.requests import RecommendRequest
from service.responses import Fault
from service.settings import Settings
from service.telemetry import Metrics
from service.trace import Trace, note_computation

Batcher = MicroBatcher[Job, JobAnswer]


class RequestInfo(NamedTuple):
    """Moment of a request's arrival (`time.perf_counter`, s), and its id in logs and responses."""

    at: float
    request_id: str
    caller: str = ""
    """Whose share of the queue it waits in."""
    deadline_ms: int | None = None
    """As its header says."""
    key: str = "anonymous"
    """The name of the caller's key, whom metrics charge."""
    trace: Trace | None = None
    """None: it is not traced."""

    def left_s(self, deadline_ms: int) -> float:
        """The time that is left until a deadline counted from the arrival."""
        return deadline_ms / 1000 - (time.perf_counter() - self.at)


HISTORY_SHARE = 0.75
"""Part of the time that a deadline leaves beside queue and computation, in which a history is waited for."""


class Recommender:
    """Answers what the engine computes. Nothing here blocks: Redis by asyncio, computation in a thread."""

    def __init__(
        self,
        engines: Engines,
        history: HistoryStore,
        batcher: Batcher,
        metrics: Metrics,
        settings: Settings,
        meanings: Meanings,
        follower: Follower | None = None,
    ) -> None:
        self._engines = engines
        self._histories = HistoryReader(history, metrics, settings.history_max_events, meanings)
        self._batcher = batcher
        self._metrics = metrics
        self._settings = settings
        self._follower = follower
        self._budget = Budget(settings.max_request_cost, settings.max_batch_cost)

    async def recommend(self, request: RecommendRequest, info: RequestInfo, spare: int = 0) -> Answer:
        """Answer one request, with `spare` items more than it asks for: they are no cost of the caller's.

        Raises InvalidRequestError when the bundle cannot do what is asked, and RequestRefusedError.
        A history store that fails only weakens the answer.
        """
        engine = self._engines.engine
        cost = self._cost(request, engine)
        left_s = info.left_s(self._deadline_ms(request, info))
        self._admit(left_s, cost, info)
        known = await self._known([request], left_s, cost, info)
        answer = await self._recommended(request, engine, _of(request, known), cost, info, spare)
        if info.trace is not None:
            degraded = answer.degraded or ""
            info.trace.describe(model_version=answer.model_version, source=answer.source, degraded=degraded)
        return answer

    async def recommend_each(
        self, requests: Sequence[RecommendRequest], info: RequestInfo, spare: int = 0
    ) -> list[Answer | BaseException]:
        """Answer many requests, each by its response or what `recommend` would raise for it alone.

        Their histories are read in one call, for as long as the first deadline allows. Raises TooCostlyError
        where they cost too much together.
        """
        engine = self._engines.engine
        costs = [self._cost_or_fault(request, engine) for request in requests]
        known_costs = [cost for cost in costs if isinstance(cost, float)]
        self._budget.check_batch(known_costs)
        if info.trace is not None:
            info.trace.describe(model_version=engine.version, requests=len(requests))
        left_s = min(info.left_s(self._deadline_ms(request, info)) for request in requests)
        known = await self._known(requests, left_s, sum(known_costs), info)

        async def answer(request: RecommendRequest, cost: float | InvalidRequestError) -> Answer:
            if isinstance(cost, InvalidRequestError):
                raise cost
            self._admit(info.left_s(self._deadline_ms(request, info)), cost, info)
            return await self._recommended(request, engine, _of(request, known), cost, info, spare)

        return await asyncio.gather(*map(answer, requests, costs), return_exceptions=True)

    async def similar(
        self, item_id: str, k: int, where: Filter | None, info: RequestInfo, spare: int = 0
    ) -> tuple[Engine, list[ScoredItem]]:
        """The `k` items nearest to an item that `where` lets through, `spare` more, and who found them.

        Raises UnknownItemError, InvalidRequestError and RequestRefusedError.
        """
        engine = self._engines.engine
        if engine.describe(item_id) is None:
            raise UnknownItemError("the catalogue in service has no item of this id")
        if where is not None:
            check_filter(where, engine)
        cost = self._budget.similar_cost(k, where, engine.costs)
        left_s = info.left_s(info.deadline_ms or self._settings.default_deadline_ms)
        self._admit(left_s, cost, info)
        job = Job(engine, SimilarRequest(item_id, k + spare, where))
        completed = await self._computed(job, left_s, cost, info)
        if completed.answer is None:  # it was removed while the call waited
            raise UnknownItemError("the catalogue in service has no item of this id")
        return engine, cast("list[ScoredItem]", completed.answer)

    def _deadline_ms(self, request: RecommendRequest, info: RequestInfo) -> int:
        """The earlier one of the request's and its header's, else the default."""
        given = [ms for ms in (request.deadline_ms, info.deadline_ms) if ms is not None]
        return min(given, default=self._settings.default_deadline_ms)

    def _cost(self, request: RecommendRequest, engine: Engine) -> float:
        _check(request, engine)
        return self._budget.cost(request.to_engine(()), engine.costs)

    def _cost_or_fault(self, request: RecommendRequest, engine: Engine) -> float | InvalidRequestError:
        try:
            return self._cost(request, engine)
        except InvalidRequestError as fault:
            return fault

    def _admit(self, left_s: float, cost: float, info: RequestInfo) -> None:
        try:
            self._batcher.admit(left_s, cost, info.caller)
        except RequestRefusedError as refusal:
            self._metrics.refuse(refusal)
            raise

    async def _known(
        self, requests: Sequence[RecommendRequest], left_s: float, cost: float, info: RequestInfo
    ) -> dict[str, Known]:
        """The histories of the requests' users, as far as they can be read in time."""
        users = {request.user_id: None for request in requests if request.user_id is not None}
        if not users:
            return {}
        within_s = HISTORY_SHARE * (left_s - self._batcher.predicted_s(cost, info.caller))
        began = time.perf_counter()
        with self._batcher.expecting(cost):
            known = await self._histories.read(users, within_s)
        if info.trace is not None:
            info.trace.note("history", began, time.perf_counter(), users=len(users))
        return known

    async def _recommended(
        self,
        request: RecommendRequest,
        engine: Engine,
        known: Known,
        cost: float,
        info: RequestInfo,
        spare: int,
    ) -> Answer:
        left_s = info.left_s(self._deadline_ms(request, info))
        asked = request.to_engine(known.stored, known.negative)
        job = Job(engine, replace(asked, k=asked.k + spare) if spare else asked)
        completed = await self._computed(job, left_s, cost, info)
        fault = known.fault or self._catalogue_fault()
        answer = _answer(cast("Completed[EngineAnswer]", completed), engine, fault, info)
        self._observe(answer)
        return answer

    def _catalogue_fault(self) -> Fault | None:
        stale = self._follower is not None and self._follower.is_stale
        return "catalogue_stale" if stale else None

    async def _computed(
        self, job: Job, left_s: float, cost: float, info: RequestInfo
    ) -> Completed[JobAnswer]:
        try:
            completed = await self._batcher.submit(job, left_s, cost=cost, caller=info.caller)
        except RequestRefusedError as refusal:
            self._metrics.refuse(refusal)
            raise
        self._metrics.spend(info.key, cost)
        if info.trace is not None:
            note_computation(info.trace, completed)
        return completed

    def _observe(self, answer: Answer) -> None:
        self._metrics.observe_stage("queue", answer.timings_ms.queue)
        self._metrics.observe_stage("model", answer.timings_ms.model)
        self._metrics.observe_stage("search", answer.timings_ms.search)
        categories = {category for item in answer.items for category in item.categories}
        self._metrics.count_answer(answer.source, answer.degraded, len(categories))


def _check(request: RecommendRequest, engine: Engine) -> None:
    if request.steps is not None and request.steps > engine.max_steps:
        fault = f"the model in service takes at most {engine.max_steps} steps"
        raise InvalidRequestError([FieldFault("steps", fault)])
    if request.novelty and not engine.offers_novelty:
        raise InvalidRequestError([FieldFault("novelty", NO_NOVELTY)])
    if request.where is not None:
        check_filter(request.where.filter, engine)


def _of(request: RecommendRequest, known: Mapping[str, Known]) -> Known:
    return NOBODY if request.user_id is None else known[request.user_id]


def _answer(
    completed: Completed[EngineAnswer], engine: Engine, fault: Fault | None, info: RequestInfo
) -> Answer:
    computed = completed.answer
    return Answer(
        items=computed.items,
        interests=computed.interests,
        source=computed.source,
        unknown_categories=computed.unknown_categories,
        fresh_missing=computed.fresh_missing,
        model_version=engine.version,
        request_id=info.request_id,
        degraded=fault,
        timings_ms=Timings(
            queue=round(completed.queue_ms, 3),
            model=round(computed.model_ms, 3),
            search=round(computed.search_ms, 3),
            total=round(1000 * (time.perf_counter() - info.at), 3),
        ),
    )
