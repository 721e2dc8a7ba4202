"""For operators: probes, metrics, versions, and swapping bundles."""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from bundle.errors import BundleError
from bundle.facts import IndexFacts
from service.dependencies import Service, TheService
from service.errors import NotReadyError, ServiceError
from service.fleet import Swap
from service.problems import documented
from service.replicas.presence import WAIT_S
from service.responses import (
    Defaults,
    HealthResponse,
    IndexResponse,
    ProcessResponse,
    SwapResponse,
    VersionResponse,
    WorkerResponse,
)

router = APIRouter(tags=["operations"])
admin = APIRouter(prefix="/admin", tags=["operations"])

log = structlog.get_logger("dimerec.bundles")

_GOES_ON: dict[int | str, dict[str, Any]] = {
    202: {
        "model": SwapResponse,
        "description": "It takes longer, and goes on: `GET /version` shows what came of it",
    }
}
_swaps: set[asyncio.Task[Swap]] = set()  # the loop itself keeps no task alive
STALLED_AFTER_S = 60.0
"""A batch that computes for this long will not end: the longest deadline that a request may have."""


@router.get("/health/live")
async def live() -> HealthResponse:
    """Liveness of the process; restart it when it does not answer."""
    return HealthResponse(status="live")


@router.get("/health/ready", responses=documented(503))
async def ready(service: TheService) -> HealthResponse:
    """Readiness for requests: a bundle is loaded and the engine's thread is not stuck.

    A Redis that is gone does not count unless the settings say so: answers are then degraded, not missing.
    """
    if not service.batcher.alive(STALLED_AFTER_S):
        raise NotReadyError("the engine is stuck or shutting down: send requests to another replica")
    reason = service.catalogue.unfit(service.engines.engine)
    if reason is not None:
        raise NotReadyError(f"an answer may have what was removed: {reason}")
    bound_s = service.settings.catalogue_max_staleness_s
    if bound_s is not None and service.follower is not None and service.follower.is_silent(bound_s):
        raise NotReadyError(
            "Redis does not tell of changes of the catalogue, and an answer may have what was removed: "
            "send requests to another replica"
        )
    return HealthResponse(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def metrics(service: TheService) -> Response:
    """Counters and histograms for Prometheus."""
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version", responses=documented(503))
async def version(request: Request, service: TheService) -> VersionResponse:
    """The service and the bundle that are running, and the values of fields that a request leaves out."""
    engine = service.engines.engine
    manifest, defaults = engine.manifest, engine.defaults
    return VersionResponse(
        service=request.app.version,
        model_version=engine.version,
        created=manifest.created.isoformat(),
        source_revision=manifest.source_revision,
        refit=manifest.refit,
        data_fingerprint=manifest.data_fingerprint,
        metrics=manifest.metrics,
        items=len(engine),
        max_steps=engine.max_steps,
        defaults=Defaults(
            draws=defaults.draws,
            steps=defaults.steps,
            interest_mode=defaults.interest_mode,
            diversity=defaults.diversity,
            fresh=defaults.fresh,
        ),
        history_store=service.history_kind,
        index_kind=engine.searches_by,
        index=_index(manifest.index),
        attributes=dict(engine.attribute_types),
        workers=await _workers(service),
        processes=await _processes(service),
    )


@admin.post("/reload", responses={**documented(409, 503), **_GOES_ON})
async def reload(service: TheService, response: Response) -> SwapResponse:
    """Serve the bundle that CURRENT names, in every worker; requests in flight finish with the old one.

    Other replicas with the same Redis follow, where they have the bundle.
    """
    return await _swapped(service.fleet.reload(), service, response)


@admin.post("/rollback", responses={**documented(409, 503), **_GOES_ON})
async def rollback(service: TheService, response: Response) -> SwapResponse:
    """Serve the bundle published before the one in service, and make it CURRENT.

    Other replicas with the same Redis follow, where they have the bundle.
    """
    return await _swapped(service.fleet.rollback(), service, response)


async def _swapped(swapping: Coroutine[Any, Any, Swap], service: Service, response: Response) -> SwapResponse:
    """The outcome, once every process has it or cannot have it, or as it is after a while.

    A process alone is waited for, however long it loads.
    """
    before = service.fleet.version
    task = asyncio.create_task(swapping)
    _swaps.add(task)
    task.add_done_callback(_swaps.discard)
    try:
        async with asyncio.timeout(None if service.follower is None else WAIT_S):
            swap = await asyncio.shield(task)
            if swap.ordered_ms is not None:
                await service.presence.obeyed(swap.ordered_ms)
    except TimeoutError:
        if task.done():  # others were waited for
            swap = task.result()
        else:
            task.add_done_callback(_note_failure)
            response.status_code = HTTPStatus.ACCEPTED
            swap = Swap(before, before)
    return await _response(swap, service)


def _note_failure(swap: asyncio.Task[Swap]) -> None:
    """Tell of the end of a swap that nobody waits for any more, where it is a bad one."""
    error = None if swap.cancelled() else swap.exception()
    if error is not None:
        expected = isinstance(error, BundleError | ServiceError)
        log.error("bundle kept", reason=str(error), exc_info=None if expected else error)


def _index(facts: IndexFacts | None) -> IndexResponse | None:
    if facts is None:
        return None
    return IndexResponse(kind=facts.kind, target=facts.target, recall=facts.recall, effort=facts.effort)


async def _response(swap: Swap, service: Service) -> SwapResponse:
    return SwapResponse(
        previous_version=swap.previous,
        model_version=swap.current,
        changed=swap.previous != swap.current,
        workers=await _workers(service),
        processes=await _processes(service),
    )


async def _workers(service: Service) -> list[WorkerResponse]:
    return [
        WorkerResponse(pid=worker.pid, model_version=worker.version)
        for worker in await service.fleet.workers()
    ]


async def _processes(service: Service) -> list[ProcessResponse] | None:
    found = await service.presence.processes()
    if found is None:
        return None
    return [
        ProcessResponse(
            host=process.host,
            pid=process.pid,
            model_version=process.version,
            sequence=process.sequence,
            missing=process.missing,
        )
        for process in found
    ]
