"""`where`: answers hold only items whose attributes a filter lets through, and as many as there are."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from bundle.read import read_bundle
from engine.changes import Change
from engine.contract import EngineRequest
from engine.costs import COEFFICIENTS
from engine.engine import Engine
from engine.recipes import Like, Recipe
from index.filters import Combined, Condition, Filter
from service.requests import RecommendRequest
from service.settings import Settings
from tests.effort import examples
from tests.factories import publish_tiny_bundle
from tests.filters import filters
from tests.index.reference import holds
from tests.service.conftest import Serve
from tests.service.serving import AUTHORIZED, Running, running, settings_for

ITEMS = 120
NEW = {
    "long": {"length": 500, "language": "en", "tags": ["cat"]},
    "short": {"length": 0.5, "language": "fr"},
    "bare": {},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("where")
    publish_tiny_bundle(root, items=ITEMS, seed=5, attributes=True)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Any:
    with running(settings_for(root)) as server:
        for item_id, attributes in NEW.items():
            body = {"from": {"like": ["1001"]}, "attributes": attributes}
            assert server.client.put(f"/items/{item_id}", json=body, headers=AUTHORIZED).is_success
        yield server


@pytest.fixture(scope="module")
def attributes(root: Path) -> dict[str, dict[str, Any]]:
    """Of every item that may be answered."""
    catalogue = read_bundle(root).catalogue
    base = {catalogue.item_id(row): catalogue.attributes_of(row) for row in range(1, len(catalogue) + 1)}
    return {**base, **NEW}


def as_sent(where: Filter) -> dict[str, Any]:
    """The JSON of a filter."""
    if isinstance(where, Combined):
        return {where.how: [as_sent(part) for part in where.parts]}
    bounds = {name: getattr(where, name) for name in ("at_least", "above", "at_most", "below")}
    sent = {name: value for name, value in bounds.items() if value is not None}
    among = {} if where.among is None else {"in": list(where.among)}
    return {"attribute": where.attribute, **among, **sent}


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def similar(server: Running, where: object, **parameters: int) -> httpx.Response:
    """The items most like one, of those that a filter lets through."""
    asked = {} if where is None else {"where": json.dumps(where)}
    return server.client.get("/items/1001/similar", params={**asked, **parameters})


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(where=filters())
def test_every_kind_of_answer_has_just_what_fits(
    server: Running, attributes: dict[str, dict[str, Any]], where: Filter
) -> None:
    sent = as_sent(where)
    fitting = {item_id for item_id, values in attributes.items() if holds(where, values)}
    asked: list[dict[str, Any]] = [
        {"history": ["1001", "1002"], "exclude_seen": False},
        {"user_id": "nobody"},
        {"history": ["1003"], "exclude_seen": False, "diversity": 0.5},
    ]
    for one in asked:
        answer = server.answer(**one, k=200, where=sent)
        assert set(ids(answer)) == fitting
        assert len(ids(answer)) == len(fitting)
    batch = server.client.post(
        "/recommend/batch", json={"requests": [{**one, "k": 200, "where": sent} for one in asked]}
    ).json()["answers"]
    assert [set(ids(answer)) for answer in batch] == [fitting] * 3
    few = server.answer(history=["1001"], k=3, where=sent)
    assert len(ids(few)) == min(3, len(fitting - {"1001"}))
    alike = similar(server, sent, k=200).json()
    assert set(ids(alike)) == fitting - {"1001"}
    assert len(ids(alike)) == len(fitting - {"1001"})
    nearest = [item for item in similar(server, None, k=200).json()["items"] if item["item_id"] in fitting]
    assert ids(similar(server, sent, k=4).json()) == [item["item_id"] for item in nearest[:4]]


def test_it_joins_categories_exclusions_and_seeds(server: Running, root: Path) -> None:
    catalogue = read_bundle(root).catalogue
    where = {"attribute": "language", "in": ["en", "fr"]}
    answer = server.answer(
        history=["1001", "1002"], k=200, where=where, categories=["Comedy"], exclude=["1004"], seed=3
    )
    expected = {
        catalogue.item_id(row)
        for row in range(1, ITEMS + 1)
        if "Comedy" in catalogue.category(row)
        and catalogue.attributes_of(row).get("language") in ("en", "fr")
    }
    assert set(ids(answer)) == expected - {"1001", "1002", "1004"}
    assert answer["source"] == "personal"
    again = server.answer(
        history=["1001", "1002"], k=200, where=where, categories=["Comedy"], exclude=["1004"], seed=3
    )
    assert again["items"] == answer["items"]


def test_a_changed_attribute_counts_in_the_next_answer(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS, seed=5, attributes=True)
    server = serve(bundles=tmp_path)

    def found() -> list[str]:
        return ids(server.answer(history=["1001"], k=200, where={"attribute": "length", "above": 1000}))

    def put(**values: Any) -> None:
        body = {"title": "Changed", "attributes": values}
        assert server.client.put("/items/1007", json=body, headers=AUTHORIZED).is_success

    assert found() == []
    put(length=2000)
    assert found() == ["1007"]
    put(length=10)
    assert found() == []
    put(length=2000)
    assert server.client.delete("/items/1007", headers=AUTHORIZED).is_success
    assert found() == []


CONDITION = {"attribute": "live", "in": [True]}


def nested(levels: int) -> dict[str, Any]:
    return {"all_of": [nested(levels - 1)]} if levels else CONDITION


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ({"attribute": "colour", "in": ["red"]}, "where.attribute"),
        ({"all_of": [CONDITION, {"attribute": "length", "in": ["long"]}]}, "where.all_of[1].in[0]"),
        (
            {"any_of": [{"none_of": [{"attribute": "tags", "above": "x"}]}]},
            "where.any_of[0].none_of[0].above",
        ),
        ({"attribute": "released", "below": "soon"}, "where.below"),
        ({"attribute": "length"}, "where"),
        ({"attribute": "length", "in": [1], "above": 2}, "where"),
        ({"attribute": "length", "at_least": 1, "above": 2}, "where"),
        ({"attribute": "length", "at_most": 1, "below": 2}, "where"),
        ({"attribute": "length", "in": []}, "where.in"),
        ({"attribute": "length", "in": [1] * 101}, "where.in"),
        ({"attribute": "length", "in": [[1]]}, "where.in[0]"),
        ({"attribute": "length", "in": [None]}, "where.in[0]"),
        ({"attribute": "length", "among": [1], "in": [1]}, "where.among"),
        ({"attribute": 1, "in": [1]}, "where.attribute"),
        ({"in": [1]}, "where.attribute"),
        ({"all_of": []}, "where.all_of"),
        ({"all_of": [CONDITION], "any_of": [CONDITION]}, "where"),
        ({"all_of": CONDITION}, "where.all_of"),
        ({"all_of": ["live"]}, "where.all_of[0]"),
        ("live", "where"),
        ([CONDITION], "where"),
        (nested(5), "where"),
        (nested(300), "where"),
        ({"any_of": [CONDITION] * 33}, "where"),
        ({"any_of": [{"all_of": [CONDITION] * 11}] * 3}, "where"),
        ({"attribute": "length", "in": [10**400]}, "where.in[0]"),
        ({"attribute": "x" * 65, "in": [1]}, "where.attribute"),
    ],
)
def test_what_is_no_filter_is_refused_by_field(server: Running, where: object, field: str) -> None:
    response = server.recommend(history=["1001"], where=where)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["field"] == field
    requests = [{"history": ["1001"], "where": where}, {"history": ["1001"], "k": 1}]
    alike = similar(server, where)
    assert (alike.status_code, alike.json()["errors"]) == (422, response.json()["errors"])
    refused, answered = server.client.post("/recommend/batch", json={"requests": requests}).json()["answers"]
    assert (refused["status"], refused["errors"][0]["field"]) == (422, field)
    assert len(answered["items"]) == 1


def test_as_large_and_as_deep_as_allowed(server: Running) -> None:
    assert server.recommend(history=["1001"], where=nested(4)).status_code == 200
    assert server.recommend(history=["1001"], where={"any_of": [CONDITION] * 32}).status_code == 200
    where = {"attribute": "length", "in": list(range(100))}
    assert server.recommend(history=["1001"], where=where).status_code == 200


@pytest.mark.parametrize("value", [b'"\\ud800"', b"NaN", b"Infinity", b"1e999"])
def test_values_that_json_can_write_and_nobody_means_are_refused(server: Running, value: bytes) -> None:
    name = b"language" if value.startswith(b'"') else b"length"
    content = b'{"history": ["1001"], "where": {"attribute": "' + name + b'", "in": [' + value + b"]}}"
    response = server.client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    alike = server.client.get(
        "/items/1001/similar",
        params={"where": f'{{"attribute": "{name.decode()}", "in": [{value.decode()}]}}'},
    )
    assert (alike.status_code, alike.json()["errors"][0]["field"]) == (422, "where.in[0]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be JSON: Expecting value at character 0"),
        ("language=en", "must be JSON: Expecting value at character 0"),
        (
            '{"attribute": "x", "attribute": "y"}',
            "must be JSON: has the name 'attribute' twice in one object",
        ),
        ("[" * 10_000, "must be JSON: nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(server: Running, text: str, message: str) -> None:
    response = server.client.get("/items/1001/similar", params={"where": text})
    assert (response.status_code, response.json()["errors"]) == (
        422,
        [{"field": "where", "message": message}],
    )


def test_a_changed_attribute_counts_for_similar_items_too(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS, seed=5, attributes=True)
    server = serve(bundles=tmp_path)
    where = {"attribute": "length", "above": 1000}
    assert ids(similar(server, where).json()) == []
    body = {"from": {"like": ["1002"]}, "attributes": {"length": 2000}}
    assert server.client.put("/items/new", json=body, headers=AUTHORIZED).is_success
    assert ids(similar(server, where).json()) == ["new"]
    assert server.client.delete("/items/new", headers=AUTHORIZED).is_success
    assert ids(similar(server, where).json()) == []


def test_a_bundle_without_attributes_says_that_it_has_none(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=20)
    response = serve(bundles=tmp_path).recommend(history=["1001"], where=as_sent(Condition("x", (1,))))
    assert response.json()["errors"][0] == {
        "field": "where.attribute",
        "message": "'x' is no attribute of the bundle in service, which has none",
    }


def test_a_filter_is_made_once_of_a_request() -> None:
    asked = {"all_of": [{"attribute": "language", "in": ["en"]}, {"attribute": "length", "above": 3}]}
    request = RecommendRequest.model_validate({"history": ["1001"], "where": asked})
    assert request.to_engine(()).where is request.to_engine(("1002",)).where


def test_a_filter_that_is_kept_costs_as_much_after_a_change_of_the_catalogue(root: Path) -> None:
    engine = Engine(read_bundle(root), max_steps=50)
    request = EngineRequest(["1001"], 5, where=Condition("language", ("en",)))
    new = engine.costs.of(request)
    engine.recommend([request])
    kept = engine.costs.of(request)
    assert kept < new
    recipe = Recipe("New", (), Like(("1001",)), (), {"language": "en"})
    engine.change({"n-1": Change(recipe, served=True)})
    scored = COEFFICIENTS["scored"] * engine.costs.quantities(request)["scored"] / len(engine)
    assert engine.costs.of(request) == pytest.approx(kept + scored)


def test_a_new_filter_of_four_texts_over_a_million_items_is_within_the_bound_of_a_request(root: Path) -> None:
    engine = Engine(read_bundle(root), max_steps=50)
    parts = tuple(
        Condition(name, (value,))
        for name, value in (("language", "en"), ("language", "fr"), ("tags", "cat"), ("live", True))
    )
    quantities = engine.costs.quantities(EngineRequest(["1001"], 5, where=Combined("any_of", parts)))
    passes = {name: quantities[name] for name in ("masked", "compared", "looked up", "gathered")}
    assert passes["gathered"] == 4 * ITEMS  # in each column some items have no word
    cost = sum(COEFFICIENTS[name] * count for name, count in passes.items()) * 1_000_000 / ITEMS
    assert cost < 0.75 * Settings.model_fields["max_request_cost"].default
