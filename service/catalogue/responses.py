"""Responses about changes of the catalogue."""

from typing import Literal

from pydantic import Field

from engine.recipes import DerivedFrom
from service.responses import Problem, ResponseModel

Effective = Literal["here", "everywhere"]
ItemSource = Literal["base", "overlay", "stale", "removed"]
ListedSource = Literal["overlay", "stale", "removed"]
_MISSING = (
    "with `wait=all` the processes, as host:pid, that had not said in time that they know of it; null: not"
    " asked for, or Redis did not tell"
)


_REPLICATED = (
    "replicas of Redis have it, too; false: not in time, so that a Redis that dies now may lose it; null:"
    " there are none"
)


class ItemPutResponse(ResponseModel):
    """An item as it is from now on."""

    item_id: str = Field(examples=["v-1"])
    sequence: int = Field(description="order of all changes, the newest has the highest", examples=[17])
    derived_from: DerivedFrom = Field(description="what its vector follows from", examples=["like"])
    nearest: list[str] = Field(
        description="the three items nearest to it; empty while it is not available",
        examples=[["50", "181", "172"]],
    )
    effective: Effective = Field(
        description="where the next answer knows of it; others do within a second", examples=["everywhere"]
    )
    missing: list[str] | None = Field(description=_MISSING, examples=[[]])
    replicated: bool | None = Field(description=_REPLICATED, examples=[True])


class ItemRemovedResponse(ResponseModel):
    """An item that is in no answer from now on."""

    item_id: str = Field(examples=["v-1"])
    sequence: int | None = Field(
        description="order of all changes, the newest has the highest; null: the log of changes is away, and"
        " other processes know of it when it is back",
        examples=[18],
    )
    effective: Effective = Field(
        description="where no answer has it; elsewhere within a second", examples=["everywhere"]
    )
    missing: list[str] | None = Field(description=_MISSING, examples=[[]])
    replicated: bool | None = Field(description=_REPLICATED, examples=[True])


class ItemsResponse(ResponseModel):
    """The outcome of each item, in the order of the request."""

    items: list[ItemPutResponse | Problem] = Field(description="`nearest` is left empty")


class ItemStateResponse(ResponseModel):
    """An item as the catalogue has it."""

    item_id: str = Field(examples=["v-1"])
    source: ItemSource = Field(
        description="the bundle in service; a change since; stale: the bundle has no vector for it; removed",
        examples=["overlay"],
    )
    reason: str = Field(
        description="why it is so", examples=["changed since the bundle that is in service, by 17"]
    )
    sequence: int | None = Field(description="of its newest change; null: none", examples=[17])
    title: str | None = Field(examples=["A new video"])
    categories: list[str] = Field(examples=[["Comedy"]])
    attributes: dict[str, bool | int | float | str | list[str]] = Field(
        description="those that it has, by name", examples=[{"duration": 34.5, "language": "en"}]
    )
    derived_from: DerivedFrom | None = Field(
        description="what its vector follows from; null: it has none", examples=["like"]
    )
    available_from: int | None = Field(description="ms since the epoch; null: always")
    available_until: int | None = Field(description="ms since the epoch; null: for good")


class ItemListResponse(ResponseModel):
    """Some changed items, by id."""

    items: list[ItemStateResponse] = Field(description="by id")
    after: str | None = Field(
        description="ask with this for the next ones; null: there are no more", examples=["v-1"]
    )
