"""`GET /items/{id}/similar`: neighbours of an item."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.dependencies import TheRequestInfo, TheService
from service.problems import documented
from service.requests import MAX_ITEMS, Text
from service.responses import SimilarItem, SimilarResponse
from service.routes.encoded_path import EncodedPathRoute

router = APIRouter(tags=["items"], route_class=EncodedPathRoute)


@router.get("/items/{item_id:path}/similar", responses=documented(400, 404, 422, 503, 504))
async def similar_items(
    item_id: Annotated[Text, Path(description="as in events; percent-encode it", examples=["50"])],
    service: TheService,
    info: TheRequestInfo,
    k: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="how many neighbours")] = 10,
) -> SimilarResponse:
    """The items whose vectors are nearest, best first, without the item itself."""
    engine, found = await service.recommender.similar(item_id, k, info)
    item = engine.describe(item_id)
    return SimilarResponse(
        item_id=item_id,
        title=None if item is None else item.title,
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
