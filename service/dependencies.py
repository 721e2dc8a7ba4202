"""Dependencies of the routes: the parts of the running service, and a check of what is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from service.access.keyring import Keyring
from service.access.rates import Rates
from service.admission import Door, deadline_ms
from service.background import Task
from service.catalogue.changes import CatalogueChanges
from service.catalogue.following import Follower
from service.catalogue.live import LiveCatalogue
from service.catalogue.whole_log import WholeLog
from service.engines import Engines
from service.fleet import Fleet
from service.history.meanings import Meanings
from service.history.protocol import HistoryStore
from service.recommender import Batcher, Recommender, RequestInfo
from service.replicas.presence import Presence
from service.settings import Settings
from service.spool.delivery import Delivery
from service.spool.writes import HistoryWrites
from service.telemetry import Metrics
from service.trending.trending import Trending


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that one app consists of; made by `create_app`, kept in `app.state.service`."""

    settings: Settings
    engines: Engines
    fleet: Fleet
    history: HistoryStore
    writes: HistoryWrites
    meanings: Meanings
    history_kind: Literal["redis", "in-process"]
    batcher: Batcher
    recommender: Recommender
    catalogue: LiveCatalogue
    changes: CatalogueChanges
    whole_log: WholeLog
    follower: Follower | None
    """None where no other process changes the catalogue."""
    presence: Presence
    metrics: Metrics
    keyring: Keyring
    rates: Rates
    door: Door
    tasks: Sequence[Task]
    """Those that go on beside requests, each until it is cancelled."""
    delivery: Delivery | None
    trending: Trending | None
    """None where no recent event counts."""

    @property
    def lists_users(self) -> bool:
        """True where `GET /users` is offered: as set, else only with the in-process store."""
        if self.settings.list_users is None:
            return self.history_kind == "in-process"
        return self.settings.list_users


def service_of(request: Request) -> Service:
    """The service that the request came to."""
    service: Service = request.app.state.service
    return service


def info_of(request: Request) -> RequestInfo:
    """Facts about the request that are not in its body."""
    state = request.scope["state"]
    return RequestInfo(
        state["arrived"],
        state["request_id"],
        state.get("caller", ""),
        deadline_ms(request.scope["headers"]),
        state.get("key", "anonymous"),
        state.get("trace"),
    )


# FastAPI sends a dependency that is a plain function to a thread: these have nothing to wait for.
async def _service(request: Request) -> Service:
    return service_of(request)


async def _request_info(request: Request) -> RequestInfo:
    return info_of(request)


TheService = Annotated[Service, Depends(_service)]
TheRequestInfo = Annotated[RequestInfo, Depends(_request_info)]
