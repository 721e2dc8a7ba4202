"""The log as a whole on replicas with one Redis."""

from typing import Any

from tests.service.catalogue.replicas import Replicas, together
from tests.service.catalogue.test_catalogue_http import call, put, remove
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running


def whole(server: Running) -> dict[str, Any]:
    response = server.client.get("/catalogue", params={"limit": 1000}, headers=AUTHORIZED)
    assert response.status_code == 200
    read: dict[str, Any] = response.json()
    return read


def test_every_replica_has_all_of_it_and_one_restores_it_for_all(replicas: Replicas) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    put(first, "new", title="New", **{"from": {"like": ["1001"]}})
    remove(second, "1005")
    put(first, "new", title="Renamed")
    together(first, second)
    until(lambda: whole(first)["sequence"] == whole(second)["sequence"] == 3)
    read = whole(second)
    assert whole(first)["entries"] == read["entries"]
    assert [(one["item_id"], one["sequence"], one["origin_sequence"]) for one in read["entries"]] == [
        ("1005", 2, 0),
        ("new", 3, 1),
    ]
    put(first, "1005", title="Back")
    lost = {**read["entries"][1], "item_id": "other", "sequence": 9, "origin_sequence": 8}
    body = {"entries": [read["entries"][0], lost], "sequence": 12, "passed_ms": read["passed_ms"]}
    assert first.client.post("/catalogue", json=body, headers=AUTHORIZED).json() == {"sequence": 12}
    for server in (first, second):
        until(lambda: call(server, "GET", "other").json().get("title") == "Renamed")  # noqa: B023
        assert call(server, "GET", "1005").json()["title"] == "Back"
    assert put(second, "next", **{"from": {"like": ["1001"]}})["sequence"] == 13


def test_entries_that_no_log_can_have_are_refused_by_their_field(replicas: Replicas) -> None:
    server = replicas.start("first")
    entry = {"item_id": "a", "sequence": 1, "removed": True}
    faults: list[dict[str, Any]] = [
        {"item_id": ""},
        {"sequence": -1},
        {"sequence": 2**60},
        {"removed": "yes"},
        {"origin": {}},
        {"description": {"title": "t" * 5000, "categories": []}},
        {"description": {"title": None, "categories": ["", "\u0001"]}},
        {"description": {"title": None, "categories": ["c" * 3000]}},
        {"description": {"title": None, "categories": [str(number) for number in range(200)]}},
        {
            "description": {
                "title": None,
                "categories": [],
                "available_from": 1_796_000_000_000,
                "available_until": 1_795_000_000_000,
            }
        },
        {"origin": {"given": {"type": "like", "item_ids": []}, "of_categories": []}},
        {"origin": {"given": {"type": "content", "values": ""}, "of_categories": []}},
    ]
    for bad in faults:
        body = {"entries": [entry, {**entry, **bad}]}
        response = server.client.post("/catalogue", json=body, headers=AUTHORIZED)
        assert response.status_code == 422, bad
        assert response.json()["errors"][0]["field"].startswith("entries[1]"), bad
    assert whole(server)["entries"] == []
