"""Explanations against plain loops over the whole catalogue, and what callers may rely on."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.explain import Explainer, merge_duplicates
from index.catalogue import Catalogue
from index.exact import ExactIndex
from index.vector_index import Vectors
from index.vector_table import VectorTable
from tests.effort import examples
from tests.factories import make_catalogue, make_unit_vectors
from tests.service.serving import Running

DIM = 8
TEMPERATURE = 0.1
HISTORY = ["1001", "1002", "1003", "1004", "1005"]


def explainer_of(vectors: Vectors, catalogue: Catalogue) -> Explainer:
    table = VectorTable(vectors)
    return Explainer(ExactIndex(table), table, catalogue, TEMPERATURE)


def shares_by_hand(vectors: Vectors, catalogue: Catalogue, interest: Vectors) -> dict[str, float]:
    """Each category's part of the 50 nearest items, weighed by exp(cosine / τ)."""
    cosines = [float(interest @ vector) for vector in vectors]
    nearest = sorted(range(len(vectors)), key=lambda line: -cosines[line])[:50]
    weights = [math.exp(cosines[line] / TEMPERATURE) for line in nearest]
    shares: dict[str, float] = {}
    for line, weight in zip(nearest, weights, strict=True):
        for name in catalogue.categories[line]:
            shares[name] = shares.get(name, 0.0) + weight / sum(weights)
    return shares


def apart_by_hand(vectors: Vectors, catalogue: Catalogue, interests: Vectors, place: int) -> dict[str, float]:
    """What sets an interest apart: a category's share less 80 % of its mean share in the others."""
    found = [shares_by_hand(vectors, catalogue, interest) for interest in interests]
    others = [shares for other, shares in enumerate(found) if other != place]
    names = {name for names in catalogue.categories for name in names}
    if not others:
        counts = {name: sum(name in names for names in catalogue.categories) for name in names}
        others = [{name: count / len(catalogue) for name, count in counts.items()}]
    mean = {name: sum(shares.get(name, 0.0) for shares in others) / len(others) for name in names}
    return {name: found[place].get(name, 0.0) - 0.8 * mean[name] for name in names}


@settings(max_examples=examples(40))
@given(
    items=st.integers(1, 90),
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_top_categories_are_those_that_set_an_interest_apart(
    items: int, counts: list[int], seed: int
) -> None:
    vectors, catalogue = make_unit_vectors(items, DIM, seed), make_catalogue(items, seed)
    users = [make_unit_vectors(count, DIM, seed + 100 + place) for place, count in enumerate(counts)]
    explainer = explainer_of(vectors, catalogue)
    explained = explainer.explain(users, [np.array([1])] * len(users))
    for interests, explanations in zip(users, explained, strict=True):
        for place, explanation in enumerate(explanations):
            apart = apart_by_hand(vectors, catalogue, interests, place)
            expected = sorted((value for value in apart.values() if value > 1e-5), reverse=True)[:3]
            values = [apart[name] for name in explanation.top_categories]
            np.testing.assert_allclose(values[: len(expected)], expected, atol=1e-5)
            assert all(abs(value) <= 1e-5 for value in values[len(expected) :])
            assert len(set(explanation.top_categories)) == len(values) <= 3


@settings(max_examples=examples(40))
@given(history=st.lists(st.integers(1, 60), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_because_names_the_nearest_of_the_history_each_once(history: list[int], seed: int) -> None:
    vectors, interests = make_unit_vectors(60, DIM, seed), make_unit_vectors(4, DIM, seed + 1)
    explainer = explainer_of(vectors, make_catalogue(60))
    (explanations,) = explainer.explain([interests], [np.array(history)])
    for interest, explanation in zip(interests, explanations, strict=True):
        nearest = sorted(set(history), key=lambda row: -float(interest @ vectors[row - 1]))
        assert list(explanation.because) == nearest[:3]


def test_a_catalogue_without_categories_has_none_to_name() -> None:
    vectors = make_unit_vectors(5, DIM)
    catalogue = Catalogue([str(row) for row in range(5)], [None] * 5, [()] * 5, [1] * 5)
    explainer = explainer_of(vectors, catalogue)
    (explanations,) = explainer.explain([make_unit_vectors(2, DIM, 1)], [np.array([3])])
    assert explanations == [((), (3,)), ((), (3,))]


def test_near_duplicates_of_one_kind_are_one() -> None:
    def at(*degrees: float) -> Vectors:
        angles = np.radians(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    merged = merge_duplicates(at(0, 20, 40, 0, 20, 180), draws=3)  # 20° are a cosine of .94, 40° of .77
    assert merged.of.tolist() == [0, 0, 1, 2, 2, 3]
    assert merged.kinds == ["draw", "draw", "guidance", "guidance"]
    np.testing.assert_array_equal(merged.leaders, [0, 2, 3, 5])
    np.testing.assert_allclose(
        merged.together(np.array([0.1, 0.2, 0.1, 0.2, 0.3, 0.1], dtype=np.float32)), [0.3, 0.1, 0.5, 0.1]
    )
    assert merge_duplicates(at(0, 5), draws=0).kinds == ["guidance"]


def labels(answer: dict[str, Any]) -> list[list[str]]:
    return [interest["top_categories"] for interest in answer["interests"]]


@pytest.mark.parametrize(
    "other",
    [
        {"k": 1},
        {"k": 200},
        {"categories": ["Horror"]},
        {"exclude": [str(item) for item in range(1010, 1150)]},
        {"diversity": 1.0},
        {"exclude_seen": False},
    ],
)
def test_explanations_do_not_depend_on_what_is_answered(server: Running, other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"history": HISTORY, "interest_mode": "both", "seed": 3}
    plain, otherwise = server.answer(**asked), server.answer(**(asked | other))
    assert labels(plain) == labels(otherwise)
    because: list[dict[int, Any]] = [
        {item["interest"]: item["because"] for item in answer["items"]} for answer in (plain, otherwise)
    ]
    for interest in because[0].keys() & because[1].keys():
        assert because[0][interest] == because[1][interest]


def test_interests_count_their_items_and_items_name_what_was_watched(server: Running) -> None:
    catalogue = make_catalogue(200)
    titles = dict(zip(catalogue.item_ids, catalogue.titles, strict=True))
    answer: Any = server.answer(
        history=[*HISTORY, "gone", "1001"], k=30, interest_mode="both", exclude_seen=False
    )
    brought = [item["interest"] for item in answer["items"]]
    assert [interest["item_count"] for interest in answer["interests"]] == [
        brought.count(place) for place in range(len(answer["interests"]))
    ]
    for item in answer["items"]:
        named = [watched["item_id"] for watched in item["because"]]
        assert len(set(named)) == len(named) == 3
        assert set(named) <= set(HISTORY)
        assert [watched["title"] for watched in item["because"]] == [titles[name] for name in named]


def test_because_is_of_what_the_model_read(server: Running) -> None:
    length = server.service.engines.engine.manifest.model.max_length
    history = [str(1000 + row) for row in range(1, length + 31)]
    answer: Any = server.answer(history=history, k=100)
    named = {watched["item_id"] for item in answer["items"] for watched in item["because"]}
    assert named <= set(history[-length:])


def test_without_explain_the_same_items_come_and_nothing_is_said_of_why(server: Running) -> None:
    explained: Any = server.answer(history=HISTORY, seed=3)
    plain: Any = server.answer(history=HISTORY, seed=3, explain=False)
    assert labels(plain) == [None] * len(plain["interests"])
    assert [{**item, "because": None} for item in explained["items"]] == plain["items"]
    assert [{**interest, "top_categories": None} for interest in explained["interests"]] == plain["interests"]


def test_popularity_has_no_because(server: Running) -> None:
    answer: Any = server.answer(user_id="nobody", k=3)
    assert [item["because"] for item in answer["items"]] == [[]] * 3
    unexplained: Any = server.answer(user_id="nobody", k=3, explain=False)
    assert [item["because"] for item in unexplained["items"]] == [None] * 3
