"""Changes of the catalogue: put, remove, and see what was changed."""

import asyncio
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from files.ids import MAX_ID_LENGTH
from service.catalogue.changes import Changed
from service.catalogue.requests import ItemRequest, ItemsRequest, NamedItemRequest
from service.catalogue.responses import (
    Effective,
    ItemListResponse,
    ItemPutResponse,
    ItemRemovedResponse,
    ItemsResponse,
    ItemStateResponse,
    ListedSource,
)
from service.dependencies import Service, TheService, service_of
from service.errors import FieldFault, InvalidRequestError, ServiceError, UnknownItemError
from service.problems import documented, faults_of, problem_of
from service.requests import WRITTEN_STRING, Text, WrittenId
from service.responses import Problem
from service.routes.encoded_path import EncodedPathRoute
from service.routes.json_route import JsonRoute

NEAREST = 3
"""Neighbours of an item that was put: enough to see whether it lies where it should."""

_ITEM_ID = {
    "name": "item_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, **WRITTEN_STRING},
    "description": "as in events; percent-encode it",
    "example": "50",
}
_WAIT = "`all`: answer when every live process knows of it, or say in `missing` which did not in time"
_WAIT_PARAMETER = {
    "name": "wait",
    "in": "query",
    "schema": {"type": "string", "enum": ["all"]},
    "description": _WAIT,
}
Wait = Annotated[Literal["all"] | None, Query(description=_WAIT)]
_REMOVED_HERE: dict[int | str, dict[str, Any]] = {
    202: {
        "model": ItemRemovedResponse,
        "description": "In no answer of this process from now on; others are told when Redis is back",
    }
}
_written_id: TypeAdapter[str] = TypeAdapter(WrittenId)

router = APIRouter(tags=["catalogue"], route_class=EncodedPathRoute)
ItemId = Annotated[Text, Path(description="as in events; percent-encode it", examples=["50"])]
WrittenItemId = Annotated[
    Text,
    Path(description="as in events; percent-encode it", examples=["50"], json_schema_extra=WRITTEN_STRING),
]


class Effect(NamedTuple):
    """The processes in which a change counts, as an answer says it."""

    effective: Effective
    missing: list[str] | None
    replicated: bool | None


class _ItemJsonRoute(EncodedPathRoute, JsonRoute):
    """A JsonRoute of one item."""


json_router = APIRouter(tags=["catalogue"], route_class=_ItemJsonRoute)


@json_router.put(
    "/items/{item_id:path}",
    response_model=ItemPutResponse,
    responses=documented(400, 409, 413, 415, 422, 503),
    openapi_extra={"parameters": [_ITEM_ID, _WAIT_PARAMETER]},
)
async def put_item(request: Request, body: ItemRequest) -> Response:
    """Let an item be as it is described here, from the next answer on; a removed one comes back.

    It replaces all that was said of the item before, but without `from` not its vector.
    """
    service = service_of(request)
    item_id = _checked_id(request.path_params["item_id"])
    waits = _waits(request)
    changed = await service.changes.put(item_id, body)
    similar = await asyncio.to_thread(service.engines.engine.similar, item_id, NEAREST)
    nearest = [one.item_id for one in similar or () if not service.catalogue.is_gone(one.item_id)]
    (effect,) = await _effects(service, [changed.entry.sequence], waits=waits)
    return _json(_put_response(changed, nearest, effect))


@json_router.post(
    "/items",
    response_model=ItemsResponse,
    responses=documented(400, 413, 415, 422, 503),
    openapi_extra={"parameters": [_WAIT_PARAMETER]},
)
async def put_items(request: Request, body: ItemsRequest) -> Response:
    """Put many items, each as by itself; one that is bad gets a problem and spoils no other.

    Where changes cannot be kept from one of them on, it and those after it get one, too.
    """
    service = service_of(request)
    waits = _waits(request)
    results: list[NamedItemRequest | Changed | ServiceError] = list(map(_validated, body.items))
    valid = [(index, one) for index, one in enumerate(results) if isinstance(one, NamedItemRequest)]
    changes = await service.changes.put_each([(one.item_id, one) for _, one in valid])
    for (index, _), changed in zip(valid, changes, strict=True):
        results[index] = changed
    request_id = request.scope["state"]["request_id"]
    sequences = [result.entry.sequence for result in results if isinstance(result, Changed)]
    effects = iter(await _effects(service, sequences, waits=waits))
    return _json(ItemsResponse(items=[_outcome(result, request_id, effects) for result in results]))


@router.delete("/items/{item_id:path}", responses={**documented(400, 422, 503), **_REMOVED_HERE})
async def remove_item(
    item_id: WrittenItemId, service: TheService, response: Response, wait: Wait = None
) -> ItemRemovedResponse:
    """Take an item out of every answer from now on, whatever bundle serves; also one that is unknown yet."""
    entry = await service.changes.remove(_checked_id(item_id))
    if entry is None:
        response.status_code = HTTPStatus.ACCEPTED
        return ItemRemovedResponse(
            item_id=item_id, sequence=None, effective="here", missing=None, replicated=None
        )
    (effect,) = await _effects(service, [entry.sequence], waits=wait is not None)
    return ItemRemovedResponse(item_id=item_id, sequence=entry.sequence, **effect._asdict())


@router.get("/items/{item_id:path}", responses=documented(400, 404, 422))
async def read_item(item_id: ItemId, service: TheService) -> ItemStateResponse:
    """An item as the catalogue has it now, and why."""
    state = await asyncio.to_thread(service.changes.state, item_id)
    if state is None:
        raise UnknownItemError("neither the bundle in service nor a change has an item of this id")
    return state


@router.get("/items", responses=documented(422))
async def list_items(
    service: TheService,
    source: Annotated[
        ListedSource, Query(description="changed items, those without a vector, or removed ones")
    ],
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
    after: Annotated[Text | None, Query(description="the `after` of the page before")] = None,
) -> ItemListResponse:
    """Items that were changed or removed since the bundle in service, by id."""
    return await asyncio.to_thread(service.changes.listed, source, limit, after)


def _checked_id(item_id: str) -> str:
    try:
        return _written_id.validate_python(item_id)
    except ValidationError as error:
        faults = [fault._replace(field="item_id") for fault in faults_of(error)]
        raise InvalidRequestError(faults) from error


def _validated(item: Any) -> NamedItemRequest | InvalidRequestError:
    try:
        return NamedItemRequest.model_validate(item)
    except ValidationError as error:
        return InvalidRequestError(faults_of(error))


def _waits(request: Request) -> bool:
    waits = request.query_params.getlist("wait")
    if waits not in ([], ["all"]):
        raise InvalidRequestError([FieldFault("wait", "Input should be 'all'")])
    return bool(waits)


async def _effects(service: Service, sequences: Sequence[int], *, waits: bool) -> list[Effect]:
    """The effect of each of these changes, which count here, once they count everywhere if it waits."""
    if not sequences:
        return []
    replicated = await service.changes.replicated()
    if not waits:
        return [Effect(service.changes.effective, None, replicated)] * len(sequences)
    spread = await service.presence.spread(max(sequences))
    found = map(spread.missing, sequences)
    return [Effect("everywhere" if missing == [] else "here", missing, replicated) for missing in found]


def _put_response(changed: Changed, nearest: Sequence[str], effect: Effect) -> ItemPutResponse:
    return ItemPutResponse(
        item_id=changed.entry.item_id,
        sequence=changed.entry.sequence,
        derived_from=changed.derived_from,
        nearest=list(nearest),
        **effect._asdict(),
    )


def _outcome(result: object, request_id: str, effects: Iterator[Effect]) -> ItemPutResponse | Problem:
    if isinstance(result, Changed):
        return _put_response(result, (), next(effects))
    if not isinstance(result, Exception):
        raise TypeError(result)
    return problem_of(result, request_id)


def _json(answer: ItemPutResponse | ItemsResponse) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
