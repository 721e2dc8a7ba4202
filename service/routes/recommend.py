"""`POST /recommend` and `POST /recommend/batch`."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service.answers import Answer, encode, encode_batch
from service.dependencies import Service, info_of, service_of
from service.errors import InvalidRequestError
from service.leaving import unless_caller_leaves
from service.problems import documented, faults_of, problem_of
from service.recommender import RequestInfo
from service.requests import RecommendBatchRequest, RecommendRequest
from service.responses import Problem, RecommendBatchResponse, RecommendResponse
from service.routes.json_route import JsonRoute

log = structlog.get_logger("dimerec.recommend")
router = APIRouter(tags=["recommend"], route_class=JsonRoute)


@router.post(
    "/recommend", response_model=RecommendResponse, responses=documented(400, 413, 415, 422, 503, 504)
)
async def recommend(request: Request, body: RecommendRequest) -> Response:
    """Recommend items to a user, by stored history, by a history given here, or by popularity."""
    recommender = service_of(request).recommender
    answer = await unless_caller_leaves(request, recommender.recommend(body, info_of(request)))
    return Response(encode(answer), media_type="application/json")


@router.post(
    "/recommend/batch", response_model=RecommendBatchResponse, responses=documented(400, 413, 415, 422, 503)
)
async def recommend_batch(request: Request, body: RecommendBatchRequest) -> Response:
    """Answer many requests, in their order; one that fails gets a problem there and spoils no other."""
    service, info = service_of(request), info_of(request)
    answers = await unless_caller_leaves(request, _answer_each(body.requests, service, info))
    statuses = [one.status if isinstance(one, Problem) else HTTPStatus.OK.value for one in answers]
    service.metrics.count_batch(request.scope["route"].path_format, statuses)
    content = await asyncio.to_thread(encode_batch, answers)  # megabytes, which others need not wait for
    return Response(content, media_type="application/json")


async def _answer_each(
    requests: Sequence[Any], service: Service, info: RequestInfo
) -> list[Answer | Problem]:
    results: list[RecommendRequest | Answer | BaseException] = list(map(_validated, requests))
    valid = [(index, one) for index, one in enumerate(results) if isinstance(one, RecommendRequest)]
    if valid:
        answers = await service.recommender.recommend_each([request for _, request in valid], info)
        for (index, _), answer in zip(valid, answers, strict=True):
            results[index] = answer
    return [_answer_or_problem(result, info) for result in results]


def _validated(request: Any) -> RecommendRequest | InvalidRequestError:
    try:
        return RecommendRequest.model_validate(request)
    except ValidationError as error:
        return InvalidRequestError(faults_of(error))


def _answer_or_problem(result: object, info: RequestInfo) -> Answer | Problem:
    if isinstance(result, Answer):
        return result
    if not isinstance(result, Exception):
        raise result if isinstance(result, BaseException) else TypeError(result)
    problem = problem_of(result, info.request_id)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request of a batch failed", exc_info=result)
    return problem
