"""Recipes of items, and the vectors that follow from them in one bundle.

Each bundle is a vector space of its own, so that a changed item is kept as a recipe and derived anew for
every bundle. The vector is a function of recipe and bundle alone: means are of vectors that the bundle has
learned, whatever else was changed or removed.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bundle.content_map import ContentMap
from files.errors import DimeRecError
from index.attributes import (
    NO_ATTRIBUTES,
    AttributeType,
    AttributeValue,
    readable,
    shown,
    stored,
)
from index.catalogue import Catalogue
from index.errors import AttributeValueError
from index.remembering import remembering
from index.vector_index import Rows, Vectors
from index.vector_table import ItemVectors

DerivedFrom = Literal["learned", "like", "content", "vector", "categories"]

MIN_LEARNED_EVENTS = 1
"""Events in the training log from which an item's vector counts as learned. Chosen: with none it lies where
chance put it.
"""
MIN_NORM = 1e-6
"""Length of a mean of unit vectors below which it has no direction; float32 has 7 digits."""


class Like(Struct, frozen=True, tag="like"):
    """The mean of the vectors of other items."""

    item_ids: tuple[str, ...]


class Given(Struct, frozen=True, tag="vector"):
    """A vector of the space of one model."""

    values: tuple[float, ...]
    model_version: str


class Content(Struct, frozen=True, tag="content"):
    """A description in numbers, which a bundle's content map understands.

    `values`: a unit vector, float32, little-endian: a tuple of floats would take eight times as much.
    """

    values: bytes

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Self:
        """The direction of finite numbers; raises RecipeError where they have none."""
        return cls(_direction(np.array(numbers, dtype=np.float64), "from.content").astype("<f4").tobytes())


class Recipe(Struct, frozen=True):
    """An item as its newest change says.

    `origin`: the vector's, where one was given; without it, it is the learned one, else the mean of
    `of_categories`, those that the item had when nothing else was known. `origin_sequence`: of the change
    that gave it, in the order of all changes.
    """

    title: str | None
    categories: tuple[str, ...]
    origin: Like | Content | Given | None
    of_categories: tuple[str, ...]
    attributes: Mapping[str, AttributeValue] = NO_ATTRIBUTES
    origin_sequence: int = 0


class RecipeError(DimeRecError):
    """No vector follows from a recipe; `field` is the part of it that is at fault."""

    def __init__(self, field: str, fault: str) -> None:
        self.field = field
        self.fault = fault
        super().__init__(f"{field}: {fault}")


class VectorSpaceError(RecipeError):
    """The vector that was given is of another model than the one in service."""


def checked_attributes(
    types: Mapping[str, AttributeType], values: Mapping[str, object]
) -> dict[str, AttributeValue]:
    """The values of an item's attributes as they are shown; raises RecipeError for one that is none."""
    checked = {}
    for name, value in values.items():
        field = f"attributes.{readable(name)}"
        if name not in types:
            there = ", ".join(types) or "none"
            raise RecipeError(field, f"is no attribute of the bundle in service, which has {there}")
        try:
            checked[name] = shown(types[name], stored(types[name], value))
        except AttributeValueError as error:
            raise RecipeError(field, str(error)) from error
    return checked


def kept_attributes(
    types: Mapping[str, AttributeType], values: Mapping[str, AttributeValue]
) -> dict[str, AttributeValue]:
    """Those of an item's attributes that count where they have these types, as they are shown."""
    kept = {}
    for name in types.keys() & values.keys():
        with suppress(AttributeValueError):
            kept[name] = shown(types[name], stored(types[name], values[name]))
    return kept


class Derived(NamedTuple):
    """A unit vector (dim,), and its origin."""

    vector: Vectors
    derived_from: DerivedFrom


class Derivation:
    """Derives vectors in the space of one bundle. Safe to share between threads.

    `catalogue_sequence`: of the last change that the bundle's data obey; 0: of none. `content_map`: None
    where the bundle has none, so that content gives nothing.
    """

    def __init__(
        self,
        version: str,
        catalogue: Catalogue,
        table: ItemVectors,
        catalogue_sequence: int = 0,
        content_map: ContentMap | None = None,
    ) -> None:
        self._version = version
        self._catalogue_sequence = catalogue_sequence
        self._catalogue = catalogue
        self._content_map = content_map
        self._table = table
        self._categories = frozenset(catalogue.category_names)
        self._of_category = remembering(self._mean_of_category, None)  # of these alone, so it is bounded

    def derive(self, item_id: str, recipe: Recipe) -> Derived:
        """The vector of an item; raises RecipeError, or VectorSpaceError, which is one."""
        match recipe.origin:
            case Like():
                return Derived(self._mean_of(recipe.origin), "like")
            case Content():
                return self._of_content(item_id, recipe, recipe.origin)
            case Given():
                return Derived(self._given(recipe.origin), "vector")
        return self._without_origin(item_id, recipe)

    def derive_anyhow(self, item_id: str, recipe: Recipe) -> Derived:
        """As `derive`; as if there were no origin where this bundle can make nothing of it, or was trained
        after it with enough events of the item.
        """
        if self._is_outdated(item_id, recipe):
            return self._without_origin(item_id, recipe)
        try:
            return self.derive(item_id, recipe)
        except RecipeError:
            if recipe.origin is None:
                raise
            return self._without_origin(item_id, recipe)

    def is_bundled(self, item_id: str, recipe: Recipe, derived: Derived) -> bool:
        """True where the bundle has learned what was `derived` for an item, and describes it in this way."""
        row = self._learned_row(item_id)
        if derived.derived_from != "learned" or row is None:
            return False
        item = self._catalogue.item(row)
        attributes = kept_attributes(self._catalogue.attributes.schema, recipe.attributes)
        described = recipe.title, recipe.categories, attributes
        return described == (item.title, item.categories, self._catalogue.attributes_of(row))

    def _is_outdated(self, item_id: str, recipe: Recipe) -> bool:
        is_older = 0 < recipe.origin_sequence <= self._catalogue_sequence
        return is_older and self._learned_row(item_id) is not None

    def _without_origin(self, item_id: str, recipe: Recipe) -> Derived:
        row = self._catalogue.row(item_id)
        if row is not None:
            return Derived(self._table.vectors(np.array([row]))[0], "learned")
        known = (name for name in recipe.of_categories if name in self._categories)
        means = [mean for name in known if (mean := self._of_category(name)) is not None]
        if not means:
            fault = "none of them has an item that the model in service was trained on; give `from`"
            raise RecipeError("categories", fault)
        return Derived(_unit(np.mean(means, axis=0), "categories"), "categories")

    def _mean_of(self, origin: Like) -> Vectors:
        rows = self._learned(self._catalogue.rows(origin.item_ids))
        if not len(rows):
            raise RecipeError("from.like", "the model in service was trained on none of these items")
        return _unit(self._table.vectors(rows).mean(axis=0), "from.like")

    def _of_content(self, item_id: str, recipe: Recipe, origin: Content) -> Derived:
        if self._content_map is None:
            return self._without_origin(item_id, recipe)
        inputs = self._content_map.inputs
        if len(origin.values) != 4 * inputs:
            fault = f"must have {inputs} numbers, not {len(origin.values) // 4}"
            raise RecipeError("from.content", fault)
        content = _direction(np.frombuffer(origin.values, "<f4").astype(np.float64), "from.content")
        vector = self._content_map.vector(content, recipe.of_categories)
        return Derived(_unit(vector, "from.content"), "content")

    def _given(self, origin: Given) -> Vectors:
        if origin.model_version != self._version:
            raise VectorSpaceError(
                "from.model_version",
                f"vectors of {origin.model_version} lie in another space than those of {self._version}",
            )
        if len(origin.values) != self._table.dim:
            fault = f"must have {self._table.dim} numbers, not {len(origin.values)}"
            raise RecipeError("from.vector", fault)
        values = np.array(origin.values, dtype=np.float64)
        return _direction(values, "from.vector").astype(np.float32)

    def _mean_of_category(self, name: str) -> Vectors | None:
        rows = self._learned(self._catalogue.rows_of(name))
        return self._table.vectors(rows).mean(axis=0) if len(rows) else None

    def _learned_row(self, item_id: str) -> int | None:
        """The row of an item, None where the bundle has none or learned nothing of it."""
        rows = self._learned(self._catalogue.rows([item_id]))
        return int(rows[0]) if len(rows) else None

    def _learned(self, rows: Rows) -> Rows:
        learned: Rows = rows[self._catalogue.popularity[rows - 1] >= MIN_LEARNED_EVENTS]
        return learned


def _direction(values: NDArray[np.float64], field: str) -> NDArray[np.float64]:
    """The unit vector of numbers however large or small; RecipeError where there is none."""
    greatest = float(np.abs(values).max(initial=0))
    if not 0 < greatest < np.inf:  # NaN is neither
        raise RecipeError(field, "has no direction: give finite numbers, not all of them 0")
    scaled = values / greatest
    unit: NDArray[np.float64] = scaled / np.linalg.norm(scaled)
    return unit


def _unit(vector: NDArray[np.floating], field: str) -> Vectors:
    norm = float(np.linalg.norm(vector))
    if norm < MIN_NORM:
        raise RecipeError(field, "has no direction: the vectors that it is the mean of cancel out")
    return (vector / norm).astype(np.float32)
