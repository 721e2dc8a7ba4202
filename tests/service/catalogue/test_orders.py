"""Reload and rollback on several replicas with one Redis: all that have the bundle follow."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest
from redis import Redis

from bundle.read import current_version, versions
from bundle.write import set_current
from engine.engine import Engine
from service import engines
from service.rehearsal import rehearsed
from service.replicas import presence
from service.replicas.board import ORDER
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas
from tests.service.processes import Process, process, until
from tests.service.serving import AUTHORIZED, Running, keys_file


@pytest.fixture
def first_version(replicas: Replicas) -> str:
    return current_version(replicas.directory("first")) or ""


def admin(server: Running, operation: str, status: int = 200) -> dict[str, Any]:
    response = server.client.post(f"/admin/{operation}", headers=AUTHORIZED)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def served(*servers: Running) -> list[str]:
    """The bundles that made their answers."""
    return [server.answer(history=["1001"], k=3)["model_version"] for server in servers]


def said(answer: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The bundle that each process serves and the one that it lacks."""
    return sorted(((one["model_version"], one["missing"]) for one in answer["processes"]), key=str)


def published(replicas: Replicas, *names: str, seed: int = 1) -> str:
    """A new bundle of the first replica, with a copy under the roots of others, whose CURRENT stays."""
    copies = [replicas.copied(name) for name in names]
    version = publish_tiny_bundle(replicas.directory("first"), seed=seed, items=1000)
    for copy in copies:
        copytree(replicas.directory("first") / version, copy / version)
    return version


def test_a_reload_and_a_rollback_reach_the_other_replica(replicas: Replicas, first_version: str) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    until(lambda: len(first.client.get("/version").json()["processes"]) == 2)
    new = published(replicas, "second")
    answer = admin(first, "reload")
    assert (answer["previous_version"], answer["model_version"]) == (first_version, new)
    assert said(answer) == [(new, None)] * 2
    assert served(first, second) == [new, new]
    assert said(second.client.get("/version").json()) == [(new, None)] * 2
    assert current_version(replicas.directory("second")) == first_version  # each root's own affair
    set_current(replicas.directory("second"), new)
    answer = admin(second, "rollback")
    assert said(answer) == [(first_version, None)] * 2
    assert served(first, second) == [first_version] * 2
    until(lambda: current_version(replicas.directory("first")) == first_version)
    assert admin(first, "reload")["changed"] is False
    assert served(replicas.start("first"), replicas.start("second"), second) == [first_version] * 3


def test_a_replica_that_lacks_the_bundle_keeps_its_own_and_is_listed(
    replicas: Replicas, first_version: str
) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    until(lambda: len(first.client.get("/version").json()["processes"]) == 2)
    new = published(replicas)
    assert said(admin(first, "reload")) == sorted([(new, None), (first_version, new)])
    assert served(first, second) == [new, first_version]
    damaged = replicas.directory("second") / new
    copytree(replicas.directory("first") / new, damaged)
    (damaged / "model.safetensors").write_bytes(b"damaged")
    assert said(admin(first, "reload")) == sorted([(new, None), (first_version, new)])
    assert served(first, second) == [new, first_version]
    (damaged / "model.safetensors").write_bytes(
        (replicas.directory("first") / new / "model.safetensors").read_bytes()
    )
    answer = admin(first, "reload")
    assert (answer["changed"], said(answer)) == (False, [(new, None)] * 2)
    assert served(first, second) == [new, new]


def test_a_replica_that_was_away_follows_unless_its_current_is_newer(
    replicas: Replicas, first_version: str
) -> None:
    first = replicas.start("first")
    new = published(replicas, "late", "newer")
    admin(first, "reload")
    set_current(replicas.directory("newer"), first_version)
    late, newer = replicas.start("late"), replicas.start("newer")
    until(lambda: served(late) == [new])
    until(lambda: len(first.client.get("/version").json()["processes"]) == 3)
    until(
        lambda: (
            said(first.client.get("/version").json()) == sorted([(first_version, None), *[(new, None)] * 2])
        )
    )
    assert served(first, late, newer) == [new, new, first_version]
    assert current_version(replicas.directory("late")) == first_version


def test_a_watcher_orders_and_does_not_undo_orders(replicas: Replicas, first_version: str) -> None:
    first = replicas.start("first", watch_s=0.1)
    second = replicas.start("second", watch_s=0.1)
    new = published(replicas, "second")
    until(lambda: served(first, second) == [new, new])
    third = replicas.start("second", watch_s=0.1)  # its CURRENT is older than the order
    until(lambda: served(third) == [new])
    newest = published(replicas, "second", seed=2)
    until(lambda: served(first, second, third) == [newest] * 3)
    set_current(replicas.directory("second"), first_version)
    until(lambda: served(first, second, third) == [first_version] * 3)


def test_without_redis_a_reload_is_that_of_one_replica(
    replicas: Replicas, first_version: str, own_redis: RedisServer
) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    new = published(replicas, "second")
    own_redis.stop()
    answer = admin(first, "reload")
    assert (answer["model_version"], answer["processes"]) == (new, None)
    assert served(first, second) == [new, first_version]
    own_redis.start()
    until(lambda: first.client.get("/version").json()["processes"] is not None)
    until(lambda: len(first.client.get("/version").json()["processes"]) == 2)
    assert said(first.client.get("/version").json()) == sorted([(new, None), (first_version, None)])
    assert said(admin(first, "reload")) == [(new, None)] * 2


def test_an_order_that_redis_lost_is_brought_back(
    replicas: Replicas, first_version: str, own_redis: RedisServer
) -> None:
    first = replicas.start("first")
    new = published(replicas, "second")
    admin(first, "reload")
    with Redis.from_url(own_redis.url) as client:
        client.flushall()
    second = replicas.start("second")
    until(lambda: served(second) == [new])
    newest = published(replicas, "second", seed=2)
    assert said(admin(first, "reload")) == [(newest, None)] * 2


def test_what_is_no_order_and_no_process_harms_nobody(
    replicas: Replicas, first_version: str, own_redis: RedisServer
) -> None:
    first, second = replicas.start("first"), replicas.start("second")
    with Redis.from_url(own_redis.url) as client:
        client.hset(ORDER, mapping={"moment_ms": "9" * 400, "version": b"\xff", "instead_of": ""})
        until(lambda: len(first.client.get("/version").json()["processes"]) == 2)
        client.hset(ORDER, mapping={"moment_ms": "poison", "version": "../elsewhere"})
        new = published(replicas, "second")
        assert said(admin(first, "reload")) == [(new, None)] * 2
        client.hset(ORDER, mapping={"moment_ms": int(client.hget(ORDER, "moment_ms")) + 1, "version": ".."})
        until(lambda: said(first.client.get("/version").json()) == [(new, "..")] * 2)
        assert said(admin(first, "reload")) == [(new, None)] * 2
    assert served(first, second) == [new, new]


def test_a_swap_that_takes_long_goes_on_after_its_answer(
    replicas: Replicas, first_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "WAIT_S", 0.3)
    monkeypatch.setattr("service.routes.operations.WAIT_S", 0.3)
    first, second = replicas.start("first"), replicas.start("second")
    gate = threading.Event()

    def slow(bundle: Any) -> Engine:
        gate.wait()
        return rehearsed(bundle)

    monkeypatch.setattr(engines, "rehearsed", slow)
    new = published(replicas, "second")
    answer = admin(first, "reload", status=202)
    assert (answer["model_version"], answer["changed"]) == (first_version, False)
    assert served(first, second) == [first_version] * 2
    gate.set()
    until(lambda: served(first, second) == [new, new])
    with ThreadPoolExecutor() as callers:
        (replicas.directory("first") / "CURRENT").write_text("nothing of the kind\n")
        assert callers.submit(admin, first, "reload", 409).result()["status"] == 409


class Workers:
    """A replica of two workers."""

    def __init__(self, running: Process) -> None:
        self.running = running

    def ask(self, method: str, path: str) -> dict[str, Any]:
        answer = httpx.request(method, self.running.url + path, headers=AUTHORIZED, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def said(self) -> list[tuple[str, str | None]]:
        return said(self.ask("GET", "/version"))


def test_swaps_reach_all_workers_of_all_replicas(
    replicas: Replicas, first_version: str, own_redis: RedisServer, tmp_path: Path
) -> None:
    variables = {"DIMEREC_KEYS_FILE": str(keys_file()), "TMPDIR": str(tmp_path)}

    def options(name: str) -> tuple[object, ...]:
        return ("--bundles", replicas.copied(name), "--redis", own_redis.url, "--workers", 2)

    with (
        process(tmp_path, *options("first"), before=None, **variables) as one,
        process(tmp_path, *options("second"), before=None, **variables) as other,
    ):
        first, second = Workers(one), Workers(other)
        until(lambda: first.said() == [(first_version, None)] * 4)
        new = published(replicas, "second")
        answer = first.ask("POST", "/admin/reload")
        assert said(answer) == [(new, None)] * 4
        assert [worker["model_version"] for worker in second.ask("GET", "/version")["workers"]] == [new] * 2
        assert said(second.ask("POST", "/admin/rollback")) == [(first_version, None)] * 4
        assert len(versions(replicas.directory("second"))) == 2
        set_current(replicas.directory("second"), new)
        other.popen.send_signal(signal.SIGHUP)
        until(lambda: first.said() == [(new, None)] * 4)
        pids = {worker["pid"] for worker in first.ask("GET", "/version")["workers"]}
        assert {one["pid"] for one in first.ask("GET", "/version")["processes"]} >= pids
