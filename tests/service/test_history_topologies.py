"""RedisHistory on a real three-node cluster, and behind a real sentinel."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from service.doctor.redis import examine_redis
from service.history.errors import HistoryUnavailableError
from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory
from service.settings import Settings
from service.trending.shared import SharedCounts
from tests.redis_server import RedisServer

PATIENCE_S = 60.0
SLOTS = 16_384
USERS = [f"user {number}" for number in range(30)]


@asynccontextmanager
async def opened(url: str, answers_for: list[str]) -> AsyncIterator[RedisHistory]:
    """A store that answers for these users: the servers of a topology need a moment to agree."""
    store = RedisHistory.from_url(url, timeout_s=5.0)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for user_id in answers_for:
                while not await answers(store, user_id):
                    await asyncio.sleep(0.05)
        yield store
    finally:
        await store.close()


async def answers(store: RedisHistory, user_id: str) -> bool:
    try:
        await store.read(user_id, 1)
    except HistoryUnavailableError:
        return False
    return True


@pytest.fixture
def nodes() -> Iterator[list[RedisServer]]:
    """Three masters that share the slots of a cluster."""
    nodes = [
        RedisServer("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no") for _ in range(3)
    ]
    for place, node in enumerate(nodes):
        node.start()
        with redis.Redis.from_url(node.url) as client:
            slots = range(SLOTS * place // 3, SLOTS * (place + 1) // 3)
            client.execute_command("CLUSTER ADDSLOTS", *slots)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def sentinel(tmp_path: Path, redis_server: RedisServer) -> Iterator[RedisServer]:
    """A sentinel that watches `redis_server` under the name dimerec."""
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"sentinel monitor dimerec 127.0.0.1 {redis_server.port} 1\n")
    sentinel = RedisServer(str(configuration), "--sentinel").start()
    yield sentinel
    sentinel.close()


async def test_a_cluster_spreads_users_over_its_nodes(nodes: list[RedisServer]) -> None:
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    async with opened(url, USERS) as store:
        call = [(user_id, Event(item_id, 1)) for user_id in USERS for item_id in ("a", "b")]
        assert await store.append_many(call) == AppendResult(added=60)
        assert await store.append_many(call) == AppendResult(repeated=60)
        assert await store.append(USERS[0], [Event("c", 0)]) == AppendResult(added=1)
        assert await store.append(USERS[0], [Event("d", 0, "mistaken")]) == AppendResult(added=1)
        assert await store.remove(USERS[0], "mistaken") == 1
        assert await store.read(USERS[0], 9) == [Event("c", 0), Event("a", 1), Event("b", 1)]
        for user_id in USERS[1:]:
            assert await store.read(user_id, 9) == [Event("a", 1), Event("b", 1)]
        assert await store.users(100) == sorted(USERS)
        assert await store.forget(USERS[0]) == 3
        await store.ping()
        for node in nodes:
            with redis.Redis.from_url(node.url) as client:
                assert client.dbsize() > 0


async def test_a_cluster_keeps_the_recent_events_of_all_processes(nodes: list[RedisServer]) -> None:
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    async with opened(url, USERS):
        first, second = (SharedCounts.from_url(url, 86_400_000) for _ in range(2))
        await first.exchange({"a": 2.0})
        for shared, counts in ((second, {"b": 3.0}), (first, {})):
            found = await shared.exchange(counts)
            assert found == pytest.approx({"b": 3.0, "a": 2.0}, rel=0.01)
        await first.close()
        await second.close()


async def test_a_lost_node_takes_only_its_own_users_along(nodes: list[RedisServer]) -> None:
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    async with opened(url, USERS) as store:
        await store.append_many([(user_id, Event("a", 1)) for user_id in USERS])
        nodes[2].stop()
        reached = [user_id for user_id in USERS if await answers(store, user_id)]
        assert 0 < len(reached) < len(USERS)
        for user_id in reached:
            assert await store.read(user_id, 9) == [Event("a", 1)]
        with pytest.raises(HistoryUnavailableError):
            await store.append_many([(user_id, Event("b", 2)) for user_id in USERS])
    async with opened(url, reached) as started_later:
        assert len(await started_later.read(reached[0], 9)) in (1, 2)


async def test_the_memory_of_a_cluster_is_known_before_any_other_call(nodes: list[RedisServer]) -> None:
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    async with opened(url, USERS), opened(url, []) as later:
        assert (await later.memory()).used_bytes > 0
    for node in nodes:
        node.stop()
    async with opened(url, []) as lost:
        with pytest.raises(HistoryUnavailableError):
            await lost.memory()


async def test_a_sentinel_names_the_master(sentinel: RedisServer, redis_server: RedisServer) -> None:
    async with opened(f"redis+sentinel://127.0.0.1:{sentinel.port}/dimerec/3", ["u"]) as store:
        assert await store.append("u", [Event("a", 1)]) == AppendResult(added=1)
        assert await store.append_many([("u", Event("a", 1)), ("v", Event("b", 1))]) == AppendResult(1, 1)
        assert await store.read("u", 9) == [Event("a", 1)]
        with redis.Redis.from_url(redis_server.url.replace("/0", "/3")) as client:
            assert client.dbsize() == 2


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/dimerec", "redis+cluster://127.0.0.1:1"])
async def test_a_topology_that_cannot_be_reached_is_unavailable(url: str) -> None:
    store = RedisHistory.from_url(url)
    with pytest.raises(HistoryUnavailableError):
        await store.read("u", 9)
    await store.close()


async def test_the_doctor_examines_every_node_of_a_cluster(nodes: list[RedisServer]) -> None:
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    with redis.Redis.from_url(nodes[1].url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    async with opened(url, USERS):
        found = await asyncio.to_thread(examine_redis, Settings(_env_file=None, redis_url=url))
    evictions = {one.part: one.verdict for one in found if "maxmemory-policy" in one.fact}
    assert evictions == {
        f"redis 127.0.0.1:{node.port}": "wrong" if node is nodes[1] else "note" for node in nodes
    }
    assert [one.verdict for one in found if "writes and scripts" in one.fact] == ["fine"]


async def test_the_doctor_examines_the_master_that_a_sentinel_names(sentinel: RedisServer) -> None:
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/dimerec/0"
    async with opened(url, ["u"]):
        found = await asyncio.to_thread(examine_redis, Settings(_env_file=None, redis_url=url))
    assert [one.verdict for one in found if one.fact.startswith("version")] == ["fine"]
    lost = url.replace("/dimerec/", "/other/")
    (told,) = await asyncio.to_thread(examine_redis, Settings(_env_file=None, redis_url=lost))
    assert told.verdict == "wrong"
