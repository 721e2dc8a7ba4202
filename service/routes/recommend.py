"""`POST /recommend` and `POST /recommend/batch`."""

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeGuard

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from engine.contract import fresh_items
from service.answers import Answer, encode, encode_batch
from service.catalogue.last_look import SPARE_ITEMS, answer_without_gone, settled
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
    service, info = service_of(request), info_of(request)
    catalogue, recommender = service.catalogue, service.recommender
    answer = await unless_caller_leaves(
        request,
        settled(
            catalogue,
            lambda spare: recommender.recommend(body, info, spare),
            lambda made: answer_without_gone(made, body.k, catalogue, _fresh(body, service)),
        ),
    )
    began = time.perf_counter()
    content = encode(answer)
    if info.trace is not None:
        info.trace.note("answer", began, time.perf_counter())
    return Response(content, media_type="application/json")


@router.post(
    "/recommend/batch", response_model=RecommendBatchResponse, responses=documented(400, 413, 415, 422, 503)
)
async def recommend_batch(request: Request, body: RecommendBatchRequest) -> Response:
    """Answer many requests, in their order; one that fails gets a problem there and spoils no other."""
    service, info = service_of(request), info_of(request)
    requests = list(map(_validated, body.requests))
    generation = service.catalogue.generation
    answers = await unless_caller_leaves(request, _answer_each(requests, service, info))
    began = time.perf_counter()
    content = await asyncio.to_thread(encode_batch, answers)  # megabytes, which others need not wait for
    if info.trace is not None:
        info.trace.note("answer", began, time.perf_counter())
    if service.catalogue.generation != generation:
        answers = await unless_caller_leaves(request, _settled_each(answers, requests, service, info))
        content = encode_batch(answers)  # the last look is no thread's
    statuses = [one.status if isinstance(one, Problem) else HTTPStatus.OK.value for one in answers]
    service.metrics.count_batch(request.scope["route"].path_format, statuses)
    return Response(content, media_type="application/json")


def _fresh(request: RecommendRequest, service: Service) -> int:
    """The number of items of the answer that are to be new or changed."""
    return fresh_items(request.fresh, request.k, service.engines.engine.defaults.fresh)


def _is_valid(request: object) -> TypeGuard[RecommendRequest]:
    return isinstance(request, RecommendRequest)


async def _settled_each(
    answers: Sequence[Answer | Problem],
    requests: Sequence[RecommendRequest | InvalidRequestError],
    service: Service,
    info: RequestInfo,
) -> list[Answer | Problem]:
    """The answers without items that were removed meanwhile.

    Those that had any are made again, and without them are as they are where that is refused.
    """
    looked = _without_gone(answers, requests, service)
    short = [index for index, (_, struck) in enumerate(looked) if struck]
    if short:
        made = await _answer_each([requests[index] for index in short], service, info, SPARE_ITEMS)
        again = {index: one for index, one in zip(short, made, strict=True) if isinstance(one, Answer)}
        latest = [again.get(index, answer) for index, answer in enumerate(answers)]
        looked = _without_gone(latest, requests, service)
    return [answer for answer, _ in looked]


def _without_gone(
    answers: Sequence[Answer | Problem],
    requests: Sequence[RecommendRequest | InvalidRequestError],
    service: Service,
) -> list[tuple[Answer | Problem, int]]:
    """Each answer cut to what was asked for, without items that are gone by now, and the number of these."""
    return [
        answer_without_gone(answer, request.k, service.catalogue, _fresh(request, service))
        if isinstance(answer, Answer) and _is_valid(request)
        else (answer, 0)
        for answer, request in zip(answers, requests, strict=True)
    ]


async def _answer_each(
    requests: Sequence[RecommendRequest | InvalidRequestError],
    service: Service,
    info: RequestInfo,
    spare: int = 0,
) -> list[Answer | Problem]:
    results: list[RecommendRequest | Answer | BaseException] = list(requests)
    valid = [(index, one) for index, one in enumerate(results) if isinstance(one, RecommendRequest)]
    if valid:
        answers = await service.recommender.recommend_each([request for _, request in valid], info, spare)
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
