"""`fresh`: a part of every answer is of items that were put since the bundle."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundle import read
from bundle.manifest import ServingDefaults
from bundle.write import publish
from engine.contract import fresh_items
from tests.factories import make_catalogue, make_index, make_model, make_serving, publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.gated import HeldEngine, until
from tests.service.serving import AUTHORIZED, Running, running, settings_for

ITEMS, NEW = 200, 40
NEW_IDS = {f"new-{number}" for number in range(NEW)}


def put(server: Running, item_id: str, **fields: Any) -> None:
    body = {"title": item_id, **fields}
    assert server.client.put(f"/items/{item_id}", json=body, headers=AUTHORIZED).is_success


def put_new(server: Running) -> None:
    """New items, far from what the tests watch, so that they are in no list by themselves."""
    items = [
        {
            "item_id": item_id,
            "from": {"like": [str(1100 + number), str(1150 + number)]},
            "categories": ["Comedy"] if number % 2 else ["News"],
            "attributes": {"length": number},
        }
        for number, item_id in enumerate(sorted(NEW_IDS))
    ]
    response = server.client.post("/items", json={"items": items}, headers=AUTHORIZED)
    assert all("sequence" in one for one in response.json()["items"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("fresh")
    publish_tiny_bundle(root, items=ITEMS, seed=5, attributes=True)
    with running(settings_for(root)) as server:
        put_new(server)
        yield server


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def new_of(answer: dict[str, Any]) -> int:
    return len(NEW_IDS & set(ids(answer)))


ASKED: list[dict[str, Any]] = [
    {"history": ["1001", "1002"]},
    {"history": ["1001", "1002"], "diversity": 0.7},
    {"history": ["1001"], "interest_mode": "guidance", "exclude_seen": False},
    {"history": ["1001", "new-3"], "seed": 4},
    {"user_id": "nobody"},
    {"user_id": "nobody", "diversity": 0.5},
    {"history": ["1001"], "where": {"attribute": "length", "at_least": 20}},
    {"user_id": "nobody", "categories": ["Comedy"]},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize(("k", "fresh"), [(10, 0.2), (10, 0.29), (20, 0.5), (7, 1.0), (1, 0.9)])
def test_at_least_so_many_are_new(server: Running, asked: dict[str, Any], k: int, fresh: float) -> None:
    plain = server.answer(**asked, k=k)
    answer = server.answer(**asked, k=k, fresh=fresh)
    needed = int(round(100 * fresh) * k / 100)
    assert new_of(answer) >= needed
    assert new_of(answer) == max(needed, new_of(plain)) or "diversity" in asked
    assert len(ids(answer)) == len(set(ids(answer))) == len(ids(plain))
    assert (answer["fresh_missing"], answer["source"]) == (0, plain["source"])
    assert plain["fresh_missing"] == 0
    if answer["interests"]:
        assert sum(interest["item_count"] for interest in answer["interests"]) == k
        assert sum(interest["weight"] for interest in answer["interests"]) == pytest.approx(1)
    if "diversity" not in asked:
        scores = [item["score"] for item in answer["items"]]
        assert scores == sorted(scores, reverse=True)
        kept = [item_id for item_id in ids(plain) if item_id in ids(answer)]
        assert kept == [item_id for item_id in ids(answer) if item_id in ids(plain)]
    (batched,) = server.client.post(
        "/recommend/batch", json={"requests": [{**asked, "k": k, "fresh": fresh}]}
    ).json()["answers"]
    assert ids(batched) == ids(server.answer(**asked, k=k, fresh=fresh))


def test_what_is_missing_is_said(server: Running) -> None:
    where = {"attribute": "length", "at_least": 60}
    answer = server.answer(history=["1001"], k=10, fresh=0.5)
    assert answer["fresh_missing"] == 0
    none = {"all_of": [{"attribute": "length", "at_least": 37}, {"attribute": "length", "below": 40}]}
    answer = server.answer(history=["1001"], k=10, fresh=0.8, where=none)
    assert new_of(answer) + answer["fresh_missing"] == 8
    assert new_of(answer) == 3
    assert server.answer(history=["1001"], k=10, fresh=1, where=where)["fresh_missing"] == 10
    all_seen = server.answer(user_id="nobody", k=10, fresh=1, exclude=sorted(NEW_IDS)[1:])
    assert (new_of(all_seen), all_seen["fresh_missing"], len(all_seen["items"])) == (1, 9, 10)


def test_without_it_answers_are_as_they_were(server: Running) -> None:
    for asked in ASKED:
        assert server.answer(**asked, k=30, fresh=0)["items"] == server.answer(**asked, k=30)["items"]


def test_parts_are_those_of_decimals() -> None:
    for percent in range(101):
        for k in range(1, 501):
            assert fresh_items(percent / 100, k, 0.0) == percent * k // 100


@pytest.mark.parametrize("fresh", [-0.1, 1.1, "0.5", True, None])
def test_a_part_is_between_0_and_1(server: Running, fresh: object) -> None:
    response = server.recommend(history=["1001"], fresh=fresh)
    if fresh is None:
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "fresh")


def publish_with(root: Path, serving: ServingDefaults) -> None:
    model = make_model(ITEMS)
    publish(
        root,
        model,
        make_catalogue(ITEMS, 5, attributes=True),
        make_index(model),
        serving=serving,
        metrics={},
        data_fingerprint="fresh",
    )


def test_a_bundle_has_a_default(serve: Serve, tmp_path: Path) -> None:
    publish_with(tmp_path, make_serving(fresh=0.4))
    server = serve(bundles=tmp_path)
    assert server.client.get("/version").json()["defaults"]["fresh"] == 0.4
    assert server.answer(history=["1001"], k=10)["fresh_missing"] == 4
    put_new(server)
    assert new_of(server.answer(history=["1001"], k=10)) >= 4
    assert new_of(server.answer(history=["1001"], k=10, fresh=1)) == 10
    answer = server.answer(history=["1001"], k=10, fresh=0, seed=0)  # without one, noise is of the version
    assert (new_of(answer) < 4, answer["fresh_missing"]) == (True, 0)


def test_a_changed_item_counts_and_a_removed_one_not(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS, seed=5)
    server = serve(bundles=tmp_path)
    put(server, "1007")
    put(server, "1008")
    answer = server.answer(history=["1001"], k=2, fresh=1)
    assert (set(ids(answer)), answer["fresh_missing"]) == ({"1007", "1008"}, 0)
    assert server.client.delete("/items/1007", headers=AUTHORIZED).is_success
    answer = server.answer(history=["1001"], k=2, fresh=1)
    assert ("1008" in ids(answer), "1007" in ids(answer), answer["fresh_missing"]) == (True, False, 1)


def test_an_answer_that_loses_new_items_on_its_way_gets_others(
    serve: Serve, tmp_path: Path, gate: threading.Event
) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS, seed=5, attributes=True)
    server = serve(bundles=tmp_path)
    put_new(server)
    first = ids(server.answer(history=["1001"], k=10, fresh=0.5))
    gone = NEW_IDS & set(first)
    assert len(gone) == 5
    engine = HeldEngine(read.read_bundle(tmp_path), max_steps=50)
    server.service.engines.engine = engine
    server.service.catalogue.serve(engine)
    asked = {"history": ["1001"], "k": 10, "fresh": 0.5}
    with ThreadPoolExecutor() as callers:
        one = callers.submit(server.recommend, **asked)
        many = callers.submit(server.client.post, "/recommend/batch", json={"requests": [asked]})
        until(lambda: server.metric("dimerec_batch_size_count") >= 1)
        for item_id in gone:
            assert server.client.delete(f"/items/{item_id}", headers=AUTHORIZED).is_success
        gate.set()
        answers = [one.result().json(), many.result().json()["answers"][0]]
    for answer in answers:
        assert not gone & set(ids(answer))
        assert (new_of(answer), len(ids(answer)), answer["fresh_missing"]) == (5, 10, 0)
