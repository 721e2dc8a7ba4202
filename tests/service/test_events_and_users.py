"""Events in, histories out, forgetting, listing, and neighbours, over a real socket and with both stores."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from bundle.read import read_bundle
from tests.factories import make_catalogue
from tests.redis_server import claimed_database
from tests.service.conftest import Serve
from tests.service.serving import Running, running, settings_for

CATALOGUE = make_catalogue(200)
NOW = int(time.time() * 1000)


@pytest.fixture(scope="module", params=["in-process", "redis"])
def keeper(request: pytest.FixtureRequest, bundle_root: Path) -> Iterator[Running]:
    """A server with a store of each kind; tests use users of their own."""
    with ExitStack() as resources:
        redis_url = None
        if request.param == "redis":
            process = request.getfixturevalue("redis_process")
            redis_url = resources.enter_context(claimed_database(process.url))
        yield resources.enter_context(running(settings_for(bundle_root, redis_url=redis_url)))


@pytest.fixture
def user() -> str:
    return f"user-{uuid4()}"


def post(server: Running, *events: dict[str, Any]) -> dict[str, Any]:
    response = server.client.post("/events", json={"events": list(events)})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def history(server: Running, user_id: str, **query: int) -> list[dict[str, Any]]:
    response = server.client.get(f"/users/{quote(user_id, safe='')}/history", params=query)
    assert response.status_code == 200, response.text
    events: list[dict[str, Any]] = response.json()["events"]
    return events


def event(user_id: str, item_id: str, timestamp: int = NOW, **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "item_id": item_id, "timestamp": timestamp, **more}


def test_an_event_shows_in_the_history_and_leaves_the_next_answer(keeper: Running, user: str) -> None:
    before: Any = keeper.answer(user_id=user, k=1)
    first = before["items"][0]["item_id"]
    assert keeper.client.post("/events", json=event(user, first)).json() == {
        "added": 1,
        "repeated": 0,
        "outdated": 0,
        "ignored": 0,
        "unknown_items": [],
    }
    row = CATALOGUE.row(first)
    assert row is not None
    assert history(keeper, user) == [
        {
            "item_id": first,
            "timestamp": NOW,
            "title": CATALOGUE.title(row),
            "categories": list(CATALOGUE.category(row)),
            "known": True,
            "removed": False,
            "event_type": None,
            "meaning": "positive",
            "request_id": None,
        }
    ]
    after: Any = keeper.answer(user_id=user, k=500)
    assert after["source"] == "personal"
    assert first not in {item["item_id"] for item in after["items"]}


def test_events_sent_again_change_nothing(keeper: Running, user: str) -> None:
    named = [event(user, "1001", event_id="a"), event(user, "1002", NOW + 1, event_id="b")]
    assert post(keeper, *named)["added"] == 2
    again = post(keeper, *named)
    assert (again["added"], again["repeated"], again["outdated"]) == (0, 2, 0)
    assert [kept["item_id"] for kept in history(keeper, user)] == ["1001", "1002"]


def test_late_events_are_sorted_in(keeper: Running, user: str) -> None:
    post(keeper, event(user, "1001", NOW), event(user, "1003", NOW + 20))
    post(keeper, event(user, "1002", NOW + 10))
    post(keeper, event(user, "1000", NOW - 10))
    assert [kept["item_id"] for kept in history(keeper, user)] == ["1000", "1001", "1002", "1003"]
    assert [kept["item_id"] for kept in history(keeper, user, limit=2)] == ["1002", "1003"]


def test_unknown_items_are_kept_and_reported(keeper: Running, user: str) -> None:
    told = post(
        keeper,
        event(user, "new"),
        event(user, "1001", NOW + 1),
        event(user, "newer", NOW + 2),
        event(user, "new", NOW + 3),
    )
    assert told["unknown_items"] == ["new", "newer"]
    assert told["added"] == 4
    assert [(kept["item_id"], kept["known"], kept["title"]) for kept in history(keeper, user)][:2] == [
        ("new", False, None),
        ("1001", True, "Video 1"),
    ]


def test_one_call_serves_many_users(keeper: Running, user: str) -> None:
    assert post(keeper, event(f"{user}a", "1001"), event(f"{user}b", "1002"))["added"] == 2
    assert [kept["item_id"] for kept in history(keeper, f"{user}a")] == ["1001"]
    assert [kept["item_id"] for kept in history(keeper, f"{user}b")] == ["1002"]


def test_events_up_to_a_day_ahead_are_taken(keeper: Running, user: str) -> None:
    day = 24 * 3600 * 1000
    now = int(time.time() * 1000)
    assert post(keeper, event(user, "1001", now + day - 60_000))["added"] == 1
    late = keeper.client.post("/events", json=event(user, "1002", now + day + 60_000))
    assert late.status_code == 422
    assert late.json()["errors"][0]["field"] == "timestamp"


def test_forgetting_leaves_nothing(keeper: Running, user: str) -> None:
    post(keeper, event(user, "1001"), event(user, "1002", NOW + 1))
    first = keeper.client.delete(f"/users/{user}/history")
    assert first.json() == {"user_id": user, "removed": 2}
    assert keeper.client.delete(f"/users/{user}/history").json() == {"user_id": user, "removed": 0}
    assert history(keeper, user) == []
    answer: Any = keeper.answer(user_id=user)
    assert answer["source"] == "popularity"


def undo(server: Running, user_id: str, event_id: str) -> dict[str, Any]:
    response = server.client.delete(f"/users/{quote(user_id, safe='')}/events/{quote(event_id, safe='')}")
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def test_an_event_taken_back_leaves_history_and_answers(keeper: Running, user: str) -> None:
    post(keeper, event(user, "1001", event_id="kept"))
    before: Any = keeper.answer(user_id=user, k=500)
    post(keeper, event(user, "1002", NOW + 1, event_id="mistaken"))
    assert keeper.answer(user_id=user, k=500)["items"] != before["items"]
    assert undo(keeper, user, "mistaken") == {"user_id": user, "event_id": "mistaken", "removed": 1}
    assert undo(keeper, user, "mistaken") == {"user_id": user, "event_id": "mistaken", "removed": 0}
    assert [kept["item_id"] for kept in history(keeper, user)] == ["1001"]
    assert keeper.answer(user_id=user, k=500)["items"] == before["items"]
    assert undo(keeper, user, "kept")["removed"] == 1
    assert keeper.answer(user_id=user)["source"] == "popularity"


def test_an_integer_names_an_event_by_its_digits(keeper: Running, user: str) -> None:
    post(keeper, event(user, "1001", event_id=7))
    assert undo(keeper, user, "7")["removed"] == 1


AWKWARD = [
    "a/b",
    "a b",
    "../admin",
    "ü/ñ",
    "e?x=1#y",
    "100%",
    "%2F",
    "{tag}",
    "a/history",
    "a/events/b",
    "/",
    '"',
]


@pytest.mark.parametrize("awkward", AWKWARD)
def test_undo_finds_ids_with_awkward_characters(keeper: Running, user: str, awkward: str) -> None:
    for owner, event_id in [(f"{user}{awkward}", "e"), (user, awkward), (f"{user}{awkward}", awkward)]:
        post(keeper, event(owner, "1001", event_id=event_id), event(owner, "1002"))
        assert undo(keeper, owner, event_id) == {"user_id": owner, "event_id": event_id, "removed": 1}
        assert [kept["item_id"] for kept in history(keeper, owner)] == ["1002"]


def test_slashes_inside_ids_never_lead_to_another_user(keeper: Running, user: str) -> None:
    owners = [user, f"{user}/events", f"{user}/events/e", f"{user}/events/e/history"]
    post(keeper, *(event(owner, "1001", event_id="e") for owner in owners))
    for event_id in ("history", "e/history", "e/events/e", "e/history/events/e"):
        assert undo(keeper, user, event_id)["removed"] == 0
    for path in ("events/e/events/e", "events/e/history", "events//history"):
        assert keeper.client.delete(f"/users/{user}/{path}").status_code == 404
    assert [len(history(keeper, owner)) for owner in owners] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("path", "field"), [("x%01y/events/e", "user_id"), ("u/events/" + "x" * 129, "event_id")]
)
def test_undo_refuses_what_is_no_id(keeper: Running, path: str, field: str) -> None:
    response = keeper.client.delete(f"/users/{path}")
    assert response.status_code == 422
    assert [fault["field"] for fault in response.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "user_id", ["a/b", "a b", "../admin", "ü/ñ", "user?x=1#y", "100%", "{tag}", "a/history", '"']
)
def test_ids_with_awkward_characters_work_everywhere(keeper: Running, user_id: str) -> None:
    post(keeper, event(user_id, "1001"))
    assert [kept["item_id"] for kept in history(keeper, user_id)] == ["1001"]
    answer: Any = keeper.answer(user_id=user_id)
    assert answer["source"] == "personal"
    removed = keeper.client.delete(f"/users/{quote(user_id, safe='')}/history")
    assert removed.json() == {"user_id": user_id, "removed": 1}


@pytest.mark.parametrize("broken", ["%FF", "%C3", "%ED%A0%80", "a%80b", "%FF%FE"])
def test_a_path_that_is_no_utf_8_is_nobodys(keeper: Running, user: str, broken: str) -> None:
    replaced = "\ufffd"
    post(keeper, event(replaced, "1001", event_id=replaced))
    for method, path, field in [
        ("GET", f"/users/{broken}/history", "user_id"),
        ("DELETE", f"/users/{broken}/history", "user_id"),
        ("DELETE", f"/users/{broken}/events/e", "user_id"),
        ("DELETE", f"/users/{user}/events/{broken}", "event_id"),
        ("GET", f"/items/{broken}/similar", "item_id"),
    ]:
        response = keeper.client.request(method, path)
        assert response.status_code == 400, path
        assert [fault["field"] for fault in response.json()["errors"]] == [field]
    assert len(history(keeper, replaced)) == 1


def test_users_are_listed_with_the_in_process_store(serve: Serve) -> None:
    server = serve()
    post(server, event("a", "1001"), event("b", "1002"))
    assert sorted(server.client.get("/users", params={"limit": 10}).json()["users"]) == ["a", "b"]
    assert len(server.client.get("/users", params={"limit": 1}).json()["users"]) == 1
    assert serve(list_users=False).client.get("/users").status_code == 403


def test_users_in_redis_are_listed_only_when_the_settings_say_so(serve: Serve, redis_url: str) -> None:
    refused = serve(redis_url=redis_url).client.get("/users")
    assert refused.status_code == 403
    assert "DIMEREC_LIST_USERS" in refused.json()["detail"]
    server = serve(redis_url=redis_url, list_users=True)
    post(server, event("a", "1001"))
    assert server.client.get("/users").json() == {"users": ["a"]}


def test_similar_items_are_the_nearest_by_cosine(server: Running) -> None:
    bundle = read_bundle(server.service.settings.bundles)
    vectors = bundle.model.item_vectors().detach().numpy()
    cosines = vectors @ vectors[4]
    nearest = [row for row in (-cosines).argsort(kind="stable").tolist() if row != 4][:10]
    answer = server.client.get("/items/1005/similar", params={"k": 10}).json()
    assert answer["item_id"] == "1005"
    assert answer["title"] == "Video 5"
    assert [item["item_id"] for item in answer["items"]] == [str(1001 + row) for row in nearest]
    assert [item["score"] for item in answer["items"]] == pytest.approx(
        [float(cosines[row]) for row in nearest], abs=1e-6
    )
    assert len(server.client.get("/items/1005/similar", params={"k": 500}).json()["items"]) == 199
