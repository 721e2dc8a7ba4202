"""`from: {content}` over HTTP: by the map of whatever bundle serves, after a restart and an import, too."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bundle.read import Bundle, read_bundle
from tests.cli.conftest import Run, dimerec  # noqa: F401
from tests.factories import make_content_map, publish_tiny_bundle
from tests.service.serving import AUTHORIZED, KEY, Running, running, settings_for

CONTENT = [0.5, -2.0, 0.0, 1.0, 3.0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root, content_map=make_content_map(5))
    return root


def put(server: Running, item_id: str = "new", content: Any = CONTENT, *categories: str) -> httpx.Response:
    body = {"title": "New", "categories": categories, "from": {"content": content}}
    text = json.dumps(body)  # NaN, which httpx does not send
    headers = AUTHORIZED | {"content-type": "application/json"}
    return server.client.put(f"/items/{item_id}", content=text, headers=headers)


def expected(bundle: Bundle, *categories: str) -> list[str]:
    """The three nearest to what the map makes of `CONTENT`."""
    made = bundle.content_map
    assert made is not None
    vector = np.array(CONTENT) / np.linalg.norm(CONTENT) @ made.weights + made.bias
    for name in categories:
        vector = vector + made.shifts[made.categories.index(name)]
    nearest = np.argsort(-(bundle.table.all @ vector))[:3]
    return [bundle.catalogue.item_ids[line] for line in nearest]


def similar(server: Running, item_id: str = "new") -> list[str]:
    found = server.client.get(f"/items/{item_id}/similar", params={"k": 3}).json()
    return [one["item_id"] for one in found["items"]]


def test_a_new_video_lies_where_its_content_says(root: Path) -> None:
    with running(settings_for(root)) as server:
        answer = put(server, "new", CONTENT, "Comedy").json()
        assert answer["derived_from"] == "content"
        assert answer["nearest"] == expected(read_bundle(root), "Comedy")
        again = put(server, "other", [1e200 * number for number in CONTENT], "Comedy").json()
        assert again["nearest"][0] == "new"
        learned = put(server, "1001", CONTENT, "Comedy").json()
        assert learned["derived_from"] == "content"
        state = server.client.get("/items/new", headers=AUTHORIZED).json()
        assert (state["source"], state["derived_from"]) == ("overlay", "content")


def test_a_change_without_from_moves_no_vector(root: Path) -> None:
    with running(settings_for(root)) as server:
        near = put(server, "new", CONTENT, "Comedy").json()["nearest"]
        body = {"title": "Renamed", "categories": ["Sport"]}
        renamed = server.client.put("/items/new", json=body, headers=AUTHORIZED).json()
        assert (renamed["derived_from"], renamed["nearest"]) == ("content", near)


def test_content_follows_each_bundles_own_map(root: Path) -> None:
    first = read_bundle(root)
    with running(settings_for(root)) as server:
        put(server)
    with running(settings_for(root)) as server:
        assert similar(server) == expected(first)
        publish_tiny_bundle(root, seed=3, content_map=make_content_map(5, seed=4))
        second = read_bundle(root)
        server.client.post("/admin/reload", headers=AUTHORIZED).raise_for_status()
        assert similar(server) == expected(second) != expected(first)
        server.client.post("/admin/rollback", headers=AUTHORIZED).raise_for_status()
        assert similar(server) == expected(first)


def test_a_bundle_whose_map_is_another_or_none_takes_the_categories(root: Path) -> None:
    with running(settings_for(root)) as server:
        put(server, "new", CONTENT, "Comedy")
        put(server, "bare", CONTENT)
        for content_map in (make_content_map(7), None):
            publish_tiny_bundle(root, content_map=content_map)
            server.client.post("/admin/reload", headers=AUTHORIZED).raise_for_status()
            state = server.client.get("/items/new", headers=AUTHORIZED).json()
            assert (state["source"], state["derived_from"]) == ("overlay", "categories")
            stale = server.client.get("/items", params={"source": "stale"}, headers=AUTHORIZED).json()
            assert [item["item_id"] for item in stale["items"]] == ["bare"]


def test_where_the_map_was_no_better_the_answer_says_what_was_taken(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, content_map=make_content_map(5), content_used=False)
    with running(settings_for(tmp_path)) as server:
        assert put(server, "new", CONTENT, "Comedy").json()["derived_from"] == "categories"
        assert put(server, "1001", CONTENT, "Comedy").json()["derived_from"] == "learned"
        response = put(server, "bare", CONTENT)
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "categories"


@pytest.mark.parametrize(
    ("content", "field", "said"),
    [
        ([1.0] * 4, "from.content", "must have 5 numbers, not 4"),
        ([0.0] * 5, "from.content", "no direction"),
        ([], "from.content", "at least 1"),
        ([1.0] * 4097, "from.content", "at most 4096"),
        ([1.0, float("nan"), 1.0, 1.0, 1.0], "from.content[1]", "finite"),
        ("abcde", "from.content", "list"),
    ],
)
def test_content_that_cannot_be_used_names_the_field(root: Path, content: Any, field: str, said: str) -> None:
    with running(settings_for(root)) as server:
        response = put(server, "new", content, "Comedy")
        assert response.status_code == 422, response.text
        (fault,) = response.json()["errors"]
        assert fault["field"] == field
        assert said in fault["message"]
        assert server.client.get("/items/new", headers=AUTHORIZED).status_code == 404


def test_an_export_brings_content_into_an_empty_log(
    root: Path,
    tmp_path: Path,
    dimerec: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIMEREC_KEY", KEY)
    changes, other = tmp_path / "changes.jsonl", tmp_path / "other"
    with running(settings_for(root)) as server:
        put(server)
        url = str(server.client.base_url)
        assert dimerec("catalogue", "export", "--url", url, "--output", changes).code == 0
    publish_tiny_bundle(other, content_map=make_content_map(5))
    with running(settings_for(other)) as server:
        url = str(server.client.base_url)
        done = dimerec("catalogue", "import", "--url", url, "--items", changes)
        assert done.code == 0, done.err
        assert similar(server) == expected(read_bundle(other))
