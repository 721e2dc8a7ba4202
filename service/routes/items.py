"""`GET /items/{id}/similar`: neighbours of an item."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.dependencies import TheService
from service.errors import UnknownItemError
from service.problems import documented
from service.requests import MAX_ITEMS, Text
from service.responses import SimilarItem, SimilarResponse
from service.routes.encoded_path import EncodedPathRoute

router = APIRouter(tags=["items"], route_class=EncodedPathRoute)


@router.get("/items/{item_id:path}/similar", responses=documented(404, 422))
def similar_items(  # not async: FastAPI runs the search in a thread
    item_id: Annotated[Text, Path(description="as in events; percent-encode it", examples=["50"])],
    service: TheService,
    k: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="how many neighbours")] = 10,
) -> SimilarResponse:
    """The items whose vectors are nearest, best first, without the item itself."""
    engine = service.engines.engine
    item, found = engine.describe(item_id), engine.similar(item_id, k)
    if item is None or found is None:
        raise UnknownItemError("the catalogue in service has no item of this id")
    return SimilarResponse(
        item_id=item_id,
        title=item.title,
        items=[
            SimilarItem(
                item_id=neighbour.item_id,
                score=neighbour.score,
                categories=list(neighbour.categories),
                title=neighbour.title,
            )
            for neighbour in found
        ],
        model_version=engine.version,
    )
