"""`GET /items/{id}/similar`: neighbours of an item."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from engine.contract import ScoredItem
from engine.engine import Engine
from service.catalogue.last_look import neighbours_without_gone, settled
from service.catalogue.live import LiveCatalogue
from service.dependencies import TheRequestInfo, TheService
from service.errors import UnknownItemError
from service.filter_text import filter_of
from service.filters import AttributeCondition, CombinedFilter
from service.problems import documented
from service.requests import MAX_ITEMS, Text
from service.responses import SimilarItem, SimilarResponse
from service.routes.encoded_path import EncodedPathRoute

router = APIRouter(tags=["items"], route_class=EncodedPathRoute)

_JSON_OF_A_FILTER: dict[str, Any] = {
    "contentMediaType": "application/json",
    "contentSchema": {
        "anyOf": [
            {"$ref": f"#/components/schemas/{form.__name__}"} for form in (CombinedFilter, AttributeCondition)
        ]
    },
}


@router.get("/items/{item_id:path}/similar", responses=documented(400, 404, 422, 503, 504))
async def similar_items(
    item_id: Annotated[Text, Path(description="as in events; percent-encode it", examples=["50"])],
    service: TheService,
    info: TheRequestInfo,
    k: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="how many neighbours")] = 10,
    where: Annotated[
        str | None,
        Query(
            description="only those whose attributes this filter lets through: the JSON of `where` in"
            " POST /recommend, percent-encoded",
            examples=['{"attribute": "language", "in": ["en", "fr"]}'],
            json_schema_extra=_JSON_OF_A_FILTER,
        ),
    ] = None,
) -> SimilarResponse:
    """The items whose vectors are nearest, best first, without the item itself."""
    asked = None if where is None else filter_of(where)
    catalogue = service.catalogue
    engine, found = await settled(
        catalogue,
        lambda spare: service.recommender.similar(item_id, k, asked, info, spare),
        lambda made: _without_gone(made, k, catalogue),
    )
    if catalogue.is_gone(item_id):
        raise UnknownItemError("the catalogue in service has no item of this id")
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


def _without_gone(
    made: tuple[Engine, list[ScoredItem]], k: int, catalogue: LiveCatalogue
) -> tuple[tuple[Engine, list[ScoredItem]], int]:
    kept, struck = neighbours_without_gone(made[1], k, catalogue)
    return (made[0], kept), struck
