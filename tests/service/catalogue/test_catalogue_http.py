"""Changes of the catalogue over HTTP: in the next answer, and after a restart, a reload and a rollback."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog

from bundle import read
from service.catalogue import changes, live
from service.catalogue.sqlite import FILE
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.gated import HeldEngine, until
from tests.service.serving import AUTHORIZED, KEY, Running, running, settings_for, write_keys


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish_tiny_bundle(tmp_path, seed=1)
    return tmp_path


@pytest.fixture
def server(serve: Serve, root: Path) -> Running:
    return serve(bundles=root)


def call(server: Running, method: str, item_id: str | None = None, **options: Any) -> httpx.Response:
    path = "/items" if item_id is None else f"/items/{quote(item_id, safe='')}"
    return server.client.request(method, path, headers=AUTHORIZED, **options)


def put(server: Running, item_id: str, **fields: Any) -> dict[str, Any]:
    response = call(server, "PUT", item_id, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def remove(server: Running, item_id: str) -> dict[str, Any]:
    response = call(server, "DELETE", item_id)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def recommended(server: Running, *history: str, **fields: Any) -> list[str]:
    answer = server.answer(history=list(history), k=250, **fields)
    return [item["item_id"] for item in answer["items"]]


def similar(server: Running, item_id: str, k: int = 200) -> list[str] | int:
    response = server.client.get(f"/items/{quote(item_id, safe='')}/similar", params={"k": k})
    found = response.json()
    return [one["item_id"] for one in found["items"]] if response.is_success else response.status_code


def admin(server: Running, operation: str) -> None:
    assert server.client.post(f"/admin/{operation}", headers=AUTHORIZED).status_code == 200


def test_a_new_video_is_in_the_next_answer_and_then_counts(server: Running) -> None:
    answer = put(server, "v/1", title="New", categories=["Comedy"], **{"from": {"like": ["1001", "1002"]}})
    assert (answer["item_id"], answer["derived_from"], answer["effective"]) == ("v/1", "like", "everywhere")
    assert set(answer["nearest"]) >= {"1001", "1002"}
    found = server.answer(history=["1001", "1002"], k=250)["items"]
    assert {"item_id": "v/1", "title": "New", "categories": ["Comedy"]}.items() <= next(
        item for item in found if item["item_id"] == "v/1"
    ).items()
    server.watch("u", "v/1")
    events = server.client.get("/users/u/history").json()["events"]
    assert [(one["title"], one["known"], one["removed"]) for one in events] == [("New", True, False)]
    personal = server.answer(user_id="u", k=3)
    assert personal["source"] == "personal"
    assert personal["items"][0]["because"] == [{"item_id": "v/1", "title": "New"}]
    assert server.client.get("/version").json()["items"] == 201


def test_a_removed_video_is_in_no_answer_and_its_users_keep_it(server: Running) -> None:
    server.watch("u", "1005", "1006")
    before = server.answer(user_id="u", k=1, seed=1)["source"]
    assert remove(server, "1005")["sequence"] == 1
    assert "1005" not in recommended(server, "1006", exclude_seen=False)
    assert "1005" not in recommended(server)
    assert "1005" not in similar(server, "1006")  # type: ignore[operator]
    assert similar(server, "1005") == 404
    answer = server.answer(user_id="u", k=200, exclude_seen=False)
    assert (answer["source"], before) == ("personal", "personal")
    assert "1005" not in {one["item_id"] for item in answer["items"] for one in item["because"]}
    first, second = server.client.get("/users/u/history").json()["events"]
    assert (first["item_id"], first["title"], first["removed"]) == ("1005", None, True)
    assert (second["item_id"], second["removed"]) == ("1006", False)
    batch = server.client.post("/recommend/batch", json={"requests": [{"history": ["1006"], "k": 200}]})
    assert "1005" not in {item["item_id"] for item in batch.json()["answers"][0]["items"]}


def test_an_answer_says_which_of_its_videos_are_new(server: Running) -> None:
    def new(**fields: Any) -> set[str]:
        return {item["item_id"] for item in server.answer(k=250, **fields)["items"] if item["new"]}

    assert new(history=["1001"]) == set()
    put(server, "v-1", **{"from": {"like": ["1001"]}})
    put(server, "v-2", title="Later", **{"from": {"like": ["1002"]}})
    put(server, "1003", title="Renamed")
    assert new(history=["1001"]) == {"v-1", "v-2"}
    assert new(history=["1003", "v-1"]) == {"v-2"}
    assert new(user_id="nobody") == {"v-1", "v-2"}
    remove(server, "v-2")
    assert new(history=["1001"]) == {"v-1"}


def test_a_removed_video_of_the_bundle_is_still_described_to_who_may_put_it_back(server: Running) -> None:
    described = ("title", "categories", "attributes")
    before = call(server, "GET", "1005").json()
    remove(server, "1005")
    remove(server, "unseen")
    after = call(server, "GET", "1005").json()
    assert after["source"] == "removed"
    assert before["title"] == "Video 5"
    assert [after[name] for name in described] == [before[name] for name in described]
    listed = call(server, "GET", params={"source": "removed"}).json()["items"]
    assert [(one["item_id"], one["title"]) for one in listed] == [("1005", "Video 5"), ("unseen", None)]


def test_changes_survive_restart_reload_and_rollback(root: Path) -> None:
    with running(settings_for(root)) as server:
        put(server, "new", title="New", categories=["Comedy"], **{"from": {"like": ["1001"]}})
        put(server, "1003", title="Renamed", categories=["Sport"])
        remove(server, "1005")
        remove(server, "1200")
        remove(server, "2000")

    def look(server: Running) -> None:
        found = recommended(server, "1001")
        assert "new" in found
        assert not {"1005", "1200", "2000"} & set(found)
        assert call(server, "GET", "1003").json()["title"] == "Renamed"
        assert similar(server, "1005") == 404

    first = read.current_version(root)
    with running(settings_for(root)) as server:
        look(server)
        second = publish_tiny_bundle(root, seed=2, items=1000)  # it has an item "2000"
        admin(server, "reload")
        assert server.client.get("/version").json()["model_version"] == second
        assert server.client.get("/version").json()["items"] == 1000 + 1 - 3
        look(server)
        admin(server, "rollback")
        assert server.client.get("/version").json()["model_version"] == first
        look(server)
        put(server, "1005", title="Back", categories=[])
        assert "1005" in recommended(server, "1001")
    with running(settings_for(root)) as server:
        assert call(server, "GET", "1005").json()["source"] == "overlay"


def test_a_put_without_from_moves_no_vector(server: Running) -> None:
    put(server, "new", categories=["Comedy"], **{"from": {"like": ["1001", "1002"]}})
    before = similar(server, "new")
    put(server, "new", title="Renamed", categories=["Sport"])
    assert similar(server, "new") == before
    assert call(server, "GET", "new").json()["derived_from"] == "like"
    before = similar(server, "1009")
    assert put(server, "1009", title="Renamed", categories=["Comedy"])["derived_from"] == "learned"
    assert similar(server, "1009") == before
    assert put(server, "by category", categories=["Comedy"])["derived_from"] == "categories"
    before = similar(server, "by category")
    assert put(server, "by category", categories=["Drama"])["derived_from"] == "categories"
    assert similar(server, "by category") == before


def test_a_given_vector_is_of_the_model_in_service(server: Running) -> None:
    version = server.client.get("/version").json()["model_version"]
    vector = [0.5] * 16
    origin = {"vector": vector, "model_version": version}
    assert put(server, "v", **{"from": origin})["derived_from"] == "vector"
    refused = call(server, "PUT", "v", json={"from": origin | {"model_version": "another"}})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dimerec:problem:vector-space-differs")


def test_an_item_whose_origin_this_bundle_knows_not_is_renamed(server: Running, root: Path) -> None:
    version = server.client.get("/version").json()["model_version"]
    origin = {"vector": [0.5] * 16, "model_version": version}
    put(server, "by vector", categories=["Comedy"], **{"from": origin})
    put(server, "by like", categories=["Comedy"], **{"from": {"like": ["1200"]}})
    publish_tiny_bundle(root, seed=2, items=100)
    admin(server, "reload")
    for name in ("by vector", "by like"):
        answer = put(server, name, title="Renamed", categories=["Comedy"])
        assert answer["derived_from"] == "categories"
        assert call(server, "GET", name).json()["title"] == "Renamed"
    refused = call(server, "PUT", "by vector", json={"from": origin})
    assert refused.json()["type"] == "urn:dimerec:problem:vector-space-differs"
    admin(server, "rollback")
    assert [call(server, "GET", f"by {one}").json()["derived_from"] for one in ("vector", "like")] == [
        "vector",
        "like",
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": {"like": ["unknown"]}}, "from.like"),
        ({"from": {"like": []}}, "from.like"),
        ({"from": {"like": ["1001"] * 51}}, "from.like"),
        ({"from": {"vector": [1.0], "model_version": "HERE"}}, "from.vector"),
        ({"from": {"vector": [0.0] * 16, "model_version": "HERE"}}, "from.vector"),
        ({"from": {"vector": [1.0, "2"], "model_version": "HERE"}}, "from.vector[1]"),
        ({"from": {"vector": [1.0]}}, "from.model_version"),
        ({"from": {}}, "from.like"),
        ({"from": {"content": [1.0]}}, "categories"),
        ({"categories": ["No such"]}, "categories"),
        ({}, "categories"),
        ({"categories": ["x"] * 65}, "categories"),
        ({"title": 5}, "title"),
        ({"titel": "x"}, "titel"),
        ({"categories": ["Comedy"], "available_until": "tomorrow"}, "available_until"),
        ({"categories": ["Comedy"], "available_from": 5, "available_until": 5}, "available_until"),
    ],
)
def test_what_cannot_be_put_is_refused_by_field(server: Running, body: dict[str, Any], field: str) -> None:
    if body.get("from", {}).get("model_version"):
        body["from"]["model_version"] = server.client.get("/version").json()["model_version"]
    response = call(server, "PUT", "v", json=body)
    assert response.status_code == 422, response.text
    assert field in {error["field"] for error in response.json()["errors"]}
    assert call(server, "GET", "v").status_code == 404


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(server: Running, number: str) -> None:
    body = '{"from": {"vector": [1.0, NUMBER], "model_version": "x"}}'.replace("NUMBER", number)
    response = server.client.put(
        "/items/v", content=body, headers=AUTHORIZED | {"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "from.vector[1]"


@pytest.mark.parametrize("item_id", [" x", "null", "N/A", "a\tb"])
def test_ids_that_may_not_be_written_are_refused(server: Running, item_id: str) -> None:
    for method in ("PUT", "DELETE"):
        response = call(server, method, item_id, json={"categories": ["Comedy"]})
        assert response.status_code == 422, (method, response.text)
        assert response.json()["errors"][0]["field"] == "item_id"


@pytest.mark.parametrize("item_id", ["a/b", "a/similar", "similar", "a%2Fb", "ü €", "items", "x" * 128])
def test_ids_of_any_form_are_put_read_found_and_removed(server: Running, item_id: str) -> None:
    put(server, item_id, title="T", **{"from": {"like": ["1001"]}})
    assert call(server, "GET", item_id).json()["title"] == "T"
    assert "1001" in similar(server, item_id)  # type: ignore[operator]
    assert item_id in recommended(server, "1001")
    remove(server, item_id)
    assert similar(server, item_id) == 404
    assert item_id not in recommended(server, "1001")
    assert call(server, "GET", item_id).json()["source"] == "removed"


def test_a_takedown_may_come_before_the_video(server: Running, root: Path) -> None:
    remove(server, "1300")
    assert call(server, "GET", "1300").json()["reason"] == "removed by change 1"
    publish_tiny_bundle(root, seed=2, items=400)
    admin(server, "reload")
    assert "1300" not in recommended(server, "1001")
    assert "1301" in recommended(server, "1001", exclude_seen=False) + recommended(server)


def test_many_items_each_have_an_outcome(server: Running) -> None:
    items = [
        {"item_id": "a", "from": {"like": ["1001"]}},
        {"item_id": "b", "from": {"like": ["unknown"]}},
        {"item_id": "c", "nothing": 1},
        "no item",
        {"item_id": 7, "categories": ["Comedy"]},
        {"item_id": "a", "title": "Newer", "categories": []},
    ]
    response = call(server, "POST", json={"items": items})
    assert response.status_code == 200, response.text
    found = response.json()["items"]
    assert [one.get("status", 200) for one in found] == [200, 422, 422, 422, 200, 422]
    assert [found[0]["item_id"], found[4]["item_id"]] == ["a", "7"]
    assert found[4]["sequence"] > found[0]["sequence"]
    assert call(server, "POST", json={"items": []}).status_code == 422
    assert call(server, "POST", json={"items": items[:1] * 1001}).status_code == 422
    many = [{"item_id": f"m{number}", "from": {"like": ["1001"]}} for number in range(1000)]
    response = call(server, "POST", json={"items": many})
    assert [one["item_id"] for one in response.json()["items"]] == [one["item_id"] for one in many]
    assert server.client.get("/version").json()["items"] == 1202


@pytest.mark.parametrize(("from_sequence", "statuses"), [(1, None), (257, [200] * 256 + [503] * 44)])
def test_where_a_log_fails_among_many_items_each_says_whether_it_is_kept(
    server: Running, root: Path, from_sequence: int, statuses: list[int] | None
) -> None:
    remove(server, "unseen")  # the file is there from now on
    in_file(
        root,
        f"CREATE TRIGGER full BEFORE INSERT ON entries WHEN NEW.sequence > {from_sequence}"
        " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    )
    many = [{"item_id": f"m{number}", "from": {"like": ["1001"]}} for number in range(300)]
    response = call(server, "POST", json={"items": many})
    if statuses is None:
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert call(server, "GET", "m0").status_code == 404
        return
    assert [one.get("status", 200) for one in response.json()["items"]] == statuses
    assert response.json()["items"][256]["type"] == "urn:dimerec:problem:catalogue-unavailable"
    assert call(server, "GET", "m255").status_code == 200
    assert call(server, "GET", "m256").status_code == 404


def test_a_change_that_fails_as_nobody_expected_is_answered(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("not expected")

    with monkeypatch.context() as patch:
        patch.setattr(server.service.catalogue, "take", fail)
        assert call(server, "DELETE", "1001").status_code == 500
    assert remove(server, "1001")["sequence"] == 2


def test_changed_items_are_listed_in_pages(server: Running, root: Path) -> None:
    version = server.client.get("/version").json()["model_version"]
    for number in range(5):
        put(server, f"n{number}", **{"from": {"like": ["1001"]}})
        remove(server, f"r{number}")
    put(server, "stale", **{"from": {"vector": [1.0] * 16, "model_version": version}})
    publish_tiny_bundle(root, seed=2)
    admin(server, "reload")

    def pages(source: str, limit: int) -> list[list[str]]:
        found, after = [], None
        while True:
            params = {"source": source, "limit": limit} | ({} if after is None else {"after": after})
            page = call(server, "GET", params=params).json()
            found.append([item["item_id"] for item in page["items"]])
            after = page["after"]
            if after is None:
                return found

    assert pages("overlay", 2) == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert pages("removed", 5) == [[f"r{number}" for number in range(5)]]
    assert pages("stale", 5) == [["stale"]]
    assert call(server, "GET", params={"source": "base"}).status_code == 422
    assert call(server, "GET", "1001").json()["source"] == "base"
    assert call(server, "GET", "stale").json()["source"] == "stale"
    assert (
        "another space" in call(server, "GET", "stale").json()["reason"]
        or "categories" in call(server, "GET", "stale").json()["reason"]
    )
    assert "stale" not in recommended(server, "1001")


def test_a_full_overlay_takes_changes_of_its_items_alone(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(bundles=root)
    server.service.changes.room.max_items = 3
    for number in range(3):
        put(server, f"n{number}", **{"from": {"like": ["1001"]}})
    refused = call(server, "PUT", "n3", json={"from": {"like": ["1001"]}})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dimerec:problem:catalogue-full")
    put(server, "n1", title="Changed")
    remove(server, "1001")
    remove(server, "n2")
    put(server, "n3", **{"from": {"like": ["1002"]}})

    def statuses(*names: str) -> list[int]:
        items = [{"item_id": name, "categories": ["Comedy"]} for name in names]
        outcomes = call(server, "POST", json={"items": items}).json()["items"]
        return [one.get("status", 200) for one in outcomes]

    assert statuses("n1", "n4") == [200, 409]
    assert statuses("n4", "n1") == [409, 200]
    remove(server, "n3")
    assert statuses("n4", "n5", "n4", "n1", "n6", "n4") == [200, 409, 200, 200, 409, 200]


def test_items_come_and_go_by_the_clock(serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(live.LiveCatalogue.__init__, "__defaults__", (clock,))
    monkeypatch.setattr(changes, "TIME_LEFT_S", 60.0)
    server = serve(bundles=root)
    put(server, "later", **{"from": {"like": ["1001"]}}, available_from=clock.now + 5_000)
    put(server, "short", **{"from": {"like": ["1001"]}}, available_until=clock.now + 3_000)
    put(server, "over", **{"from": {"like": ["1001"]}}, available_until=clock.now - 1)
    names = {"later", "short", "over"}
    assert names & set(recommended(server, "1001")) == {"short"}
    assert "to come" in call(server, "GET", "later").json()["reason"]
    clock.now += 3_000
    assert names & set(recommended(server, "1001")) == set()
    assert call(server, "GET", "short").json()["source"] == "removed"
    clock.now += 2_000
    assert names & set(recommended(server, "1001")) == {"later"}
    clock.now -= 1_000_000
    assert names & set(recommended(server, "1001")) == {"later"}
    put(
        server, "short", title="Set back", **{"from": {"like": ["1001"]}}, available_until=clock.now + 999_000
    )
    assert names & set(recommended(server, "1001")) == {"later"}


def test_a_history_tells_what_is_to_come_from_what_is_removed(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(live.LiveCatalogue.__init__, "__defaults__", (clock,))
    monkeypatch.setattr(changes, "TIME_LEFT_S", 60.0)
    server = serve(bundles=root)
    put(server, "later", title="Later", **{"from": {"like": ["1001"]}}, available_from=clock.now + 5_000)
    put(server, "over", title="Over", **{"from": {"like": ["1001"]}}, available_until=clock.now - 1)
    put(server, "down", title="Down", **{"from": {"like": ["1001"]}})
    remove(server, "down")
    put(server, "1003", title="Back soon", available_from=clock.now + 5_000)
    remove(server, "1004")
    server.watch("somebody", "later", "over", "down", "1003", "1004", "nowhere")

    def told() -> list[tuple[bool, bool, str | None]]:
        events = server.client.get("/users/somebody/history").json()["events"]
        return [(event["known"], event["removed"], event["title"]) for event in events]

    to_come, removed = (False, False, None), (False, True, None)
    assert told() == [to_come, removed, removed, to_come, removed, (False, False, None)]
    clock.now += 5_000
    recommended(server, "1001")  # which looks at the clock
    here = [(True, False, "Later"), removed, removed, (True, False, "Back soon"), removed]
    assert told() == [*here, (False, False, None)]


class Clock:
    """Time that the test lets pass."""

    def __init__(self) -> None:
        self.now = 1_900_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize("seen_by", ["nobody", "a request", "the next start"])
def test_a_clock_set_back_between_two_starts_revives_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, seen_by: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(live.LiveCatalogue.__init__, "__defaults__", (clock,))
    with running(settings_for(root)) as server:
        put(server, "short", **{"from": {"like": ["1001"]}}, available_until=clock.now + 3_000)
        if seen_by != "the next start":
            clock.now += 4_000
        if seen_by == "a request":
            assert "short" not in recommended(server, "1001")
        if seen_by != "the next start":
            until(lambda: _kept(root) >= clock.now)
    if seen_by == "the next start":
        clock.now += 4_000
        with running(settings_for(root)):
            until(lambda: _kept(root) >= clock.now)
    clock.now -= 50_000
    with running(settings_for(root)) as server:
        assert "short" not in recommended(server, "1001")


def test_a_moment_that_could_not_be_kept_is_kept_once_it_can(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(live.LiveCatalogue.__init__, "__defaults__", (clock,))
    monkeypatch.setattr(changes, "TIME_LEFT_S", 0.01)
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr(changes, "log", told)
    with running(settings_for(root)) as server:
        put(server, "short", **{"from": {"like": ["1001"]}}, available_until=clock.now + 3_000)
        in_file(root, "ALTER TABLE facts RENAME TO away")
        clock.now += 4_000
        until(lambda: bool(told.calls))
        in_file(root, "ALTER TABLE away RENAME TO facts")
        until(lambda: _kept(root) >= clock.now)
    assert len(told.calls) == 1


def _kept(root: Path) -> int:
    [(kept,)] = in_file(root, "SELECT value FROM facts WHERE name = 'passed_ms'")
    return int(kept)


def in_file(root: Path, statement: str) -> list[tuple[Any, ...]]:
    """What the log's file says to a statement of somebody else."""
    with contextlib.closing(sqlite3.connect(root / FILE)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_an_item_removed_while_its_answer_is_computed_is_not_in_it(
    serve: Serve, root: Path, gate: threading.Event
) -> None:
    server = serve(bundles=root)
    engine = HeldEngine(read.read_bundle(root), max_steps=50)
    server.service.engines.engine = engine
    server.service.catalogue.serve(engine)
    requests: dict[str, Callable[[], httpx.Response]] = {
        "recommend": lambda: server.recommend(history=["1001", "1002"], k=100, exclude_seen=False),
        "popular": lambda: server.recommend(history=[], k=190),
        "batch": lambda: server.client.post(
            "/recommend/batch", json={"requests": [{"history": ["1001"], "k": 100}, {"history": []}]}
        ),
    }
    with ThreadPoolExecutor() as callers:
        answers = {name: callers.submit(send) for name, send in requests.items()}
        until(lambda: server.metric("dimerec_batch_size_count") >= 1)
        gone = [str(number) for number in range(1001, 1010)]
        for item_id in gone:
            remove(server, item_id)
        gate.set()
        found = {name: answer.result().json() for name, answer in answers.items()}
    lists = [found["recommend"], found["popular"], *found["batch"]["answers"]]
    for answer, k in zip(lists, (100, 190, 100, 10), strict=True):
        ids = [item["item_id"] for item in answer["items"]]
        assert len(ids) == len(set(ids)) == k
        assert not set(gone) & set(ids)
        assert not set(gone) & {one["item_id"] for item in answer["items"] for one in item["because"]}
        if answer["interests"]:
            assert sum(interest["item_count"] for interest in answer["interests"]) == k


def test_thousands_of_removals_under_load_leak_nothing(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=3000)
    server = serve(bundles=tmp_path)
    removed: set[str] = set()
    over = threading.Event()
    leaks: list[str] = []
    asked = 0

    def ask(number: int) -> None:
        nonlocal asked
        paths = [
            lambda: server.recommend(history=["1001", "1002"], k=30, exclude_seen=False),
            lambda: server.client.get("/items/3500/similar?k=30"),
            lambda: server.recommend(history=[], k=30),
        ]
        while not over.is_set():
            known = set(removed)
            response = paths[number % 3]()
            if "retry-after" in response.headers:  # a busy machine
                continue
            items = response.json()["items"]
            asked += 1
            assert len(items) == 30
            leaks.extend({item["item_id"] for item in items} & known)

    def take_down(item_id: str) -> None:
        remove(server, item_id)
        removed.add(item_id)

    with ThreadPoolExecutor() as callers:
        asking = [callers.submit(ask, number) for number in range(3)]
        order = [str(1000 + row) for row in range(1, 2001)]
        for start in range(0, len(order), 50):
            with ThreadPoolExecutor(10) as removers:
                for item_id in order[start : start + 50]:
                    removers.submit(take_down, item_id)
        over.set()
        for one in asking:
            one.result()
    assert (leaks, len(removed)) == ([], 2000)
    assert asked > 20


def test_without_the_role_nothing_is_changed_or_seen(serve: Serve, root: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, reader=(KEY, "read", "admin"))
    server = serve(bundles=root, keys_file=keys)
    for headers, status in ((AUTHORIZED, 403), ({}, 401)):
        for method, path in (
            ("PUT", "/items/a"),
            ("DELETE", "/items/a"),
            ("GET", "/items/a"),
            ("GET", "/items"),
        ):
            assert server.client.request(method, path, headers=headers).status_code == status
        assert server.client.post("/items", json={}, headers=headers).status_code == status


def test_a_directory_that_cannot_be_written_takes_no_change(serve: Serve, root: Path) -> None:
    (root / ".catalogue.lock").mkdir()
    server = serve(bundles=root)
    response = call(server, "PUT", "v", json={"from": {"like": ["1001"]}})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["type"] == "urn:dimerec:problem:catalogue-unavailable"
    assert call(server, "GET", "v").status_code == 404
    assert "v" not in recommended(server, "1001")
    (root / ".catalogue.lock").rmdir()
    put(server, "v", **{"from": {"like": ["1001"]}})


def test_an_item_put_and_removed_by_many_at_once_ends_as_its_last_sequence_says(server: Running) -> None:
    def change(number: int) -> tuple[int, bool]:
        if number % 2:
            return remove(server, "v")["sequence"], False
        return put(server, "v", title=str(number), **{"from": {"like": ["1001"]}})["sequence"], True

    with ThreadPoolExecutor(8) as callers:
        outcomes = list(callers.map(change, range(40)))
    assert len({sequence for sequence, _ in outcomes}) == 40
    _, there = max(outcomes)
    assert ("v" in recommended(server, "1001")) == there
    state = call(server, "GET", "v").json()
    assert (state["source"], state["sequence"]) == ("overlay" if there else "removed", max(outcomes)[0])


def test_a_put_is_seen_soon(server: Running) -> None:
    """Not a promise of speed: that nothing waits for a timer."""
    started = time.monotonic()
    for number in range(50):
        put(server, f"v{number}", **{"from": {"like": ["1001"]}})
        assert f"v{number}" in recommended(server, "1001")
    assert time.monotonic() - started < 30
