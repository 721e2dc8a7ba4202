"""Changes of the catalogue: put, remove, and see what was changed."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from files.ids import MAX_ID_LENGTH
from service.catalogue.changes import Changed
from service.catalogue.requests import ItemRequest, ItemsRequest, NamedItemRequest
from service.catalogue.responses import (
    ItemListResponse,
    ItemPutResponse,
    ItemRemovedResponse,
    ItemsResponse,
    ItemStateResponse,
    ListedSource,
)
from service.dependencies import Service, TheService, service_of
from service.errors import InvalidRequestError, ServiceError, UnknownItemError
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


class _ItemJsonRoute(EncodedPathRoute, JsonRoute):
    """A JsonRoute of one item."""


json_router = APIRouter(tags=["catalogue"], route_class=_ItemJsonRoute)


@json_router.put(
    "/items/{item_id:path}",
    response_model=ItemPutResponse,
    responses=documented(400, 409, 413, 415, 422, 503),
    openapi_extra={"parameters": [_ITEM_ID]},
)
async def put_item(request: Request, body: ItemRequest) -> Response:
    """Let an item be as it is described here, from the next answer on; a removed one comes back.

    It replaces all that was said of the item before, but without `from` not its vector.
    """
    service = service_of(request)
    item_id = _checked_id(request.path_params["item_id"])
    changed = await service.changes.put(item_id, body)
    similar = await asyncio.to_thread(service.engines.engine.similar, item_id, NEAREST)
    nearest = [one.item_id for one in similar or () if not service.catalogue.is_gone(one.item_id)]
    return _json(_put_response(changed, nearest, service))


@json_router.post("/items", response_model=ItemsResponse, responses=documented(400, 413, 415, 422, 503))
async def put_items(request: Request, body: ItemsRequest) -> Response:
    """Put many items, each as by itself; one that is bad gets a problem and spoils no other.

    Where changes cannot be kept from one of them on, it and those after it get one, too.
    """
    service = service_of(request)
    results: list[NamedItemRequest | Changed | ServiceError] = list(map(_validated, body.items))
    valid = [(index, one) for index, one in enumerate(results) if isinstance(one, NamedItemRequest)]
    changes = await service.changes.put_each([(one.item_id, one) for _, one in valid])
    for (index, _), changed in zip(valid, changes, strict=True):
        results[index] = changed
    request_id = request.scope["state"]["request_id"]
    return _json(ItemsResponse(items=[_outcome(result, request_id, service) for result in results]))


@router.delete("/items/{item_id:path}", responses={**documented(400, 422, 503), **_REMOVED_HERE})
async def remove_item(item_id: WrittenItemId, service: TheService, response: Response) -> ItemRemovedResponse:
    """Take an item out of every answer from now on, whatever bundle serves; also one that is unknown yet."""
    entry = await service.changes.remove(_checked_id(item_id))
    if entry is None:
        response.status_code = HTTPStatus.ACCEPTED
    sequence = None if entry is None else entry.sequence
    return ItemRemovedResponse(item_id=item_id, sequence=sequence, effective=service.changes.effective)


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
    found = await asyncio.to_thread(service.changes.listed, source, limit + 1, after)
    more = len(found) > limit
    return ItemListResponse(items=found[:limit], after=found[limit - 1].item_id if more else None)


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


def _put_response(changed: Changed, nearest: Sequence[str], service: Service) -> ItemPutResponse:
    return ItemPutResponse(
        item_id=changed.entry.item_id,
        sequence=changed.entry.sequence,
        derived_from=changed.derived_from,
        nearest=list(nearest),
        effective=service.changes.effective,
    )


def _outcome(result: object, request_id: str, service: Service) -> ItemPutResponse | Problem:
    if isinstance(result, Changed):
        return _put_response(result, (), service)
    if not isinstance(result, Exception):
        raise TypeError(result)
    return problem_of(result, request_id)


def _json(answer: ItemPutResponse | ItemsResponse) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
