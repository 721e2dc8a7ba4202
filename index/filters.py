"""Filters on attributes, and the items that they let through.

A condition is of one attribute: one of some values, or a range. An item that lacks the attribute does not
meet it. Conditions are combined by all, any and none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.attributes import NUMERIC, Attributes, AttributeType, Numbers, Stored, readable, stored
from index.errors import AttributeValueError, FilterError

Scalar = bool | int | float | str
Combination = Literal["all_of", "any_of", "none_of"]

_BOUNDS = ("at_least", "above", "at_most", "below")


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute: `among` these values, of `texts` any; or between bounds, of a number or date."""

    attribute: str
    among: tuple[Scalar, ...] | None = None
    at_least: Scalar | None = None
    above: Scalar | None = None
    at_most: Scalar | None = None
    below: Scalar | None = None

    @property
    def bounds(self) -> tuple[Scalar | None, ...]:
        """Of a range, in the order of `at_least`, `above`, `at_most` and `below`."""
        return self.at_least, self.above, self.at_most, self.below


@dataclass(frozen=True, slots=True)
class Combined:
    """All, any or none of the parts."""

    how: Combination
    parts: tuple["Filter", ...]


Filter: TypeAlias = Condition | Combined


def conditions(where: Filter) -> Iterator[Condition]:
    """All conditions in a filter, in their order."""
    if isinstance(where, Condition):
        yield where
    else:
        for part in where.parts:
            yield from conditions(part)


def check(where: Filter, schema: Mapping[str, AttributeType]) -> None:
    """Raise FilterError unless attributes of this schema can be filtered so."""
    _check(where, schema, ())


def matching(where: Filter, attributes: Attributes) -> NDArray[np.bool_]:
    """The items (rows,) that a filter lets through; raises FilterError as `check`."""
    check(where, attributes.schema)
    return _matching(where, attributes)


def _check(where: Filter, schema: Mapping[str, AttributeType], location: tuple[str | int, ...]) -> None:
    if isinstance(where, Combined):
        for index, part in enumerate(where.parts):
            _check(part, schema, (*location, where.how, index))
        return
    kind = schema.get(where.attribute)
    if kind is None:
        there = ", ".join(schema) or "none"
        fault = f"{readable(where.attribute)!r} is no attribute of the bundle in service, which has {there}"
        raise FilterError((*location, "attribute"), fault)
    for index, value in enumerate(where.among or ()):
        _check_value(kind, value, (*location, "in", index))
    for name, bound in zip(_BOUNDS, where.bounds, strict=True):
        if bound is not None:
            if kind not in NUMERIC:
                fault = f"{readable(where.attribute)!r} is of the type {kind}, which has no order: use `in`"
                raise FilterError((*location, name), fault)
            _check_value(kind, bound, (*location, name))


def _check_value(kind: AttributeType, value: Scalar, location: tuple[str | int, ...]) -> None:
    try:
        _stored(kind, value)
    except AttributeValueError as error:
        raise FilterError(location, str(error)) from error


def _stored(kind: AttributeType, value: Scalar) -> Stored:
    return stored("text" if kind == "texts" else kind, value)


def _matching(where: Filter, attributes: Attributes) -> NDArray[np.bool_]:
    if isinstance(where, Combined):
        masks = [_matching(part, attributes) for part in where.parts]
        joined = reduce(np.logical_and if where.how == "all_of" else np.logical_or, masks)
        return ~joined if where.how == "none_of" else joined
    column = attributes.columns[where.attribute]
    if where.among is not None:
        return column.among(_stored(column.kind, value) for value in where.among)
    mask = np.ones(attributes.rows, dtype=np.bool_)
    if isinstance(column, Numbers):
        compares = np.greater_equal, np.greater, np.less_equal, np.less
        for bound, compare in zip(where.bounds, compares, strict=True):
            if bound is not None:
                mask &= compare(column.values, _stored(column.kind, bound))
    return mask
