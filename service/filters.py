"""Filters on attributes as callers send them: a small closed grammar.

filter    = condition | {"all_of": [filter, …]} | {"any_of": [filter, …]} | {"none_of": [filter, …]}
condition = {"attribute": name, "in": [value, …]}
| {"attribute": name, "at_least" or "above": value, "at_most" or "below": value}
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from index.attributes import MAX_NAME_LENGTH, MAX_TEXT_LENGTH
from index.filters import Combination, Combined, Condition, Filter
from service.request_model import RequestModel

MAX_CONDITIONS = 32
"""Of one filter, in all its parts. Chosen: each is a pass over a column, some ms of a million items."""
MAX_NESTING = 4
"""Combinations inside of one another. Chosen: all of any of none of some has three."""
MAX_VALUES = 100
"""Of one condition. Chosen: more than a caller writes by hand, and few to compare with."""

_COMBINATIONS: tuple[Combination, ...] = ("all_of", "any_of", "none_of")
_BOUNDS = ("at_least", "above", "at_most", "below")


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("no_value", "must be a number, a date or other text, true or false")
    return value


Scalar = Annotated[
    Any,
    BeforeValidator(_scalar),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH},
                {"type": "boolean"},
            ]
        }
    ),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH)]


class AttributeCondition(RequestModel):
    """A condition on one attribute, which an item that lacks it does not meet.

    Either it has one of some values, or it lies between bounds.
    """

    attribute: Name = Field(description="one of those that GET /version names", examples=["language"])
    among: list[Scalar] | None = Field(
        None,
        alias="in",
        min_length=1,
        max_length=MAX_VALUES,
        description="it has one of these; of texts, any of its own is one of these",
        examples=[["en", "fr"]],
    )
    at_least: Scalar | None = Field(None, description="of a number or date", examples=[10])
    above: Scalar | None = Field(None, description="of a number or date", examples=[10])
    at_most: Scalar | None = Field(None, description="of a number or date", examples=[60])
    below: Scalar | None = Field(None, description="of a number or date", examples=["2024-05-01"])

    @model_validator(mode="after")
    def _of_one_form(self) -> Self:
        bounds = [name for name in _BOUNDS if getattr(self, name) is not None]
        twice = {"at_least", "above"} <= set(bounds) or {"at_most", "below"} <= set(bounds)
        if twice or bool(bounds) == (self.among is not None):
            raise PydanticCustomError(
                "no_condition",
                "give either `in`, or one of `at_least` and `above`, one of `at_most` and `below`, or both",
            )
        return self

    @cached_property
    def filter(self) -> Filter:
        """As the engine takes it."""
        among = None if self.among is None else tuple(self.among)
        return Condition(self.attribute, among, self.at_least, self.above, self.at_most, self.below)


Parts = Annotated[list["FilterRequest"], FailFast(), Field(min_length=1, max_length=MAX_CONDITIONS)]


class CombinedFilter(RequestModel):
    """Filters of which all, any or none hold: one of the three lists."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    all_of: Parts = Field(default_factory=list, description="all of these filters hold")
    any_of: Parts = Field(default_factory=list, description="at least one of these holds")
    none_of: Parts = Field(
        default_factory=list,
        description="none of these holds; it is so for an item that lacks what they ask for",
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("no_filter", "give one of `all_of`, `any_of` and `none_of`")
        return self

    @cached_property
    def filter(self) -> Filter:
        """As the engine takes it."""
        (how,) = (name for name in _COMBINATIONS if name in self.model_fields_set)
        return Combined(how, tuple(part.filter for part in getattr(self, how)))


def _form(where: object) -> str:
    if isinstance(where, RequestModel):
        where = where.model_fields_set
    there = where if isinstance(where, dict | set) else {}
    return "(condition)" if set(_COMBINATIONS).isdisjoint(there) else "(combined)"


FilterRequest = Annotated[
    Annotated[CombinedFilter, Tag("(combined)")] | Annotated[AttributeCondition, Tag("(condition)")],
    Discriminator(_form),
]
CombinedFilter.model_rebuild()


def _small(where: object) -> object:
    """The filter as it was sent, once it is known to be small enough to be looked at."""
    nesting = list(_levels(where))
    if len(nesting) > MAX_CONDITIONS:
        raise PydanticCustomError("too_large", f"must have at most {MAX_CONDITIONS} conditions in all")
    if max(nesting, default=0) > MAX_NESTING:
        raise PydanticCustomError("too_deep", f"must have at most {MAX_NESTING} combinations in one another")
    return where


def _levels(where: object) -> Iterator[int]:
    """The number of combinations around each condition, as far as these are few."""
    waiting, found = [(where, 0)], 0
    while waiting and found <= MAX_CONDITIONS:
        part, level = waiting.pop()
        parts = [one for name in _COMBINATIONS for one in _parts(part, name)] if level <= MAX_NESTING else []
        waiting += [(one, level + 1) for one in parts]
        if not parts:
            found += 1
            yield level


def _parts(where: object, name: str) -> list[object]:
    parts = where.get(name) if isinstance(where, dict) else None
    return parts[: MAX_CONDITIONS + 1] if isinstance(parts, list) else []


WhereRequest = Annotated[FilterRequest, BeforeValidator(_small)]
"""A filter of a request."""
