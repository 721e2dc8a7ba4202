"""Events while Redis is away: taken in durably, told so, delivered in order once it is back."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import structlog

from service.app import create_app
from service.history.errors import HistoryUnavailableError
from service.history.in_process import InProcessHistory
from service.history.protocol import AppendResult, Event
from service.history.redis_keys import history_key
from service.spool.file import NAME, Record, SpoolFile
from tests.redis_server import RedisServer
from tests.service.conftest import Serve
from tests.service.processes import until
from tests.service.serving import Running, settings_for

NOW = int(time.time() * 1000)


@pytest.fixture
def start(serve: Serve, redis_url: str, tmp_path: Path) -> Callable[..., Running]:
    def start(**settings: object) -> Running:
        return serve(redis_url=redis_url, history_timeout_s=1.0, spool=tmp_path / "spool", **settings)

    return start


@pytest.fixture
def server(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture
def away(redis_server: RedisServer) -> RedisServer:
    """Redis, which a test may start again."""
    redis_server.stop()
    return redis_server


def watched(user_id: str, item_id: str = "1001", at: int = NOW, **more: object) -> dict[str, object]:
    return {"user_id": user_id, "item_id": item_id, "timestamp": at, **more}


def history(server: Running, user_id: str) -> list[str]:
    answer = server.client.get(f"/users/{user_id}/history", params={"limit": 1000})
    return [event["item_id"] for event in answer.json()["events"]] if answer.status_code == 200 else []


def delivered(server: Running) -> None:
    directory = server.service.settings.spool
    assert directory is not None
    file = SpoolFile(directory, 1 << 30)
    until(lambda: file.counts().pending == 0)
    file.close()
    until(lambda: pending(server) == 0)


def pending(server: Running) -> float:
    return server.metric("dimerec_spool_pending")


def outcomes(server: Running) -> dict[str, float]:
    return {
        outcome: server.metric("dimerec_spool_records_total", outcome=outcome)
        for outcome in ("taken", "delivered", "refused")
    }


def test_events_are_taken_in_and_visible_once_redis_is_back(server: Running, away: RedisServer) -> None:
    for _ in range(7):  # past the point where the circuit opens
        answer = server.client.post("/events", json=watched("u"))
        assert (answer.status_code, answer.json()) == (202, {"spooled": 1, "visible": False})
    many = {"events": [watched("u", "1002", NOW + 1), watched("v"), watched("v", "1003", NOW + 2)]}
    answer = server.client.post("/events", json=many)
    assert (answer.status_code, answer.json()["spooled"]) == (202, 3)
    cold: Any = server.answer(user_id="u")
    assert (cold["source"], cold["degraded"]) == ("popularity", "history_unavailable")
    until(lambda: pending(server) == 10)
    until(lambda: server.metric("dimerec_spool_oldest_seconds") > 0)

    away.start()
    delivered(server)
    until(lambda: history(server, "u") == ["1001", "1002"])
    assert history(server, "v") == ["1001", "1003"]
    assert outcomes(server) == {"taken": 10, "delivered": 10, "refused": 0}
    assert server.metric("dimerec_spool_oldest_seconds") == 0
    later = server.client.post("/events", json=watched("u", "1004", NOW + 3))
    assert (later.status_code, later.json()["added"]) == (200, 1)


def test_while_redis_answers_nothing_goes_into_the_spool(server: Running) -> None:
    assert server.client.post("/events", json=watched("u")).json()["added"] == 1
    assert server.client.delete("/users/u/history").json()["removed"] == 1
    assert outcomes(server)["taken"] == 0


def test_what_is_wrong_is_refused_before(server: Running, away: RedisServer) -> None:
    assert server.client.post("/events", json=watched("u", at=5)).status_code == 422
    assert server.client.post("/events", json=watched("")).status_code == 422
    assert outcomes(server)["taken"] == 0


def test_a_user_is_forgotten_in_order_and_in_the_spool(
    server: Running, away: RedisServer, tmp_path: Path
) -> None:
    away.start()
    server.watch("somebody-4711", "1009")
    away.stop()
    server.client.post("/events", json=watched("somebody-4711", "left-behind-item"))
    server.client.post("/events", json=watched("other-user", "1002"))
    files = list((tmp_path / "spool").iterdir())
    assert b"left-behind-item" in b"".join(path.read_bytes() for path in files)

    forgotten = server.client.delete("/users/somebody-4711/history")
    assert (forgotten.status_code, forgotten.json()) == (202, {"spooled": 1, "visible": False})
    assert b"left-behind-item" not in b"".join(path.read_bytes() for path in files)
    again = watched("somebody-4711", "1003", int(time.time() * 1000) + 60_000)
    assert server.client.post("/events", json=again).status_code == 202
    old = watched("somebody-4711", "left-behind-item")
    assert server.client.post("/events", json=old).status_code == 202

    away.start()
    delivered(server)
    until(lambda: history(server, "somebody-4711") == ["1003"])
    assert history(server, "other-user") == ["1002"]
    traces = (b"somebody-4711", b"left-behind-item")
    until(lambda: not any(trace in path.read_bytes() for path in files for trace in traces))


def test_an_event_in_the_spool_can_be_taken_back(server: Running, away: RedisServer) -> None:
    server.client.post("/events", json=watched("u", "1001", event_id="mistaken"))
    server.client.post("/events", json=watched("u", "1002", NOW + 1))
    assert server.client.delete("/users/u/events/mistaken").status_code == 202
    away.start()
    delivered(server)
    until(lambda: history(server, "u") == ["1002"])


def test_a_full_spool_refuses_and_every_event_is_accounted_for(
    start: Callable[..., Running], away: RedisServer
) -> None:
    server = start(spool_max_bytes=1_048_576)
    item = "x" * 100
    batches = [{"events": [watched(f"user {n}", item, NOW + step) for step in range(500)]} for n in range(20)]
    statuses = [server.client.post("/events", json=batch).status_code for batch in batches]
    assert statuses[0] == 202
    assert statuses[-1] == 503
    assert set(statuses) == {202, 503}
    taken = 500 * statuses.count(202)
    until(lambda: pending(server) == taken)
    assert outcomes(server) == {"taken": taken, "delivered": 0, "refused": 10_000 - taken}

    away.start()
    delivered(server)
    kept = [len(history(server, f"user {n}")) for n in range(20)]
    assert kept == [500 if status == 202 else 0 for status in statuses]
    assert outcomes(server)["delivered"] == taken


def test_many_callers_share_a_flush_and_none_is_lost(server: Running, away: RedisServer) -> None:
    with ThreadPoolExecutor(16) as callers:
        sent = [watched(f"user {n % 7}", "1001", NOW + n) for n in range(200)]
        answers = list(callers.map(lambda event: server.client.post("/events", json=event), sent))
    assert {answer.status_code for answer in answers} == {202}
    away.start()
    delivered(server)
    until(lambda: sum(len(history(server, f"user {n}")) for n in range(7)) == 200)


def test_a_user_whose_history_is_unreadable_holds_up_nobody(
    server: Running, away: RedisServer, redis_url: str
) -> None:
    for user_id in ("a", "broken", "z"):
        assert server.client.post("/events", json=watched(user_id)).status_code == 202
    away.start()
    with redis.Redis.from_url(redis_url) as raw:
        raw.set(history_key("broken"), "no history")
    until(lambda: pending(server) == 1)
    assert history(server, "a") == history(server, "z") == ["1001"]
    assert server.client.post("/events", json=watched("broken", "1002")).status_code == 202
    assert server.client.delete("/users/broken/history").status_code == 202
    later = int(time.time() * 1000) + 60_000
    assert server.client.post("/events", json=watched("broken", "1003", later)).status_code == 202
    delivered(server)
    assert history(server, "broken") == ["1003"]


def test_a_broken_spool_costs_nothing_while_redis_answers(
    server: Running, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "spool" / "spool.db").write_bytes(b"no database" * 1000)
    (tmp_path / "spool" / "spool.db-wal").write_bytes(b"")
    assert server.client.post("/events", json=watched("u")).status_code == 200
    redis_server.stop()
    answer = server.client.post("/events", json=watched("u"))
    assert answer.status_code in (202, 503)


class Hanging(InProcessHistory):
    """A store that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        self.asked.set()
        await asyncio.Event().wait()
        return await super().append_each(appends)


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """All that is logged, of whatever level."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_a_stop_during_a_delivery_ends_it_without_an_error(
    bundle_root: Path, redis_url: str, tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.spool.file.LOCKED_S", 0.5)
    monkeypatch.setattr("service.app.TASKS_END_WITHIN_S", 30.0)
    file = SpoolFile(tmp_path / "spool", 1 << 20)
    file.take([[Record("append", "u", "1001", NOW)]], NOW)
    file.close()
    store = Hanging()
    app = create_app(settings_for(bundle_root, redis_url=redis_url, spool=tmp_path / "spool"), history=store)
    async with app.router.lifespan_context(app):
        await store.asked.wait()
        other = sqlite3.connect(tmp_path / "spool" / NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # so that what the delivery does last takes a while
    other.close()
    assert [line for line in told if "spool" in line["event"] or line["log_level"] == "error"] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_openapi_says_it(server: Running) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    for path, method in (
        ("/events", "post"),
        ("/users/{user_id}/history", "delete"),
        ("/users/{user_id}/events/{event_id}", "delete"),
    ):
        schema = paths[path][method]["responses"]["202"]["content"]["application/json"]["schema"]
        assert json.dumps(schema).count("SpooledResponse") == 1
