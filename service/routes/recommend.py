"""`POST /recommend` and `POST /recommend/batch`."""

import asyncio
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from fastapi import APIRouter, Depends, Request

from service.answers import Problem, RecommendAnswer, RecommendBatchAnswer
from service.dependencies import Service, TheArrival, TheService, require_json
from service.errors import ClientLeftError
from service.problems import documented, problem_of
from service.recommender import Arrival
from service.schemas import RecommendBatchRequest, RecommendRequest

log = structlog.get_logger("dimerec.recommend")
router = APIRouter(tags=["recommend"], dependencies=[Depends(require_json)])

Result = TypeVar("Result")


@router.post("/recommend", responses=documented(400, 413, 415, 422, 503, 504))
async def recommend(
    wish: RecommendRequest, request: Request, service: TheService, arrival: TheArrival
) -> RecommendAnswer:
    """Recommend items to a user, by stored history, by a history given here, or by popularity."""
    return await _unless_caller_leaves(request, service.recommender.recommend(wish, arrival))


@router.post("/recommend/batch", responses=documented(400, 413, 415, 422))
async def recommend_batch(
    wishes: RecommendBatchRequest, request: Request, service: TheService, arrival: TheArrival
) -> RecommendBatchAnswer:
    """Answer many requests, each in its place; one that fails gets a problem there and spoils no other."""
    return await _unless_caller_leaves(request, _answer_each(wishes.requests, service, arrival))


async def _answer_each(wishes: Sequence[Any], service: Service, arrival: Arrival) -> RecommendBatchAnswer:
    async def answer(wish: Any) -> RecommendAnswer:
        return await service.recommender.recommend(RecommendRequest.model_validate(wish), arrival)

    results = await asyncio.gather(*map(answer, wishes), return_exceptions=True)
    return RecommendBatchAnswer(answers=[_told(result, arrival) for result in results])


def _told(result: RecommendAnswer | BaseException, arrival: Arrival) -> RecommendAnswer | Problem:
    if isinstance(result, RecommendAnswer):
        return result
    if not isinstance(result, Exception):
        raise result
    problem = problem_of(result, arrival.request_id)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request of a batch failed", exc_info=result)
    return problem


async def _unless_caller_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled, and so leaves the queue, when the caller hangs up."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError("the caller closed the connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
