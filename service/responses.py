"""Responses to callers: their JSON as the API describes it.

Those of `/recommend` are encoded by `answers`, which a test holds to these.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.contract import Source
from index.tuning import IndexKind
from model.interests import InterestKind, InterestMode
from service.history.meanings import Meaning
from service.history.reading import HistoryFault

Fault = HistoryFault | Literal["catalogue_stale"]
"""Or the log of changes of the catalogue was not heard lately: the answer may have what others removed."""


class ResponseModel(BaseModel):
    """A response, or a part of one."""

    model_config = ConfigDict(frozen=True)


class WatchedItem(ResponseModel):
    """One item of the user's history."""

    item_id: str = Field(examples=["50"])
    title: str | None = Field(examples=["Star Wars (1977)"])


class RecommendedItem(ResponseModel):
    """One recommended item."""

    item_id: str = Field(examples=["204"])
    score: float = Field(description="share of the user's interest, or of all events", examples=[0.041])
    interest: int | None = Field(
        description="index in `interests` of the one that brought it; null for popularity", examples=[2]
    )
    because: list[WatchedItem] | None = Field(
        description="up to three items of the user's history nearest to that interest, nearest first; empty"
        " for popularity, null without `explain`"
    )
    categories: list[str] = Field(examples=[["Comedy", "Sci-Fi"]])
    title: str | None = Field(examples=["Back to the Future (1985)"])
    new: bool = Field(
        description="true where it was put since the bundle, whose log has no event of it", examples=[False]
    )


class Interest(ResponseModel):
    """One interest that the model found in the user; near-duplicates of one kind count as one."""

    kind: InterestKind = Field(
        description="drawn by the diffusion, a guidance vector, or counts of what followed what",
        examples=["draw"],
    )
    weight: float = Field(description="its share of the answer; the weights sum to 1", examples=[0.31])
    item_count: int = Field(description="items of the answer that it brought", examples=[4])
    top_categories: list[str] | None = Field(
        description="what it is about and the user's other interests are less, best first; null without"
        " `explain`",
        examples=[["Sci-Fi", "Adventure"]],
    )


class Timings(ResponseModel):
    """Time of the parts of a request, ms. `model` and `search` are those of the whole batch."""

    queue: float = Field(examples=[0.2])
    model: float = Field(examples=[3.1])
    search: float = Field(examples=[0.6])
    total: float = Field(examples=[4.8])


class RecommendResponse(ResponseModel):
    """The recommended items, best first, and why."""

    items: list[RecommendedItem] = Field(description="best first")
    interests: list[Interest] = Field(description="empty for popularity")
    source: Source = Field(
        description="popularity: nothing is known of the user, or only items that are not in the catalogue;"
        " trending: so too, and recent events brought some of the items"
    )
    unknown_categories: list[str] = Field(
        description="names in the request's `categories` that no item of the catalogue has", examples=[[]]
    )
    fresh_missing: int = Field(
        description="how many fewer items put since the bundle there are than `fresh` asks for, since no more"
        " are eligible",
        examples=[0],
    )
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    request_id: str = Field(examples=["5f2b8c0e7d9a4c1f8e3b6a7d0c9f2e1b"])
    degraded: Fault | None = Field(description="the fault that weakened the answer")
    timings_ms: Timings


class FieldProblem(ResponseModel):
    """The fault of one field."""

    field: str = Field(examples=["k"])
    message: str = Field(examples=["Input should be less than or equal to 500"])


class Problem(ResponseModel):
    """Why a call failed (RFC 9457)."""

    type: str = Field(
        description="stable name of the problem", examples=["urn:dimerec:problem:invalid-request"]
    )
    title: str = Field(examples=["The request is invalid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["k: Input should be less than or equal to 500"])
    errors: list[FieldProblem] = Field(description="the fields at fault, at most 20")
    request_id: str = Field(examples=["5f2b8c0e7d9a4c1f8e3b6a7d0c9f2e1b"])


class RecommendBatchResponse(ResponseModel):
    """One answer or problem for each request, in order."""

    answers: list[RecommendResponse | Problem] = Field(description="in the order of the requests")


class EventsResponse(ResponseModel):
    """Numbers of the events, by what became of them."""

    added: int = Field(description="kept in a history", examples=[1])
    repeated: int = Field(description="known already, nothing changed", examples=[0])
    outdated: int = Field(description="older than everything in a full history, not kept", examples=[0])
    ignored: int = Field(description="of types that say nothing, not kept", examples=[0])
    unknown_items: list[str] = Field(description="kept, but not in the catalogue in service", examples=[[]])


class SpooledResponse(ResponseModel):
    """Changes of histories that were taken in durably, and are visible once the store is back."""

    spooled: int = Field(
        description="events, or one for an event taken back or a user forgotten", examples=[1]
    )
    visible: Literal[False] = Field(description="no answer knows of them yet")


class HistoryEvent(ResponseModel):
    """One event of a history."""

    item_id: str = Field(examples=["50"])
    timestamp: int = Field(description="ms since the epoch", examples=[1_795_000_000_000])
    title: str | None = Field(examples=["Star Wars (1977)"])
    categories: list[str] = Field(examples=[["Action", "Sci-Fi"]])
    known: bool = Field(description="true where the catalogue in service has the item to answer with")
    removed: bool = Field(
        description="true where it was removed from the catalogue, or is no longer available",
        examples=[False],
    )
    event_type: str | None = Field(description="as it was sent; null: watched", examples=[None])
    meaning: Meaning = Field(description="meaning of the type here: positive events count as watched")
    request_id: str | None = Field(description="of the answer that it came from", examples=[None])


class HistoryResponse(ResponseModel):
    """The newest events of a user, oldest first."""

    user_id: str = Field(examples=["196"])
    events: list[HistoryEvent] = Field(description="oldest first")


class ForgetResponse(ResponseModel):
    """The user who was forgotten."""

    user_id: str = Field(examples=["196"])
    removed: int = Field(description="events deleted", examples=[39])


class UndoResponse(ResponseModel):
    """The event that was taken back."""

    user_id: str = Field(examples=["196"])
    event_id: str = Field(examples=["e-1"])
    removed: Literal[0, 1] = Field(
        description="0: no event of this id is kept; it was taken back before, never sent, or fell out",
        examples=[1],
    )


class UsersResponse(ResponseModel):
    """Some users who have a history, for a picker."""

    users: list[str] = Field(examples=[["196", "186"]])


class SimilarItem(ResponseModel):
    """One neighbour."""

    item_id: str = Field(examples=["181"])
    score: float = Field(description="cosine of the item vectors", examples=[0.87])
    categories: list[str] = Field(examples=[["Action", "Sci-Fi"]])
    title: str | None = Field(examples=["Return of the Jedi (1983)"])


class SimilarResponse(ResponseModel):
    """Neighbours of an item, nearest first."""

    item_id: str = Field(examples=["50"])
    title: str | None = Field(examples=["Star Wars (1977)"])
    items: list[SimilarItem] = Field(description="nearest first")
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])


class HealthResponse(ResponseModel):
    """A probe's answer."""

    status: Literal["live", "ready"] = Field(examples=["ready"])


class Defaults(ResponseModel):
    """Values of the fields that a request leaves out; who names draws or steps has draws in any mode."""

    draws: int = Field(examples=[8])
    steps: int = Field(examples=[4])
    interest_mode: InterestMode = Field(examples=["draws"])
    diversity: float = Field(examples=[0.0])
    fresh: float = Field(examples=[0.0])


class WorkerResponse(ResponseModel):
    """A process that answers, and the bundle that it serves."""

    pid: int = Field(description="process id on the service's machine", examples=[4711])
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])


class ProcessResponse(ResponseModel):
    """A process of any replica that shares the log of changes in Redis."""

    host: str = Field(description="its machine or container", examples=["dimerec-7d4b9c"])
    pid: int = Field(description="process id there", examples=[4711])
    model_version: str = Field(
        description="the bundle that it serves", examples=["20261123T181500.123456Z-0a1b2c3d"]
    )
    sequence: int = Field(
        description="all changes of the catalogue up to this one count there", examples=[17]
    )
    missing: str | None = Field(
        description="the bundle that it was to serve and cannot, so that it goes on with its own; null: none"
    )


class IndexResponse(ResponseModel):
    """The bundle's index, as it was measured when it was published."""

    kind: IndexKind = Field(examples=["ivf"])
    target: float = Field(description="part of the nearest 100 items asked for", examples=[0.95])
    recall: float = Field(
        description="part of the nearest 100 items found, for interests of held-out users", examples=[0.951]
    )
    effort: int | None = Field(
        description="cells looked into (ivf), candidates looked at (hnsw); null: all items (flat)",
        examples=[32],
    )


class VersionResponse(ResponseModel):
    """The service and the bundle that are running."""

    service: str = Field(description="version of the service", examples=["0.1.0"])
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    created: str = Field(description="when the bundle was published", examples=["2026-11-23T18:15:00Z"])
    source_revision: str | None = Field(description="revision of the code that trained it")
    refit: bool = Field(
        description="trained once more, on all events: `metrics` are of the model before that"
    )
    data_fingerprint: str = Field(description="of the data it was trained on")
    metrics: dict[str, float] = Field(
        description="as measured before publishing", examples=[{"ndcg@20": 0.17}]
    )
    items: int = Field(description="catalogue size", examples=[1682])
    max_steps: int = Field(description="largest `steps` a request may ask for", examples=[32])
    defaults: Defaults
    history_store: Literal["redis", "in-process"] = Field(examples=["redis"])
    index_kind: str = Field(
        description="index that is searched; `whole`: all items are scored", examples=["whole"]
    )
    index: IndexResponse | None = Field(
        description="of the bundle, searched unless `index_kind` is `whole`; null: not measured"
    )
    attributes: dict[str, str] = Field(
        description="attributes that items may have, each with its type: number, date, text, boolean, texts",
        examples=[{"duration": "number", "language": "text"}],
    )
    workers: list[WorkerResponse] = Field(description="every process that answers at this address")
    processes: list[ProcessResponse] | None = Field(
        description="every live process of all replicas with the same Redis; null: it does not tell"
    )


class SwapResponse(ResponseModel):
    """The bundle that was in service and the one that is now."""

    previous_version: str = Field(examples=["20261122T090000.000000Z-9f8e7d6c"])
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    changed: bool = Field(description="false: it was in service already, or is not yet (202)")
    workers: list[WorkerResponse] = Field(description="every process that answers at this address")
    processes: list[ProcessResponse] | None = Field(
        description="every live process of all replicas with the same Redis; null: it does not tell"
    )
