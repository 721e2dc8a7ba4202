"""Filters on attributes against a loop over every item, of a bundle and of what was added to it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.catalogue import Item
from index.eligibility import MAX_KEPT, Eligibility
from index.errors import FilterError
from index.filters import Combined, Condition, Filter, check, matching
from index.overlay import LayeredCatalogue, LayeredEligibility, Overlay
from tests.effort import examples
from tests.factories import make_attributes, make_catalogue, make_unit_vectors
from tests.filters import filters
from tests.index.reference import holds

ITEMS, ADDED = 150, 60
BASE = make_catalogue(ITEMS, seed=3, attributes=True)
SCHEMA = BASE.attributes.schema


def layered(seed: int) -> LayeredCatalogue:
    """A catalogue in which items were added, changed and removed."""
    overlay, generator = Overlay(BASE, 4), np.random.default_rng(seed)
    attributes, vectors = make_attributes(ADDED, seed=seed), make_unit_vectors(ADDED, 4)
    for line in range(ADDED):
        item_id = str(generator.choice([1001, 1002, *range(5000, 5040)]))
        categories = ("Comedy",) if generator.random() < 0.5 else ()
        overlay.put(Item(item_id, None, categories), vectors[line], attributes.of(line))
    for row in generator.integers(1, ITEMS + 1, 20):
        overlay.remove(BASE.item_id(int(row)))
    return overlay.view()[0]


@settings(max_examples=examples(200))
@given(filters())
def test_a_filter_lets_through_what_a_loop_does(where: Filter) -> None:
    expected = [holds(where, BASE.attributes_of(row)) for row in range(1, ITEMS + 1)]
    assert matching(where, BASE.attributes).tolist() == expected


@settings(max_examples=examples(100))
@given(
    filters() | st.none(),
    st.none() | st.frozensets(st.sampled_from(["Comedy", "News", "No such"])),
    st.integers(0, 50),
)
def test_eligible_rows_are_those_of_a_loop_with_what_was_added(
    where: Filter | None, categories: frozenset[str] | None, seed: int
) -> None:
    catalogue, base = layered(seed), Eligibility(BASE)
    eligibility = LayeredEligibility(base, catalogue)
    expected = [
        row
        for row in range(1, len(catalogue) + 1)
        if catalogue.alive[row]
        and (categories is None or categories & set(catalogue.category(row)))
        and (where is None or holds(where, catalogue.attributes_of(row)))
    ]
    eligible = eligibility.of(categories, where)
    assert eligible.rows.tolist() == expected
    assert (eligible.count, eligible.alive) == (len(expected), eligibility.of(None).count)
    assert eligibility.of(categories, where) is eligible
    assert base.of(categories, where).rows.tolist() == [
        row
        for row in range(1, ITEMS + 1)
        if (categories is None or categories & set(BASE.category(row)))
        and (where is None or holds(where, BASE.attributes_of(row)))
    ]


def test_few_masks_are_kept_whatever_is_asked() -> None:
    eligibility = Eligibility(BASE)
    first = eligibility.of(None, Condition("length", (0,)))
    for number in range(1, MAX_KEPT):
        eligibility.of(None, Condition("length", (number,)))
    assert eligibility.of(None, Condition("length", (0,))) is first
    for number in range(100, 100 + MAX_KEPT):
        eligibility.of(frozenset({"News"}), Condition("length", (number,)))
    assert eligibility.of(None, Condition("length", (0,))) is not first


@pytest.mark.parametrize(
    ("where", "location", "fault"),
    [
        (Condition("colour", ("red",)), ("attribute",), "'colour' is no attribute of the bundle in service"),
        (Condition("length", (1, "long")), ("in", 1), "must be a finite number"),
        (Condition("length", (True,)), ("in", 0), "must be a finite number"),
        (Condition("length", above=float("nan")), ("above",), "must be a finite number"),
        (Condition("released", at_least=2024), ("at_least",), "must be a date"),
        (Condition("released", ("2024",)), ("in", 0), "must be a date"),
        (
            Condition("language", at_most="en"),
            ("at_most",),
            "of the type text, which has no order: use",
        ),
        (Condition("tags", below="x"), ("below",), "of the type texts, which has no order"),
        (Condition("tags", ("",)), ("in", 0), "must be a text"),
        (Condition("live", ("true",)), ("in", 0), "must be true or false"),
        (
            Combined("all_of", (Condition("live", (True,)), Combined("none_of", (Condition("x", (1,)),)))),
            ("all_of", 1, "none_of", 0, "attribute"),
            "'x' is no attribute",
        ),
    ],
)
def test_what_the_attributes_do_not_allow_is_refused_where_it_stands(
    where: Filter, location: tuple[Any, ...], fault: str
) -> None:
    for refuse in (lambda: check(where, SCHEMA), lambda: Eligibility(BASE).of(None, where)):
        with pytest.raises(FilterError) as refusal:
            refuse()
        assert refusal.value.location == location
        assert fault in refusal.value.fault
