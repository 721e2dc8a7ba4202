"""Recent events in answers to those of whom nothing is known, over HTTP."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from files.clock import now_ms
from service.trending import trending
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.catalogue.test_catalogue_http import put, remove
from tests.service.conftest import Serve
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running, running, settings_for
from tests.service.test_recommend import CATALOGUE, MAX_POPULAR

HALF_LIFE_S = 3600
COUNTED = {"trending_half_life_s": HALF_LIFE_S}
PRIOR = 100
UNPOPULAR = MAX_POPULAR[-1]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "EVERY_S", 0.02)
    monkeypatch.setattr("engine.popularity.PRIOR_EVENTS", PRIOR)


def send(server: Running, item_id: str, users: int = 30, age_s: float = 0, start: int = 0) -> dict[str, Any]:
    """An event of each of so many users; the names of the events are the users'."""
    at = int(1000 * (time.time() - age_s))
    events = [
        {"user_id": f"u{number}", "item_id": item_id, "timestamp": at, "event_id": f"{item_id} {number}"}
        for number in range(start, start + users)
    ]
    response = server.client.post("/events", json={"events": events})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def first(server: Running, **fields: object) -> tuple[str, str]:
    """The first item for somebody of whom nothing is known, and the source."""
    answer = server.answer(user_id="nobody", k=1, **fields)
    return answer["items"][0]["item_id"], answer["source"]


def count(server: Running, item_id: str) -> float:
    """The item's recent events, as its score tells of them where no other item has any."""
    items = server.answer(user_id="nobody", k=500)["items"]
    score: float = next(item["score"] for item in items if item["item_id"] == item_id)
    share = float(CATALOGUE.popularity[CATALOGUE.item_ids.index(item_id)] / CATALOGUE.events)
    return PRIOR * (score - share) / (1 - score)


def counted(server: Running) -> dict[str, float]:
    """The recent events of all items, as the engine has them."""
    return dict(zip(*server.service.engines._trend, strict=True))


def about(number: float) -> Any:
    """Moments are told apart by a thousandth of a half-life."""
    return pytest.approx(number, rel=0.002, abs=0.002)


def becomes(made: Callable[[], Any], expected: object) -> None:
    until(lambda: made() == expected)


def test_what_is_watched_now_comes_first_and_says_so(serve: Serve) -> None:
    server = serve(**COUNTED)
    assert first(server) == (MAX_POPULAR[0], "popularity")
    send(server, UNPOPULAR)
    becomes(lambda: first(server), (UNPOPULAR, "trending"))
    assert server.answer(user_id="u1", k=1)["source"] == "personal"
    assert first(server, exclude=[UNPOPULAR], categories=["News"])[1] == "popularity"
    assert server.metric("dimerec_trending_items") == 1
    assert server.metric("dimerec_trending_age_seconds") == 0
    assert server.metric("dimerec_answers_total", source="trending") >= 1


def test_each_event_counts_at_its_own_time_and_none_of_the_future(serve: Serve) -> None:
    server = serve(**COUNTED)
    send(server, UNPOPULAR, users=8, age_s=2 * HALF_LIFE_S)
    becomes(lambda: count(server, UNPOPULAR), about(2))
    send(server, UNPOPULAR, users=3, age_s=-10 * HALF_LIFE_S, start=8)
    becomes(lambda: count(server, UNPOPULAR), about(5))


def test_an_event_counts_once_until_it_is_taken_back_and_stays_when_its_user_is_forgotten(
    serve: Serve,
) -> None:
    server = serve(**COUNTED, history_max_events=3)
    for _ in range(3):
        send(server, UNPOPULAR, users=10)
    becomes(lambda: count(server, UNPOPULAR), about(10))
    undo = f"/users/u1/events/{UNPOPULAR} 1"
    for removed in (1, 0):
        assert server.client.delete(undo).json()["removed"] == removed
    becomes(lambda: count(server, UNPOPULAR), about(9))
    assert server.client.delete("/users/u2/history").json()["removed"] == 1
    assert send(server, UNPOPULAR, users=1, age_s=60, start=2)["outdated"] == 1  # it was forgotten
    for number in range(5):
        server.watch("u3", MAX_POPULAR[number])
    assert send(server, UNPOPULAR, users=1, age_s=60, start=3)["outdated"] == 1  # it fell out
    send(server, UNPOPULAR, users=1, start=99)
    becomes(lambda: counted(server).get(UNPOPULAR), about(10))


def test_new_videos_enter_and_removed_ones_never(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    server = serve(bundles=tmp_path, **COUNTED)
    send(server, "new", users=50)
    send(server, UNPOPULAR, users=40)
    becomes(lambda: first(server), (UNPOPULAR, "trending"))
    put(server, "new", **{"from": {"like": ["1001"]}})
    assert first(server) == ("new", "trending")
    remove(server, "new")
    remove(server, UNPOPULAR)
    assert first(server)[1] == "popularity"
    assert not {"new", UNPOPULAR} & {
        item["item_id"] for item in server.answer(user_id="nobody", k=500)["items"]
    }


def test_another_bundle_answers_by_the_same_events_at_once(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    server = serve(bundles=tmp_path, **COUNTED)
    send(server, UNPOPULAR)
    becomes(lambda: first(server), (UNPOPULAR, "trending"))
    publish_tiny_bundle(tmp_path, seed=1)
    trending.EVERY_S = 600
    assert server.client.post("/admin/reload", headers=AUTHORIZED).json()["changed"]
    assert first(server) == (UNPOPULAR, "trending")


def test_nothing_is_counted_where_the_half_life_is_0(serve: Serve) -> None:
    server = serve(trending_half_life_s=0)
    send(server, UNPOPULAR)
    assert server.service.trending is None
    assert first(server)[1] == "popularity"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.close()


def test_all_replicas_answer_alike_by_the_events_of_all(serve: Serve, own_redis: RedisServer) -> None:
    servers = [serve(**COUNTED, redis_url=own_redis.url) for _ in range(2)]
    send(servers[0], UNPOPULAR, users=20)
    send(servers[1], UNPOPULAR, users=20, start=20)
    send(servers[1], UNPOPULAR, users=20)
    for server in servers:
        becomes(partial(count, server, UNPOPULAR), about(40))
    undo = f"/users/u1/events/{UNPOPULAR} 1"
    assert servers[1].client.delete(undo).json()["removed"] == 1
    for server in servers:
        becomes(partial(count, server, UNPOPULAR), about(39))
    items = [server.answer(user_id="nobody", k=500)["items"] for server in servers]
    assert items[0] == items[1]


@pytest.mark.parametrize("wrong_days", [60, -60])
def test_a_process_whose_clock_is_wrong_counts_as_the_others_and_spoils_nothing_of_theirs(
    serve: Serve, own_redis: RedisServer, wrong_days: int
) -> None:
    half_life_s = 10 * HALF_LIFE_S
    servers = [serve(trending_half_life_s=half_life_s, redis_url=own_redis.url) for _ in range(2)]
    _set_clock(servers[1], 86_400_000 * wrong_days)
    send(servers[0], UNPOPULAR, users=20)
    for server in servers:
        becomes(partial(count, server, UNPOPULAR), about(20))
    send(servers[1], UNPOPULAR, users=8, start=20)
    send(servers[1], UNPOPULAR, users=8, age_s=2 * half_life_s, start=28)
    send(servers[1], UNPOPULAR, users=2, age_s=-2 * half_life_s, start=36)
    for server in servers:
        becomes(partial(count, server, UNPOPULAR), about(32))


def _set_clock(server: Running, ahead_ms: int) -> None:
    """Let the clock of a process be wrong for its counts, and wait until it has asked Redis."""
    trend = server.service.trending
    assert trend is not None
    shared = trend._shared
    assert shared is not None
    shared._clock = lambda: now_ms() + ahead_ms
    until(lambda: abs(shared.now_ms() - now_ms()) < 60_000)


def test_what_was_counted_last_is_shared_at_a_stop_and_goes_on_after_a_start(
    bundle_root: Path, own_redis: RedisServer
) -> None:
    trending.EVERY_S = 600
    settings = settings_for(bundle_root, **COUNTED, redis_url=own_redis.url)
    with running(settings) as server:
        send(server, UNPOPULAR)
    with running(settings) as server:
        becomes(lambda: first(server), (UNPOPULAR, "trending"))


def test_without_redis_the_last_counts_go_on_and_what_the_spool_brings_counts_once(
    serve: Serve, own_redis: RedisServer, tmp_path: Path
) -> None:
    server = serve(**COUNTED, redis_url=own_redis.url, spool=tmp_path / "spool", history_timeout_s=0.5)
    send(server, UNPOPULAR)
    becomes(lambda: first(server), (UNPOPULAR, "trending"))
    own_redis.stop()
    until(lambda: server.metric("dimerec_trending_age_seconds") > 0.3)
    assert first(server) == (UNPOPULAR, "trending")
    at = int(1000 * time.time())
    event = {"user_id": "late", "item_id": "1001", "timestamp": at}
    for _ in range(2):
        assert server.client.post("/events", json=event).status_code == 202
    own_redis.start()
    becomes(lambda: counted(server), {"1001": about(1)})
