"""`?wait=all`: answered once a change counts in every live process, or with the names of those that lag."""

import errno
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from service.replicas.board import DEADLINES
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas
from tests.service.catalogue.test_catalogue_http import call, put, remove, similar
from tests.service.conftest import Serve
from tests.service.processes import Process, process, until
from tests.service.serving import AUTHORIZED, Running, keys_file

LIKE = {"from": {"like": ["1001"]}}
Effect = tuple[str, list[str] | None]
EVERYWHERE: Effect = ("everywhere", [])


def effect(server: Running, method: str, item_id: str | None, body: Any = None) -> Effect:
    """The processes in which a change counts and those that lack it, as its answer says after a wait."""
    answer = call(server, method, item_id, params={"wait": "all"}, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["effective"], answer.json()["missing"]


def freeze(second: Process, board: RedisServer) -> None:
    """Stop the second of two processes, which counts on until it goes on, however slow this machine is."""
    with redis.Redis.from_url(board.url) as client:
        until(lambda: client.zcard(DEADLINES) == 2)
        second.popen.send_signal(signal.SIGSTOP)
        for process_id in client.zrange(DEADLINES, 0, -1):
            client.zadd(DEADLINES, {process_id: 2**53})


def name(served: Process) -> str:
    return f"{socket.gethostname()}:{served.popen.pid}"


def test_all_replicas_know_a_change_once_it_is_answered(replicas: Replicas) -> None:
    servers = [replicas.start("first"), replicas.start("second"), replicas.start("third")]
    for number in range(6):
        asked, new, gone = servers[number % 3], f"new-{number}", str(1010 + number)
        assert effect(asked, "PUT", new, LIKE) == EVERYWHERE
        assert all(similar(server, new) != 404 for server in servers)
        assert effect(asked, "DELETE", gone) == EVERYWHERE
        assert all(similar(server, gone) == 404 for server in servers)
    items = [{"item_id": "many-1", **LIKE}, {"item_id": ""}, {"item_id": "many-2", **LIKE}]
    answer = call(servers[0], "POST", params={"wait": "all"}, json={"items": items}).json()["items"]
    assert [one.get("effective") for one in answer] == ["everywhere", None, "everywhere"]
    assert all(similar(server, f"many-{number}") != 404 for server in servers for number in (1, 2))


def test_who_does_not_wait_hears_where_it_counts_at_once(replicas: Replicas) -> None:
    first = replicas.start("first")
    for answer in (put(first, "new", **LIKE), remove(first, "new")):
        assert (answer["effective"], answer["missing"]) == ("here", None)
    for method, item_id, body in (
        ("PUT", "new", LIKE),
        ("DELETE", "new", None),
        ("POST", None, {"items": [{"item_id": "new"}]}),
    ):
        refused = call(first, method, item_id, params={"wait": "some"}, json=body)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["wait"]


def test_a_process_alone_is_all(serve: Serve, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    alone = serve(bundles=tmp_path)
    assert effect(alone, "PUT", "new", LIKE) == EVERYWHERE
    assert effect(alone, "DELETE", "1005") == EVERYWHERE


def test_a_process_that_lags_is_named_until_it_counts_no_longer(
    replicas: Replicas, own_redis: RedisServer
) -> None:
    first = replicas.start("first")
    with replicas.process("second") as second:
        until(lambda: effect(first, "PUT", "new", LIKE) == EVERYWHERE)
        known = httpx.get(f"{second.url}/items/new", headers=AUTHORIZED)
        assert known.json()["source"] == "overlay"
        freeze(second, own_redis)
        assert effect(first, "DELETE", "1005") == ("here", [name(second)])
        second.popen.send_signal(signal.SIGCONT)
        assert effect(first, "DELETE", "1006") == EVERYWHERE
        assert httpx.get(f"{second.url}/items/1005/similar").status_code == 404
        second.popen.kill()
        until(lambda: effect(first, "DELETE", "1007") == EVERYWHERE)


def test_a_process_that_ends_is_not_waited_for(replicas: Replicas) -> None:
    first = replicas.start("first")
    with replicas.process("second") as second:
        until(lambda: len(first.client.get("/version").json()["processes"]) == 2)
        second.stop()
        assert effect(first, "DELETE", "1005") == EVERYWHERE
        assert len(first.client.get("/version").json()["processes"]) == 1


def test_a_directory_that_cannot_be_listed_for_a_while_silences_no_process(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(_: Path) -> list[str]:
        failed.set()
        raise OSError(errno.EMFILE, "Too many open files")

    first, second = replicas.start("first"), replicas.start("second")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("service.replicas.presence.versions", fail)
        assert failed.wait(20)
        assert effect(first, "PUT", "new", LIKE) == EVERYWHERE
    assert effect(second, "DELETE", "new") == EVERYWHERE


def test_a_directory_that_hangs_silences_no_process(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, over = threading.Event(), threading.Event()

    def hang(_: Path) -> list[str]:
        hangs.set()
        over.wait()
        return []

    first, second = replicas.start("first"), replicas.start("second")
    monkeypatch.setattr("service.replicas.presence.versions", hang)
    try:
        assert hangs.wait(20)
        for asked, method in ((first, "PUT"), (second, "DELETE")):
            assert effect(asked, method, "new", LIKE) == EVERYWHERE
    finally:
        over.set()


def test_a_redis_that_goes_in_between_leaves_it_open(replicas: Replicas, own_redis: RedisServer) -> None:
    first = replicas.start("first")
    with (
        replicas.process("second") as second,
        ThreadPoolExecutor() as callers,
    ):
        until(lambda: effect(first, "PUT", "new", LIKE) == EVERYWHERE)
        freeze(second, own_redis)
        waiting = callers.submit(effect, first, "DELETE", "1005")
        until(lambda: similar(first, "1005") == 404)
        own_redis.stop()
        assert waiting.result() == ("here", None)


def test_two_workers_know_a_change_once_it_is_answered(tmp_path: Path, redis_url: str) -> None:
    root = tmp_path / "bundles"
    publish_tiny_bundle(root)
    variables = {"DIMEREC_KEYS_FILE": str(keys_file()), "TMPDIR": str(tmp_path)}
    with process(
        tmp_path, "--bundles", root, "--redis", redis_url, "--workers", 2, before=None, **variables
    ) as served:

        def ask(method: str, path: str, body: Any = None) -> httpx.Response:
            """The answer of any worker, by a connection of its own."""
            return httpx.request(method, served.url + path, json=body, headers=AUTHORIZED, timeout=30)

        for number in range(8):
            answer = ask("PUT", f"/items/new-{number}?wait=all", LIKE).json()
            assert (answer["effective"], answer["missing"]) == EVERYWHERE
            found = {ask("GET", f"/items/new-{number}/similar").status_code for _ in range(8)}
            assert found == {200}
            assert ask("DELETE", f"/items/{1010 + number}?wait=all").json()["effective"] == "everywhere"
            assert {ask("GET", f"/items/{1010 + number}/similar").status_code for _ in range(8)} == {404}
