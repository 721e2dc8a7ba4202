"""The log of changes as a whole: read it, to keep it or to train by it, and restore it."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, WithJsonSchema

from service.catalogue.compacting import check_kept, kept_bundles
from service.catalogue.export import MAX_SEQUENCE, fault_of
from service.catalogue.protocol import Contents, Entry
from service.catalogue.requests import MAX_ITEMS, Moment
from service.dependencies import TheService, service_of
from service.errors import CatalogueUnavailableError, FieldFault, InvalidRequestError
from service.problems import documented
from service.request_model import RequestModel
from service.requests import Text
from service.responses import ResponseModel
from service.routes.json_route import JsonRoute

_ENTRY = {
    "title": "Entry",
    "type": "object",
    "description": "the newest of an item, as a line of an export",
    "required": ["item_id", "sequence", "removed"],
    "properties": {
        "item_id": {"type": "string"},
        "sequence": {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
        "removed": {"type": "boolean"},
        "description": {"type": ["object", "null"], "description": "title, categories, times; null: none"},
        "origin": {"type": ["object", "null"], "description": "what its vector follows from; null: nothing"},
        "origin_sequence": {"type": "integer", "description": "of the change that gave the origin"},
    },
}
EntryJson = Annotated[Any, WithJsonSchema(_ENTRY)]
EXAMPLE = {
    "item_id": "v-1",
    "sequence": 17,
    "removed": False,
    "description": {"title": "A new video", "categories": ["Comedy"]},
    "origin": {"given": {"type": "like", "item_ids": ["50", "181"]}, "of_categories": ["Comedy"]},
    "origin_sequence": 17,
}


class LogResponse(ResponseModel):
    """Some entries of the log, by id."""

    entries: list[EntryJson] = Field(examples=[[EXAMPLE]])
    after: str | None = Field(description="ask with this for the next ones; null: there are no more")
    sequence: int = Field(description="no change up to this one is missing; newer ones may be there")
    passed_ms: int = Field(description="the highest moment that the catalogue has seen, ms since the epoch")


class LogRequest(RequestModel):
    """Entries of an earlier time of this log."""

    entries: list[EntryJson] = Field(max_length=MAX_ITEMS, examples=[[EXAMPLE]])
    sequence: int = Field(0, ge=0, le=MAX_SEQUENCE, description="the next change gets a higher one")
    passed_ms: Moment = Field(0, description="as it was read")


class LogRestoredResponse(ResponseModel):
    """The log after it."""

    sequence: int = Field(description="of the last change")


class CompactionResponse(ResponseModel):
    """The entries that were dropped."""

    dropped: list[str] = Field(description="items whose entry was dropped", examples=[["v-1"]])
    kept: list[str] = Field(description="bundles that were looked into, newest first")


router = APIRouter(tags=["catalogue"])
json_router = APIRouter(tags=["catalogue"], route_class=JsonRoute)


@router.get("/catalogue", response_model=LogResponse, responses=documented(422))
async def read_log(
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="at most so many")] = 100,
    after: Annotated[Text | None, Query(description="the `after` of the page before")] = None,
) -> Response:
    """All changes, the newest of each item, by id."""
    page = await asyncio.to_thread(service.whole_log.page, limit, after)
    return Response(msgspec.json.encode(page._asdict()), media_type="application/json")


@router.post("/catalogue/compact", responses=documented(409, 503))
async def compact_log(service: TheService) -> CompactionResponse:
    """Drop changes from which nothing follows in any bundle that is kept by any process."""
    processes = await service.presence.processes()
    if processes is None:
        raise CatalogueUnavailableError("Redis does not tell which bundles other processes keep: try again")
    kept = await asyncio.to_thread(kept_bundles, service.settings.bundles)
    check_kept(kept, processes)
    dropped = await service.whole_log.compact(kept)
    return CompactionResponse(
        dropped=[entry.item_id for entry in dropped], kept=[one.version for one in kept]
    )


@json_router.post(
    "/catalogue", response_model=LogRestoredResponse, responses=documented(400, 409, 413, 415, 422, 503)
)
async def restore_log(request: Request, body: LogRequest) -> Response:
    """Store entries of an earlier time of this log, each where it has no newer one of its item."""
    service = service_of(request)
    entries = [_entry(number, one) for number, one in enumerate(body.entries)]
    await service.whole_log.restore(Contents(entries, body.passed_ms, body.sequence))
    answer = LogRestoredResponse(sequence=service.catalogue.sequence)
    return Response(answer.model_dump_json(), media_type="application/json")


def _entry(number: int, sent: object) -> Entry:
    field = f"entries[{number}]"
    try:
        entry = msgspec.convert(sent, Entry)
    except msgspec.ValidationError as error:
        raise InvalidRequestError([FieldFault(field, str(error))]) from error
    reason = fault_of(entry)
    if reason is not None:
        raise InvalidRequestError([FieldFault(field, reason)])
    return entry
