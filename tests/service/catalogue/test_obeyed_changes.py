"""Changes that the bundle in service was trained with: they are its own by then, and nothing beside it."""

from pathlib import Path
from typing import Any

import pytest

from bundle.read import read_bundle
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, Running, running, settings_for

ITEMS = 150
CHANGED = ["1005", "1007", "1010"]


def as_bundled(root: Path, item_id: str) -> dict[str, Any]:
    """The body of a PUT that says of an item what its bundle does."""
    catalogue = read_bundle(root).catalogue
    row = catalogue.row(item_id)
    assert row is not None
    item = catalogue.item(row)
    return {
        "title": item.title,
        "categories": list(item.categories),
        "attributes": catalogue.attributes_of(row),
    }


def overlay(server: Running) -> list[str]:
    listed = server.client.get("/items?source=overlay", headers=AUTHORIZED).json()
    return [item["item_id"] for item in listed["items"]]


def missing(server: Running, **fields: object) -> int:
    """New items that an answer of four lacks which is to be of nothing else."""
    lacking: int = server.answer(k=4, fresh=1, **fields)["fresh_missing"]
    return lacking


def swap(server: Running, operation: str) -> None:
    assert server.client.post(f"/admin/{operation}", headers=AUTHORIZED).is_success


@pytest.mark.parametrize("asked", [{"user_id": "nobody"}, {"history": ["1001", "1002"]}])
def test_what_a_bundle_has_learned_is_new_no_longer(tmp_path: Path, asked: dict[str, Any]) -> None:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root, items=ITEMS, attributes=True)
    with running(settings_for(root)) as server:
        for item_id in CHANGED:
            body = {**as_bundled(root, item_id), "from": {"like": ["1001"]}}
            assert server.client.put(f"/items/{item_id}", json=body, headers=AUTHORIZED).is_success
        assert overlay(server) == CHANGED
        assert missing(server, **asked) == 1

        publish_tiny_bundle(root, items=ITEMS, attributes=True, catalogue_sequence=len(CHANGED))
        swap(server, "reload")
        assert overlay(server) == []
        assert missing(server, **asked) == 4
        assert server.metric("dimerec_catalogue_overlay_items") == 0
        state = server.client.get("/items/1005", headers=AUTHORIZED).json()
        assert (state["source"], state["derived_from"], state["sequence"]) == ("base", "learned", 1)

        renamed = {"title": "Another name"}
        assert server.client.put("/items/1005", json=renamed, headers=AUTHORIZED).is_success
        assert overlay(server) == ["1005"]
        assert missing(server, **asked) == 3
        assert server.client.delete("/items/1007", headers=AUTHORIZED).is_success
        answered = {item["item_id"] for item in server.answer(k=500, exclude_seen=False, **asked)["items"]}
        assert {"1005", "1010"} <= answered
        assert "1007" not in answered
        assert len(answered) == ITEMS - 1

        swap(server, "rollback")
        assert overlay(server) == ["1005", "1010"]
        assert missing(server, **asked) == 2


def test_a_full_catalogue_has_room_once_a_bundle_has_its_items(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root, items=ITEMS, attributes=True)
    with running(settings_for(root)) as server:
        server.service.changes.room.max_items = len(CHANGED)

        def put(item_id: str, body: dict[str, Any]) -> int:
            return server.client.put(f"/items/{item_id}", json=body, headers=AUTHORIZED).status_code

        like = {"from": {"like": ["1001"]}}
        assert {put(item_id, as_bundled(root, item_id) | like) for item_id in CHANGED} == {200}
        assert put("v-1", like) == 409
        publish_tiny_bundle(root, items=ITEMS, attributes=True, catalogue_sequence=len(CHANGED))
        swap(server, "reload")
        assert put("v-1", like) == 200
        assert put("1005", {"title": "Another name"}) == 200
        assert put("1007", {"title": "Another name"}) == 200
        assert put("1010", {"title": "Another name"}) == 409
