"""`POST /recommend` and `POST /recommend/batch`."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from fastapi import APIRouter, Depends, Request

from service.dependencies import Service, TheArrival, TheService, require_json
from service.errors import ClientLeft, ServiceError
from service.problems import documented, problem_of
from service.recommender import Arrival
from service.schemas import (
    Problem,
    RecommendAnswer,
    RecommendBatchAnswer,
    RecommendBatchRequest,
    RecommendRequest,
)

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
    answering = asyncio.gather(*(_answer_or_problem(wish, service, arrival) for wish in wishes.requests))

    async def all_answers() -> RecommendBatchAnswer:
        return RecommendBatchAnswer(answers=await answering)

    return await _unless_caller_leaves(request, all_answers())


async def _answer_or_problem(wish: Any, service: Service, arrival: Arrival) -> RecommendAnswer | Problem:
    try:
        return await service.recommender.recommend(RecommendRequest.model_validate(wish), arrival)
    except (ValueError, ServiceError) as error:
        return problem_of(error, arrival.request_id)


async def _unless_caller_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled, and so leaves the queue, when the caller hangs up."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft("the caller closed the connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
