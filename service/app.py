"""Puts the service together. Nothing is made at import; every app has its own parts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Literal

import torch
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service import problems
from service.access.guard import Guard
from service.access.hosts import AllowedHosts
from service.access.keyring import Keyring
from service.access.openapi import with_security
from service.access.rates import Rates
from service.access.roles import RouteRoles
from service.admission import Admission, Door, Way
from service.background import Task, begun
from service.batch import Job, JobAnswer, compute
from service.batcher import MicroBatcher
from service.bodies import RequestBody
from service.catalogue.changes import CatalogueChanges
from service.catalogue.following import Follower
from service.catalogue.late_removals import LateRemovals
from service.catalogue.live import LiveCatalogue
from service.catalogue.opening import open_log
from service.catalogue.room import Room
from service.catalogue.whole_log import WholeLog
from service.dependencies import Service
from service.engines import Engines
from service.errors import StartupError
from service.fleet import Fleet
from service.history.in_process import InProcessHistory
from service.history.meanings import Meanings
from service.history.observed import ObservedHistory
from service.history.opening import open_delivery, open_history
from service.history.protocol import HistoryStore
from service.history.writing import HistoryWriter
from service.log_writer import STDERR
from service.middleware import Head, PathPrefix, RequestContext
from service.recommender import Recommender
from service.replicas.joining import alone, join
from service.routes import catalogue as catalogue_routes
from service.routes import catalogue_log, console, events, items, operations, recommend, users
from service.routes.json_route import ShortWay
from service.settings import Settings
from service.spool.spool import Spool
from service.spool.writes import HistoryWrites, SpooledWrites
from service.telemetry import Metrics
from service.tracing import open_tracing
from service.trending.shared import SharedCounts
from service.trending.trending import Trending, TrendingEvents
from service.vitals import watch_catalogue, watch_parts, watch_trending
from service.watching import watch_current

if TYPE_CHECKING:
    from service.otel import Tracing

_DESCRIPTION = """
Recommends the videos that a user is likely to watch next: DimeRec generates the user's next interests by
diffusion on the unit sphere, and an index finds the items nearest to them.

Every failure is an `application/problem+json` document (RFC 9457) that names the fields at fault. Every
answer carries `X-Request-ID`, the caller's own if one was sent.
"""

TASKS_END_WITHIN_S = 1.0
"""Longest wait at a stop for what goes on beside requests. Chosen: what these end with is a disk's flush."""

_ROUTERS = (
    *(module.router for module in (recommend, events, users, items, operations, console)),
    operations.admin,
    catalogue_routes.json_router,
    catalogue_routes.router,
    catalogue_log.json_router,
    catalogue_log.router,
)
_ROUTES = [route for router in _ROUTERS for route in router.routes]


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description of all routes, with the keys that they need."""
        if self.openapi_schema is None:
            self.openapi_schema = with_security(super().openapi())
        return self.openapi_schema


def create_app(
    settings: Settings,
    *,
    history: HistoryStore | None = None,
    fleet: Callable[[Engines], Fleet] = lambda engines: engines,
    version: str | None = None,
) -> FastAPI:
    """An app with the bundle loaded: `version`, by default the one that CURRENT names.

    `history` replaces the store that the settings name; `fleet` makes, of the engines here, those of all
    processes that answer. Raises BundleError when no bundle can be loaded, HistoryUrlError for a bad address,
    KeysError for a file of keys that is none, and StartupError for a log of changes that cannot be read, and
    where `OTEL_…` ask for what is not there.
    """
    _check_prefix(settings.root_path)
    if settings.compute_threads is not None:
        torch.set_num_threads(settings.compute_threads)
    release = installed_version("dimerec-serve")
    tracing = open_tracing(release)
    service = _assemble(settings, history, fleet, version)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.whole_log.begin()
        await service.presence.begin()
        if service.follower is not None:
            await service.follower.begin()
        background = list(map(begun, service.tasks))
        yield
        for task in background:
            task.cancel()
        if background:
            await asyncio.wait(background, timeout=TASKS_END_WITHIN_S)  # before what they use is closed
        await _close(service)
        if tracing is not None:
            await tracing.close()

    app = _App(
        title="DimeRec Serve",
        summary="Candidate retrieval for short video",
        description=_DESCRIPTION,
        version=release,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; /openapi.json has the same content
        redoc_url=None,
        redirect_slashes=False,  # they would be to the host that the caller names
        middleware=_middleware(service, tracing),
        # FastAPI's own spans hold paths, and so ids of users.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    problems.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


async def _close(service: Service) -> None:
    await service.batcher.close()
    if service.follower is not None:
        await service.follower.write_view()
    await service.presence.close()
    await service.changes.close()
    if service.delivery is not None:
        await service.delivery.close()
    if service.trending is not None:
        await service.trending.close()
    await service.history.close()
    await service.rates.close()


def _middleware(service: Service, tracing: "Tracing | None") -> list[Middleware]:
    """Around every route, the outermost first."""
    settings = service.settings
    prefix = [] if settings.root_path is None else [Middleware(PathPrefix, prefix=settings.root_path)]
    allowed = settings.allowed_hosts
    names = [] if allowed is None else [Middleware(AllowedHosts, names=allowed)]
    proxies = [] if settings.trusted_proxies is None else [_proxies(settings.trusted_proxies)]
    pages = [] if settings.cors_origins is None else [_pages(settings.cors_origins)]
    guard = Middleware(
        Guard,
        keyring=service.keyring,
        rates=service.rates,
        roles=RouteRoles(_ROUTES),
        settings=settings,
        metrics=service.metrics,
    )
    return [
        Middleware(RequestContext, metrics=service.metrics),
        *([] if tracing is None else [tracing.middleware()]),
        *names,
        *proxies,
        *pages,
        *prefix,
        Middleware(Head),
        guard,
        Middleware(Admission, door=service.door),
        Middleware(RequestBody, limit=settings.max_body_bytes),
        Middleware(ShortWay, routes=_ROUTES),
    ]


def _proxies(trusted: Sequence[str]) -> Middleware:
    """The caller's address, as proxies tell it that are believed."""
    return Middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted))


def _pages(origins: Sequence[str]) -> Middleware:
    """Leave for pages of these origins to call from a browser, and to read the answers."""
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "DELETE"),
        allow_headers=("authorization", "content-type", "x-api-key", "x-deadline-ms", "x-request-id"),
        expose_headers=("retry-after", "x-request-id"),
    )


def _check_prefix(prefix: str | None) -> None:
    """Refuse a prefix that a path of the service's own begins with: which is meant could not be told."""
    if prefix is not None:
        first = prefix.split("/")[1]
        if first in {route.path.split("/")[1] for route in _ROUTES}:
            raise StartupError(
                f"settings: DIMEREC_ROOT_PATH begins with the service's own /{first}: use another"
            )


def _assemble(
    settings: Settings,
    history: HistoryStore | None,
    fleet: Callable[[Engines], Fleet],
    version: str | None,
) -> Service:
    keyring = Keyring(settings.keys_file)
    metrics = Metrics()
    STDERR.on_drop = metrics.log_lines_dropped.inc
    address = None if settings.redis_url is None else settings.redis_url.get_secret_value()
    rates = Rates(address, settings.history_timeout_s, metrics)
    tasks: list[Task] = [metrics.keep_sampled]
    half_life_s = settings.trending_half_life_s
    meanings = Meanings.parse(settings.event_types)
    events = TrendingEvents(half_life_s, meanings) if half_life_s else None
    opened = history if history is not None else open_history(settings, metrics, tasks, events)
    store = ObservedHistory(opened, metrics)
    spool = None if settings.spool is None else Spool(settings.spool, settings.spool_max_bytes, metrics)
    writer = HistoryWriter(store)
    writes = writer if spool is None else SpooledWrites(writer, spool)
    if isinstance(opened, InProcessHistory):
        opened.on_eviction = metrics.history_evictions.inc
        opened.listener = events
    kept = open_log(settings.bundles, address, settings.catalogue_redis_replicas)
    catalogue = LiveCatalogue(kept.contents)
    engines = Engines(settings.bundles, settings.device, metrics, catalogue, version)
    late = None if kept.followed is None else LateRemovals(settings.bundles, catalogue, kept.followed)
    if late is not None:
        tasks.append(late.run)
    room = Room(catalogue)
    changes = CatalogueChanges(catalogue, kept.log, engines, room, effective=kept.effective, late=late)
    tasks += [changes.keep_time, catalogue.keep_indexed]
    follower = None if kept.followed is None else Follower(catalogue, kept.followed, settings.bundles)
    if follower is not None:
        tasks += [follower.follow, follower.keep_view]
    in_process = isinstance(opened, InProcessHistory)
    kind: Literal["redis", "in-process"] = "in-process" if in_process else "redis"
    batcher = MicroBatcher[Job, JobAnswer](
        compute,
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        standing_s=settings.standing_queue_ms / 1000,
        on_batch=metrics.batch_size.observe,
    )
    watch_parts(metrics, engines, batcher)
    watch_catalogue(metrics, catalogue, follower)
    recommender = Recommender(engines, store, batcher, metrics, settings, meanings, follower)
    own = fleet(engines)
    if follower is None or address is None:
        joined = alone(catalogue, engines, own)
    else:
        joined = join(address, settings.bundles, follower, engines, own)
    tasks += joined.tasks
    if settings.watch_s is not None:
        watched = (settings.bundles, settings.watch_s, joined.fleet, joined.ordered_ms)
        tasks.append(partial(watch_current, *watched))
    delivery = None if spool is None else open_delivery(settings, spool, history, events)
    if delivery is not None:
        tasks.append(delivery.run)
    trending = None if events is None else _trending(events, engines, address, metrics)
    if trending is not None:
        tasks.append(trending.run)
    return Service(
        settings,
        engines,
        joined.fleet,
        store,
        writes,
        meanings,
        kind,
        batcher,
        recommender,
        catalogue,
        changes,
        WholeLog(catalogue, kept.log, follower, room),
        follower,
        joined.presence,
        metrics,
        keyring,
        rates,
        _door(batcher, writes, settings, metrics),
        tasks,
        delivery,
        trending,
    )


def _trending(events: TrendingEvents, engines: Engines, address: str | None, metrics: Metrics) -> Trending:
    shared = None if address is None else SharedCounts.from_url(address, events.half_life_ms)
    trending = Trending(events, engines, shared)
    watch_trending(metrics, trending)
    return trending


def _door(
    batcher: MicroBatcher[Job, JobAnswer], writes: HistoryWrites, settings: Settings, metrics: Metrics
) -> Door:
    ways = [
        Way.to(route, computes=module is not events)
        for module in (recommend, items, events)
        for route in module.router.routes
        if isinstance(route, Route)
    ]
    return Door(batcher, writes, ways, settings.default_deadline_ms, metrics)
