"""Requests that change the catalogue, as callers send them."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, FailFast, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from engine.recipes import Content, Given, Like
from index.attributes import MAX_ATTRIBUTES, MAX_TEXT_LENGTH, MAX_TEXTS
from service.catalogue.protocol import Description
from service.request_model import RequestModel
from service.requests import Id, Text, WrittenId

MAX_ITEMS = 1_000
"""Of one call: some hundred bytes each, and a list of them is answered within a second."""
MAX_LIKE = 50
"""Items whose mean an item may be. Chosen: as many as the model reads of a user."""
MAX_DIM = 4_096
"""Numbers of a vector that are read; the bundle says how many it needs."""
MAX_TITLE_LENGTH = 1_000
"""Chosen: a title is a line."""
MAX_CATEGORIES = 64
"""As many as a request may ask for."""

Moment = Annotated[int, Field(ge=0, le=2**53 - 1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LikeOrigin(RequestModel):
    """The mean of the vectors of items that the model was trained on."""

    like: list[Id] = Field(
        min_length=1, max_length=MAX_LIKE, description="items that it is like", examples=[["50", "181"]]
    )


class ContentOrigin(RequestModel):
    """Numbers that tell what the item is like, which the content map of the bundle understands."""

    content: Annotated[list[Number], FailFast()] = Field(
        min_length=1,
        max_length=MAX_DIM,
        description="as many numbers as the bundle's content map reads; its length does not matter",
    )


class VectorOrigin(RequestModel):
    """A vector in the space of the model in service."""

    vector: Annotated[list[Number], FailFast()] = Field(
        min_length=1,
        max_length=MAX_DIM,
        description="as many numbers as the model's vectors have; its length does not matter",
    )
    model_version: Text = Field(
        description="the bundle whose space it is of", examples=["20261123T181500.123456Z-0a1b2c3d"]
    )


def _kind(origin: object) -> str:
    fields = origin if isinstance(origin, dict) else {}
    if "vector" in fields or isinstance(origin, VectorOrigin):
        return "(vector)"
    return "(content)" if "content" in fields or isinstance(origin, ContentOrigin) else "(like)"


OriginRequest = Annotated[
    Annotated[LikeOrigin, Tag("(like)")]
    | Annotated[ContentOrigin, Tag("(content)")]
    | Annotated[VectorOrigin, Tag("(vector)")],
    Discriminator(_kind),
]


_ATTRIBUTES = {
    "type": "object",
    "maxProperties": MAX_ATTRIBUTES,
    "additionalProperties": {
        "anyOf": [
            {"type": "number"},
            {"type": "boolean"},
            {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH},
            {
                "type": "array",
                "maxItems": MAX_TEXTS,
                "items": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH},
            },
        ]
    },
}


class ItemRequest(RequestModel):
    """All of an item but its id."""

    title: str | None = Field(None, max_length=MAX_TITLE_LENGTH, examples=["A new video"])
    categories: Annotated[list[Text], FailFast()] = Field(
        [], max_length=MAX_CATEGORIES, examples=[["Comedy"]]
    )
    attributes: Annotated[dict[str, Any], WithJsonSchema(_ATTRIBUTES)] = Field(
        {},
        max_length=MAX_ATTRIBUTES,
        description="attributes of the bundle in service by name, each of its type",
        examples=[{"duration": 34.5, "language": "en"}],
    )
    origin: OriginRequest | None = Field(
        None,
        alias="from",
        description="what its vector follows from; without it a known item keeps its vector, and another one"
        " gets the mean of its categories",
    )
    available_from: Moment | None = Field(
        None, description="not answered before, ms since the epoch", examples=[1_795_000_000_000]
    )
    available_until: Moment | None = Field(
        None, description="not answered from then on, ms since the epoch", examples=[1_796_000_000_000]
    )

    @model_validator(mode="after")
    def _available_for_a_while(self) -> Self:
        start, end = self.available_from, self.available_until
        if start is not None and end is not None and end <= start:
            raise PydanticCustomError(
                "never_available", "must be later than available_from", {"fields": ["available_until"]}
            )
        return self

    def description(self, attributes: dict[str, Any]) -> Description:
        """As it is kept, with the attributes that the bundle in service makes of what was sent."""
        return Description(
            self.title,
            tuple(dict.fromkeys(self.categories)),
            self.available_from,
            self.available_until,
            attributes,
        )

    @property
    def given(self) -> Like | Content | Given | None:
        """The origin as it is kept; raises RecipeError for content without a direction."""
        match self.origin:
            case LikeOrigin(like=item_ids):
                return Like(tuple(item_ids))
            case ContentOrigin(content=numbers):
                return Content.of(numbers)
            case VectorOrigin(vector=values, model_version=version):
                return Given(tuple(values), version)
        return None


class NamedItemRequest(ItemRequest):
    """An item with its id."""

    item_id: WrittenId = Field(examples=["v-1"])


_SCHEMA = NamedItemRequest.model_json_schema(ref_template="#/components/schemas/{model}")
_SCHEMA.pop("$defs")  # they are there by PUT's own


class ItemsRequest(RequestModel):
    """Many items, each with an outcome of its own."""

    items: list[Annotated[Any, WithJsonSchema(_SCHEMA)]] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="each as for PUT /items/{item_id}, with its item_id; a bad one gets a problem as its"
        " element of the answer",
        examples=[[{"item_id": "v-1", "from": {"like": ["50"]}}]],
    )
