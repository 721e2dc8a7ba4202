"""Vectors that follow from content, against the same sum in other words."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bundle.read import Bundle, read_bundle
from engine.recipes import Content, Derivation, Recipe, RecipeError
from tests.effort import examples
from tests.factories import CATEGORIES, make_content_map, publish_tiny_bundle

INPUTS = 5
NUMBERS = st.floats(-1e300, 1e300).filter(lambda number: number == 0 or abs(number) > 1e-200)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root, content_map=make_content_map(INPUTS))
    return read_bundle(root)


def derivation_of(bundle: Bundle) -> Derivation:
    return Derivation(bundle.version, bundle.catalogue, bundle.table, 0, bundle.content_map)


def recipe(content: Content, *categories: str) -> Recipe:
    return Recipe("New", ("Music",), content, categories)


@given(
    arrays(np.float64, INPUTS, elements=NUMBERS).filter(np.any),
    st.lists(st.sampled_from([*CATEGORIES, "No such"])),
)
@settings(max_examples=examples(50), deadline=None)
def test_the_vector_is_the_maps_of_the_contents_direction(
    bundle: Bundle, numbers: np.ndarray, categories: list[str]
) -> None:
    vector, origin = derivation_of(bundle).derive("new", recipe(Content.of(numbers.tolist()), *categories))
    made = make_content_map(INPUTS)
    scaled = numbers / np.abs(numbers).max()
    total = made.bias.astype(np.float64)
    for number, weights in zip(scaled / np.sqrt((scaled**2).sum()), made.weights, strict=True):
        total = total + number * weights
    for name in set(categories) & set(CATEGORIES):
        total = total + made.shifts[CATEGORIES.index(name)]
    np.testing.assert_allclose(vector, total / np.sqrt((total**2).sum()), atol=1e-4)
    assert origin == "content"


@pytest.mark.parametrize("numbers", [[0.0] * INPUTS, [np.nan] * INPUTS, [np.inf, 1, 1, 1, 1], []])
def test_content_without_a_direction_is_refused(numbers: list[float]) -> None:
    with pytest.raises(RecipeError) as refusal:
        Content.of(numbers)
    assert refusal.value.field == "from.content"


@pytest.mark.parametrize(
    "values", [b"", b"abc", bytes(4 * INPUTS), b"\xff" * 4 * INPUTS, Content.of([1.0] * 4).values]
)
def test_content_that_this_map_cannot_read_falls_back_to_categories(bundle: Bundle, values: bytes) -> None:
    """As an import may bring it, or a bundle of another kind of content leaves it."""
    derivation, of_no_use = derivation_of(bundle), recipe(Content(values), "Comedy")
    with pytest.raises(RecipeError) as refusal:
        derivation.derive("new", of_no_use)
    assert refusal.value.field == "from.content"
    vector, origin = derivation.derive_anyhow("new", of_no_use)
    assert origin == "categories"
    plain = derivation.derive("new", Recipe("New", ("Music",), None, ("Comedy",)))
    np.testing.assert_array_equal(vector, plain.vector)


def test_without_a_map_content_counts_for_nothing(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    derivation = derivation_of(read_bundle(tmp_path))
    content = Content.of([1.0, 2.0])
    assert derivation.derive("new", recipe(content, "Comedy")).derived_from == "categories"
    assert derivation.derive("1001", recipe(content, "Comedy")).derived_from == "learned"
    with pytest.raises(RecipeError, match="categories"):
        derivation.derive("new", recipe(content))
