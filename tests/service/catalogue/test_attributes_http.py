"""Attributes of items over HTTP: put, seen, kept, and refused where they are none of the bundle's."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bundle.read import read_bundle
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.serving import AUTHORIZED, Running, running, settings_for

SENT = {
    "length": 12.5,
    "released": "2024-05-01T14:00:00+02:00",
    "language": "en",
    "live": True,
    "tags": ["cat", "funny", "cat"],
}
SHOWN = {**SENT, "released": "2024-05-01T12:00:00Z", "tags": ["cat", "funny"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish_tiny_bundle(tmp_path, seed=1, attributes=True)
    return tmp_path


@pytest.fixture
def server(serve: Serve, root: Path) -> Running:
    return serve(bundles=root)


def put(server: Running, item_id: str, **fields: Any) -> httpx.Response:
    body = {"from": {"like": ["1001"]}, **fields}
    return server.client.put(f"/items/{quote(item_id)}", json=body, headers=AUTHORIZED)


def attributes(server: Running, item_id: str) -> Any:
    return server.client.get(f"/items/{item_id}", headers=AUTHORIZED).json()["attributes"]


def test_items_show_the_attributes_of_the_bundle_and_those_that_were_put(server: Running, root: Path) -> None:
    catalogue = read_bundle(root).catalogue
    for item_id in catalogue.item_ids[:20]:
        assert attributes(server, item_id) == catalogue.attributes_of(catalogue.row(item_id) or 0)
    assert server.client.get("/version").json()["attributes"] == {
        "length": "number",
        "released": "date",
        "language": "text",
        "live": "boolean",
        "tags": "texts",
    }
    assert put(server, "new", attributes=SENT).status_code == 200
    assert attributes(server, "new") == SHOWN
    assert put(server, "new", attributes={"length": 3}).status_code == 200
    assert attributes(server, "new") == {"length": 3}
    assert put(server, "1001", title="Renamed").status_code == 200
    assert attributes(server, "1001") == {}
    listed = server.client.get("/items", params={"source": "overlay"}, headers=AUTHORIZED).json()["items"]
    assert [one["attributes"] for one in listed] == [{}, {"length": 3}]


def test_attributes_survive_a_restart_and_a_bundle_without_them(root: Path) -> None:
    with running(settings_for(root)) as server:
        assert put(server, "new", attributes=SENT).status_code == 200
    publish_tiny_bundle(root, seed=1)
    with running(settings_for(root)) as server:
        assert attributes(server, "new") == SHOWN
        assert "new" in [item["item_id"] for item in server.answer(history=["1001"], k=250)["items"]]
        response = put(server, "other", attributes=SENT)
        assert response.json()["errors"][0]["field"] == "attributes.length"
        assert "which has none" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"colour": "red"}, "attributes.colour"),
        ({"c" * 100: 1}, f"attributes.{'c' * 64}"),
        ({"length": "long"}, "attributes.length"),
        ({"length": True}, "attributes.length"),
        ({"length": None}, "attributes.length"),
        ({"length": 10**400}, "attributes.length"),
        ({"released": 1_700_000_000_000}, "attributes.released"),
        ({"released": "yesterday"}, "attributes.released"),
        ({"language": ["en"]}, "attributes.language"),
        ({"language": "x" * 257}, "attributes.language"),
        ({"live": "true"}, "attributes.live"),
        ({"tags": "cat"}, "attributes.tags"),
        ({"tags": [{"deep": [1]}]}, "attributes.tags"),
        ({"length": 1, "tags": ["t"] * 65}, "attributes.tags"),
        ([], "attributes"),
        ({f"a{number}": 1 for number in range(33)}, "attributes"),
    ],
)
def test_what_is_no_attribute_is_refused_by_field(server: Running, sent: object, field: str) -> None:
    response = put(server, "new", attributes=sent)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert server.client.get("/items/new", headers=AUTHORIZED).status_code == 404


@pytest.mark.parametrize("sent", [b'{"language": "\\ud800"}', b'{"\\ud800": "en"}'])
def test_half_a_surrogate_pair_is_refused(server: Running, sent: bytes) -> None:
    content = b'{"from": {"like": ["1001"]}, "attributes": ' + sent + b"}"
    headers = {**AUTHORIZED, "content-type": "application/json"}
    response = server.client.put("/items/new", content=content, headers=headers)
    assert 400 <= response.status_code < 500
    assert server.client.get("/items/new", headers=AUTHORIZED).status_code == 404


def test_one_bad_item_of_many_spoils_no_other(server: Running) -> None:
    items = [
        {"item_id": f"v{number}", "from": {"like": ["1001"]}, "attributes": sent}
        for number, sent in enumerate([SENT, {"length": "long"}, {}])
    ]
    response = server.client.post("/items", json={"items": items}, headers=AUTHORIZED)
    found = [one.get("sequence") or one["errors"][0]["field"] for one in response.json()["items"]]
    assert found == [1, "attributes.length", 2]
