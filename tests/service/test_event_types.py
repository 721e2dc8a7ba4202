"""Events with a meaning: what is not wanted leaves history and answers, over HTTP and with both stores."""

import struct
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from service.history.encoding import identity
from service.history.meanings import Judged, Meanings
from service.history.protocol import Event
from service.history.redis import RedisHistory
from service.history.redis_keys import history_key
from tests.redis_server import RedisServer
from tests.service.conftest import Serve
from tests.service.processes import until
from tests.service.serving import Running
from tests.service.test_events_and_users import CATALOGUE, history, keeper, post, user  # noqa: F401 - fixtures

NOW = int(time.time() * 1000)


@pytest.fixture
def someone() -> str:
    return f"user-{uuid4()}"


def event(user_id: str, item_id: str, after: int, **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "item_id": item_id, "timestamp": NOW - 1000 + after, **more}


def answered(server: Running, **fields: object) -> set[str]:
    return {item["item_id"] for item in server.answer(k=500, **fields)["items"]}


def same_answer(server: Running, one: str, other: str) -> bool:
    """True where both users get the same items and scores, but for what either has excluded."""
    answers = [
        server.answer(user_id=user_id, k=20, seed=1, exclude_seen=False)["items"] for user_id in (one, other)
    ]
    found = [[(item["item_id"], item["score"], item["because"]) for item in items] for items in answers]
    return found[0] == found[1]


def test_what_is_not_wanted_is_in_no_answer(keeper: Running, someone: str) -> None:  # noqa: F811
    post(keeper, event(someone, "1001", 0), event(someone, "1009", 1, event_type="dislike"))
    cold = f"{someone} cold"
    post(keeper, event(cold, "1009", 0, event_type="block"))
    for fields in (
        {"user_id": someone},
        {"user_id": someone, "exclude_seen": False},
        {"user_id": someone, "history": ["1002"], "exclude_seen": False},
        {"user_id": someone, "history": ["1009", "1002"], "exclude_seen": False},
        {"user_id": cold},
        {"user_id": cold, "exclude_seen": False},
    ):
        assert "1009" not in answered(keeper, **fields), fields
        batch = keeper.client.post("/recommend/batch", json={"requests": [{**fields, "k": 500}]}).json()
        assert "1009" not in {item["item_id"] for item in batch["answers"][0]["items"]}
    assert keeper.answer(user_id=cold)["source"] == "popularity"
    assert "1009" in answered(keeper, user_id=f"{someone} else")
    assert len(answered(keeper, user_id=someone, exclude_seen=False)) == 199


def test_it_leaves_the_history_until_it_is_watched_again(keeper: Running, someone: str) -> None:  # noqa: F811
    without, again = f"{someone} without", f"{someone} again"
    for number, item_id in enumerate(("1001", "1002", "1003")):
        post(keeper, event(someone, item_id, number))
        if item_id != "1002":
            post(keeper, event(without, item_id, number))
        post(keeper, event(again, item_id, number))
    assert not same_answer(keeper, someone, without)
    post(keeper, event(someone, "1002", 5, event_type="skip", event_id="no"))
    post(keeper, event(without, "1002", 5, event_type="skip"))
    assert same_answer(keeper, someone, without)
    assert not same_answer(keeper, someone, again)
    assert keeper.client.delete(f"/users/{someone}/events/no").json()["removed"] == 1
    assert same_answer(keeper, someone, again)
    post(keeper, event(someone, "1002", 5, event_type="skip"), event(someone, "1002", 6, event_type="watch"))
    post(keeper, event(again, "1002", 6))
    assert same_answer(keeper, someone, again)
    assert "1002" in answered(keeper, user_id=someone, exclude_seen=False)


def test_the_history_shows_types_meanings_and_requests(keeper: Running, someone: str) -> None:  # noqa: F811
    request_id = keeper.answer(user_id=someone, k=1)["request_id"]
    named = [
        event(someone, "1001", 0, request_id=request_id),
        event(someone, "1001", 0, event_type="like", request_id="r.1_-"),
        event(someone, "1002", 2, event_type="skip"),
    ]
    assert post(keeper, *named)["added"] == 3
    assert post(keeper, *named)["repeated"] == 3
    shown = [(one["event_type"], one["meaning"], one["request_id"]) for one in history(keeper, someone)]
    assert shown == [
        (None, "positive", request_id),
        ("like", "positive", "r.1_-"),
        ("skip", "negative", None),
    ]
    assert keeper.client.delete(f"/users/{someone}/history").json()["removed"] == 3
    assert "1002" in answered(keeper, user_id=someone)


def test_a_type_without_a_meaning_is_refused_and_names_the_remedy(keeper: Running, someone: str) -> None:  # noqa: F811
    bad = [event(someone, "1001", 0), event(someone, "1002", 1, event_type="report")]
    for body, field in (({"events": bad}, "events[1].event_type"), (bad[1], "event_type")):
        response = keeper.client.post("/events", json=body)
        assert response.status_code == 422
        [error] = response.json()["errors"]
        assert error["field"] == field
        assert "DIMEREC_EVENT_TYPES" in error["message"]
        assert "skip" in error["message"]
    for field, value in (("event_type", ""), ("event_type", "a b"), ("event_type", 1), ("request_id", "é")):
        response = keeper.client.post("/events", json=event(someone, "1001", 0, **{field: value}))
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert history(keeper, someone) == []


def test_meanings_are_those_of_now(serve: Serve, redis_url: str) -> None:
    first = serve(redis_url=redis_url, event_types="seen=ignored,hide=negative,more=positive")
    sent = [
        event("u", "1001", 0, event_type="seen"),
        event("u", "1002", 1, event_type="hide"),
        event("u", "1003", 2, event_type="more"),
    ]
    told = post(first, *sent)
    assert (told["added"], told["ignored"]) == (2, 1)
    assert post(first, sent[0])["ignored"] == 1
    assert [one["item_id"] for one in history(first, "u")] == ["1002", "1003"]
    assert "1002" not in answered(first, user_id="u", exclude_seen=False)
    second = serve(redis_url=redis_url, event_types="hide=positive")
    assert [one["meaning"] for one in history(second, "u")] == ["positive", "ignored"]
    assert "1002" in answered(second, user_id="u", exclude_seen=False)
    assert second.answer(user_id="u")["source"] == "personal"
    third = serve(redis_url=redis_url, event_types="")
    assert third.answer(user_id="u")["source"] == "popularity"
    response = third.client.post("/events", json=sent[1])
    assert response.status_code == 422


def test_only_what_is_wanted_is_trending(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.trending.trending.EVERY_S", 0.02)
    server = serve(trending_half_life_s=3600)
    post(server, *(event(f"u{number}", "1001", 0, event_type="skip") for number in range(50)))
    post(server, *(event(f"u{number}", "1002", 0, event_type="watch") for number in range(50)))
    until(lambda: server.metric("dimerec_trending_items") == 1)
    assert server.service.engines._trend.item_ids == ("1002",)


async def test_histories_of_before_there_were_types_are_read_and_go_on(redis_url: str) -> None:
    old = [Event("a", 1), Event("é b", 2)]
    written = struct.pack(">IIqq", 2, 0, 1, 2) + b"".join(map(identity, old)) + "a\0é b\0".encode()
    async with redis.asyncio.Redis.from_url(redis_url) as raw:
        await raw.set(history_key("u"), written)
    store = RedisHistory.from_url(redis_url, timeout_s=10)
    assert await store.read("u", 9) == old
    typed = Event("c", 2, "name", "skip", "r-1")
    assert (await store.append("u", [*old, typed])).repeated == 2
    assert await store.read("u", 9) == [*old, typed._replace(event_id=None)]
    assert await store.remove("u", "name") == 1
    assert await store.read("u", 9) == old
    await store.close()


def test_types_wait_in_the_spool(serve: Serve, redis_server: RedisServer, tmp_path: Path) -> None:
    server = serve(redis_url=redis_server.url, spool=tmp_path / "spool", history_timeout_s=0.5)
    redis_server.stop()
    sent = event("u", "1001", 0, event_type="skip", request_id="r-1", event_id="e")
    assert server.client.post("/events", json=sent).status_code == 202
    redis_server.start()

    def delivered() -> bool:
        response = server.client.get("/users/u/history")
        return response.is_success and bool(response.json()["events"])

    until(delivered)
    [kept] = history(server, "u")
    assert (kept["event_type"], kept["meaning"], kept["request_id"]) == ("skip", "negative", "r-1")


TYPES = st.none() | st.sampled_from(["watch", "skip", "seen", "other"])


@given(st.lists(st.tuples(st.sampled_from("abcd"), TYPES), max_size=12))
def test_an_item_goes_by_its_newest_event_that_has_a_meaning(pairs: list[tuple[str, str | None]]) -> None:
    meanings = Meanings.parse("watch=positive, skip=negative, seen=ignored")
    events = [Event(item_id, rank, None, name) for rank, (item_id, name) in enumerate(pairs)]

    def newest(item_id: str) -> str | None:
        of_item = [name for other, name in pairs if other == item_id and name in (None, "watch", "skip")]
        return (of_item[-1] or "watch") if of_item else None

    judged = meanings.judge(events)
    watched = [item_id for item_id, name in pairs if name in (None, "watch") and newest(item_id) == "watch"]
    assert judged.positive == watched
    assert set(judged.negative) == {item_id for item_id, _ in pairs if newest(item_id) == "skip"}
    assert meanings.judge([]) == Judged([])
