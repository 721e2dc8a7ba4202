"""Changes on replicas of Redis: an answer says whether a failover at that moment keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from service.catalogue import replication
from service.catalogue.redis import ENTRIES, FACTS
from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas
from tests.service.catalogue.test_catalogue_http import call, put, remove, similar
from tests.service.processes import until
from tests.service.serving import Running

LIKE = {"from": {"like": ["1001"]}}


@contextmanager
def replica_of(primary: RedisServer) -> Iterator[RedisServer]:
    """A Redis that follows another one."""
    server = RedisServer("--replicaof", "127.0.0.1", str(primary.port))
    with Redis.from_url(primary.url) as client:
        client.config_set("repl-diskless-sync-delay", 0)
        before = client.wait(16, 1)
        server.start()
        try:
            until(lambda: client.wait(16, 10) > before)
            yield server
        finally:
            server.close()


@pytest.fixture(autouse=True)
def _counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "COUNT_EVERY_S", 0.0)


def replicated(server: Running) -> list[bool | None]:
    """The same of each kind of change."""
    many = call(server, "POST", json={"items": [{"item_id": "v-2", **LIKE}]}).json()["items"]
    removed = call(server, "DELETE", "1005", params={"wait": "all"}).json()
    return [one["replicated"] for one in (put(server, "v-1", **LIKE), remove(server, "v-1"), removed, *many)]


def test_a_change_is_on_a_replica_once_it_is_answered(replicas: Replicas, own_redis: RedisServer) -> None:
    server = replicas.start("first")
    assert replicated(server) == [None] * 4
    with replica_of(own_redis) as replica, Redis.from_url(replica.url) as client:
        until(lambda: replicated(server) == [True] * 4)
        for number in range(20):
            item_id = str(1100 + number)
            if remove(server, item_id)["replicated"]:
                assert client.hexists(ENTRIES, item_id)
        replica.pause()
        assert remove(server, "1006")["replicated"] is False  # made all the same
        assert similar(server, "1006") == 404
        replica.resume()
        until(lambda: replicated(server) == [True] * 4)


def test_as_many_replicas_as_are_asked_for(replicas: Replicas, own_redis: RedisServer) -> None:
    two = replicas.start("first", catalogue_redis_replicas=2)
    none = replicas.start("second", catalogue_redis_replicas=0)
    with replica_of(own_redis):
        assert remove(two, "1005")["replicated"] is False
        assert remove(none, "1006")["replicated"] is None
        with replica_of(own_redis):
            until(lambda: remove(two, "1007")["replicated"])


def test_a_redis_that_took_over_without_the_change_does_not_confirm_it(
    replicas: Replicas, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = replicas.start("first")
    with replica_of(own_redis), Redis.from_url(own_redis.url) as client:
        before = client.hget(FACTS, "epoch")
        wait = replication.Replication._wait

        async def lose_before(*arguments: object) -> bool:
            client.hset(FACTS, "sequence", 0)
            return await wait(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(replication.Replication, "_wait", lose_before)
        assert remove(server, "1005")["replicated"] is False
        assert client.hget(FACTS, "epoch") == before
