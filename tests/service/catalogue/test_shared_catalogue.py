"""Changes of the catalogue on several replicas and workers with one Redis."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import copytree

import httpx
import pytest
from redis import Redis

from service.catalogue import following, live
from service.catalogue.late_removals import FILE as LATE_FILE
from service.catalogue.late_removals import read_removals
from service.catalogue.redis import FACTS
from service.catalogue.view import FILE
from service.errors import StartupError
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas, sequence, together
from tests.service.catalogue.test_catalogue_http import Clock, call, put, remove, similar
from tests.service.processes import process, until
from tests.service.serving import AUTHORIZED, Running, keys_file, running, settings_for


def test_a_change_counts_on_every_replica(replicas: Replicas) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    answer = put(first, "new", title="New", categories=["Comedy"], **{"from": {"like": ["1001"]}})
    assert answer["effective"] == "here"
    remove(first, "1005")
    put(second, "1009", title="Renamed")
    together(first, second)
    for server in (first, second):
        assert similar(server, "1005") == 404
        assert similar(server, "new") != 404
        assert call(server, "GET", "1009").json()["title"] == "Renamed"
    ask = {"history": ["1001", "new"], "k": 50, "seed": 3}
    one, other = first.answer(**ask), second.answer(**ask)
    assert [item["item_id"] for item in one["items"]] == [item["item_id"] for item in other["items"]]
    assert one["source"] == "personal"
    remove(second, "new")
    together(first, second)
    assert similar(first, "new") == 404


def test_a_replica_that_starts_later_knows_all_changes(replicas: Replicas) -> None:
    first = replicas.start("first")
    for number in range(30):
        remove(first, str(1001 + number))
    later = replicas.start("later")
    assert sequence(later) == 30
    assert similar(later, "1001") == 404


def test_what_is_over_by_the_clock_of_one_does_not_return_by_that_of_another(
    replicas: Replicas, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(name: str, clock: Clock) -> Running:
        monkeypatch.setattr(live.LiveCatalogue.__init__, "__defaults__", (clock,))
        return replicas.start(name)

    right, behind = Clock(), Clock()
    behind.now -= 50_000
    first = start("first", right)
    put(first, "short", **{"from": {"like": ["1001"]}}, available_until=right.now + 3_000)
    right.now += 4_000
    with Redis.from_url(own_redis.url) as client:
        until(lambda: int(client.hget(FACTS, "passed_ms") or 0) >= right.now)
    second = start("second", behind)
    assert sequence(second) == 1
    assert similar(second, "short") == 404
    assert call(second, "GET", "short").json()["source"] == "removed"


def test_without_redis_nothing_is_put_and_nothing_returns(replicas: Replicas, own_redis: RedisServer) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    put(first, "new", title="New", **{"from": {"like": ["1001"]}})
    remove(second, "1005")
    together(first, second)
    until(lambda: (replicas.directory("second") / FILE).exists())
    own_redis.stop()
    response = call(first, "PUT", "late", json={"from": {"like": ["1001"]}})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["type"] == "urn:dimerec:problem:catalogue-unavailable"
    for server in (first, second):
        assert server.answer(history=["1001"], k=5)["items"]
        assert similar(server, "1005") == 404
        assert similar(server, "new") != 404
    until(lambda: FILE in {path.name for path in replicas.directory("first").iterdir()})
    copytree(replicas.directory("second"), replicas.directory("third"))
    third = replicas.start("third")  # it knows from its directory
    assert similar(third, "1005") == 404
    assert similar(third, "new") != 404
    own_redis.start()  # with nothing in it
    until(lambda: call(third, "DELETE", "1006").status_code == 200)
    together(first, second, third)
    for server in (first, second, third):
        assert similar(server, "1005") == similar(server, "1006") == 404
        assert similar(server, "new") != 404
    fourth = replicas.start("fourth")
    assert similar(fourth, "1005") == 404
    assert similar(fourth, "new") != 404


@pytest.mark.parametrize("fault", ["gone", "hangs"])
def test_a_removal_without_redis_counts_here_and_is_told_later(
    replicas: Replicas, own_redis: RedisServer, fault: str
) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    put(first, "new", title="New", **{"from": {"like": ["1001"]}})
    together(first, second)
    (own_redis.stop if fault == "gone" else own_redis.pause)()
    for item_id in ("new", "1006", "unseen"):
        response = call(first, "DELETE", item_id)
        assert response.status_code == 202, response.text
        assert response.json() == {
            "item_id": item_id,
            "sequence": None,
            "effective": "here",
            "missing": None,
            "replicated": None,
        }
        assert call(first, "GET", item_id).json()["source"] == "removed"
    assert "Redis was away" in call(first, "GET", "1006").json()["reason"]
    assert call(first, "GET", "unseen").json()["sequence"] is None
    listed = call(first, "GET", params={"source": "removed"}).json()["items"]
    assert [item["item_id"] for item in listed] == ["1006", "new", "unseen"]
    assert similar(first, "1006") == similar(first, "new") == 404
    assert similar(second, "1006") != 404
    assert first.metric("dimerec_catalogue_removed_items") == 3
    again = replicas.start("first")  # as a process that takes the place of one that was killed
    assert similar(again, "1006") == similar(again, "new") == 404
    (own_redis.start if fault == "gone" else own_redis.resume)()

    def knows_removals(server: Running) -> bool:
        gone = call(server, "GET", "unseen").json().get("source") == "removed"
        return gone and similar(server, "1006") == similar(server, "new") == 404

    for server in (second, first, again):
        until(partial(knows_removals, server))
    until(lambda: not read_removals(replicas.directory("first")))
    until(lambda: not (first.service.catalogue.struck or again.service.catalogue.struck))
    together(first, second, again)
    put(second, "1006", title="Back")
    put(first, "new", title="Back", **{"from": {"like": ["1001"]}})
    together(first, second, again)
    for server in (first, second, again):
        assert similar(server, "1006") != 404
        assert similar(server, "new") != 404


def test_what_is_put_after_a_late_removal_stays(replicas: Replicas, own_redis: RedisServer) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    own_redis.stop()
    assert call(first, "DELETE", "1006").status_code == 202
    own_redis.start()
    until(lambda: call(first, "PUT", "1006", json={"title": "Back"}).status_code == 200)
    put(first, "last", **{"from": {"like": ["1001"]}})
    together(first, second)
    for server in (first, second):
        assert call(server, "GET", "1006").json()["title"] == "Back"
        assert similar(server, "1006") != 404


def test_a_late_removal_that_cannot_be_kept_is_refused(
    replicas: Replicas, own_redis: RedisServer, tmp_path: Path
) -> None:
    first = replicas.start("first")
    own_redis.stop()
    path = replicas.directory("first") / LATE_FILE
    path.mkdir()
    response = call(first, "DELETE", "1006")
    assert response.status_code == 503
    assert LATE_FILE in response.json()["detail"]
    assert str(tmp_path) not in response.text
    assert similar(first, "1006") != 404
    path.rmdir()
    path.touch()  # as by a process that was killed as it began one
    again = replicas.start("first")
    assert call(again, "DELETE", "1006").status_code == 202
    assert similar(again, "1006") == 404


def test_late_removals_are_not_forgotten_without_redis(replicas: Replicas, own_redis: RedisServer) -> None:
    first = replicas.start("first")
    own_redis.stop()
    assert call(first, "DELETE", "1006").status_code == 202
    with (
        pytest.raises(StartupError, match=r"DIMEREC_REDIS_URL"),
        running(settings_for(replicas.directory("first"))),
    ):
        pass


@pytest.mark.parametrize("fault", ["gone", "hangs"])
def test_a_process_that_hears_nothing_says_so(
    replicas: Replicas, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(following, "STALE_AFTER_S", 3.0)
    first = replicas.start("first", catalogue_max_staleness_s=3)
    second = replicas.start("second")
    put(first, "new", **{"from": {"like": ["1001"]}})
    remove(first, "1005")
    together(first, second)
    servers = (first, second)

    def faults() -> list[str | None]:
        return [server.answer(history=["1001"], k=3)["degraded"] for server in servers]

    def ready() -> list[int]:
        return [server.client.get("/health/ready").status_code for server in servers]

    assert (faults(), ready()) == ([None, None], [200, 200])
    assert [server.metric("dimerec_catalogue_sequence") for server in servers] == [2, 2]
    assert [server.metric("dimerec_catalogue_overlay_items") for server in servers] == [1, 1]
    assert [server.metric("dimerec_catalogue_removed_items") for server in servers] == [1, 1]
    assert max(server.metric("dimerec_catalogue_lag_seconds") for server in servers) < 3
    (own_redis.stop if fault == "gone" else own_redis.pause)()
    until(lambda: faults() == ["catalogue_stale"] * 2)
    until(lambda: ready() == [503, 200])
    assert "changes of the catalogue" in first.client.get("/health/ready").json()["detail"]
    batch = first.client.post("/recommend/batch", json={"requests": [{"history": ["1001"]}]})
    assert batch.json()["answers"][0]["degraded"] == "catalogue_stale"
    assert first.metric("dimerec_degraded_total", reason="catalogue_stale") >= 2
    assert first.metric("dimerec_catalogue_lag_seconds") > 3
    (own_redis.start if fault == "gone" else own_redis.resume)()
    until(lambda: faults() == [None, None])
    assert ready() == [200, 200]


def test_a_process_that_never_heard_is_not_ready_where_that_counts(
    replicas: Replicas, own_redis: RedisServer
) -> None:
    own_redis.stop()
    cautious = replicas.start("first", catalogue_max_staleness_s=3600)
    plain = replicas.start("second")
    assert cautious.client.get("/health/ready").status_code == 503
    assert plain.client.get("/health/ready").status_code == 200
    assert plain.answer(history=["1001"], k=3)["degraded"] == "catalogue_stale"
    own_redis.start()
    until(lambda: cautious.client.get("/health/ready").status_code == 200)
    until(lambda: plain.answer(history=["1001"], k=3)["degraded"] is None)


def test_removals_under_load_leak_nothing_where_they_were_answered(replicas: Replicas) -> None:
    remove_under_load(replicas, 600, 400)


@pytest.mark.smoke
def test_ten_thousand_removals_under_load_leak_nothing(tmp_path: Path, own_redis: RedisServer) -> None:
    with ExitStack() as servers:
        remove_under_load(Replicas(tmp_path, own_redis.url, servers, items=10_400), 10_000, 400)


def remove_under_load(replicas: Replicas, count: int, left_over: int) -> None:
    """Remove the first items of two replicas while both are asked; the last ones are left over."""
    servers = [replicas.start("first"), replicas.start("second")]
    removed: list[set[str]] = [set(), set()]
    leaks: list[str] = []
    over = threading.Event()
    last = [str(1000 + count + 300), str(1000 + count + 301)]

    def ask(number: int) -> None:
        server, gone = servers[number % 2], removed[number % 2]
        while not over.is_set():
            known = set(gone)
            items = server.answer(history=last, k=30)["items"]
            assert len(items) == 30
            leaks.extend({item["item_id"] for item in items} & known)

    def take_down(number: int) -> None:
        item_id = str(1001 + number)
        remove(servers[number % 2], item_id)
        removed[number % 2].add(item_id)

    with ThreadPoolExecutor() as callers:
        asking = [callers.submit(ask, number) for number in range(2)]
        with ThreadPoolExecutor(8) as removers:
            list(removers.map(take_down, range(count)))
        over.set()
        for one in asking:
            one.result()
    assert leaks == []
    together(*servers)
    for server in servers:
        left = {item["item_id"] for item in server.answer(history=[], k=450, exclude_seen=False)["items"]}
        assert len(left) == left_over
        assert not left & (removed[0] | removed[1])


def test_two_workers_answer_alike_and_a_new_one_knows(tmp_path: Path, redis_url: str) -> None:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root)
    variables = {"DIMEREC_KEYS_FILE": str(keys_file()), "TMPDIR": str(tmp_path)}
    options = ("--bundles", root, "--redis", redis_url, "--workers", 2)
    with process(tmp_path, *options, before=None, **variables) as served:

        def ask(method: str, path: str) -> httpx.Response | None:
            """The answer of any worker, by a connection of its own; None where one that was killed had it."""
            try:
                with httpx.Client(base_url=served.url, headers=AUTHORIZED, timeout=30) as client:
                    return client.request(method, path)
            except httpx.TransportError:
                return None

        def everywhere(path: str, status: int) -> bool:
            answers = [ask("GET", path) for _ in range(12)]
            return {answer and answer.status_code for answer in answers} == {status}

        with httpx.Client(base_url=served.url, headers=AUTHORIZED, timeout=30) as client:
            answer = client.put("/items/new", json={"from": {"like": ["1001"]}})
            assert answer.status_code == 200, answer.text
            assert client.delete("/items/1005").status_code == 200
            until(lambda: everywhere("/items/new/similar", 200))
            until(lambda: everywhere("/items/1005/similar", 404))
            pids = [worker["pid"] for worker in client.get("/version").json()["workers"]]
        os.kill(pids[0], signal.SIGKILL)

        def replaced() -> bool:
            answer = ask("GET", "/version")
            now = [] if answer is None else [worker["pid"] for worker in answer.json()["workers"]]
            return len(now) == 2 and pids[0] not in now

        until(replaced)
        until(lambda: everywhere("/items/new/similar", 200))
        until(lambda: everywhere("/items/1005/similar", 404))


def test_changes_in_a_file_come_into_the_redis_that_follows_and_not_back(
    replicas: Replicas, own_redis: RedisServer
) -> None:
    root = replicas.directory("first")
    with running(settings_for(root)) as alone:
        put(alone, "new", **{"from": {"like": ["1001"]}})
        remove(alone, "1005")
    first, second = replicas.start("first"), replicas.start("second")
    together(first, second)
    assert similar(second, "1005") == 404
    assert similar(second, "new") != 404
    until(lambda: (replicas.directory("second") / FILE).exists())
    with (
        pytest.raises(StartupError, match=r"DIMEREC_REDIS_URL"),
        running(settings_for(replicas.directory("second"))),
    ):
        pass


def _is_put(status: Callable[[int], int], number: int) -> bool:
    return status(number) == 200


def test_replicas_go_past_the_bound_on_new_items_not_even_together(replicas: Replicas) -> None:
    servers = [replicas.start("first"), replicas.start("second")]
    for server in servers:
        server.service.changes.room.max_items = 5

    def status(number: int) -> int:
        body = {"from": {"like": ["1001"]}}
        return call(servers[number % 2], "PUT", f"new-{number}", json=body).status_code

    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(status, range(40)))
    together(*servers)
    added = [server.service.catalogue.added_items for server in servers]
    assert added[0] == added[1] == statuses.count(200) <= 5
    assert set(statuses) <= {200, 409}
    taken = added[0]
    while taken < 5:  # once they have heard of each other, all of the room is to be had
        taken += 1
        until(partial(_is_put, status, 40 + taken))
        together(*servers)
    assert status(99) == 409
