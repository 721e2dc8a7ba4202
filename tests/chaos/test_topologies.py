"""The topologies of the harness do what the faults ask of them."""

import time
from contextlib import suppress

import pytest

from service.history.errors import HistoryUnavailableError
from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.chaos.topologies import Cluster, Failing, started

NOW = int(time.time() * 1000)


async def until_appended(store: RedisHistory, user_id: str, event: Event) -> None:
    deadline = time.monotonic() + 30
    appended = False
    while not appended:
        assert time.monotonic() < deadline
        with suppress(HistoryUnavailableError):
            await store.append(user_id, [event])
            appended = True


@pytest.mark.smoke
async def test_a_failover_there_and_back_is_followed() -> None:
    site = Failing()
    with started(site):
        store = RedisHistory.from_url(site.url, timeout_s=5.0)
        await store.append("u", [Event("a", NOW)])
        first = site.master()
        site.fail_over()
        assert site.master() is not first
        await until_appended(store, "u", Event("b", NOW + 1))
        site.fail_over()
        assert site.master() is first
        await until_appended(store, "u", Event("c", NOW + 2))
        assert [event.item_id for event in await store.read("u", 9)] == ["a", "b", "c"]
        await store.close()


@pytest.mark.smoke
async def test_slots_that_move_take_their_users_along() -> None:
    site = Cluster()
    users = [f"user {n}" for n in range(30)]
    with started(site):
        store = RedisHistory.from_url(site.url, timeout_s=5.0)
        for user_id in users:
            await until_appended(store, user_id, Event("a", NOW))
        assert site.move(users) > 5
        for user_id in users:
            await store.append(user_id, [Event("b", NOW + 1)])
        assert await store.append_many([(user_id, Event("c", NOW + 2)) for user_id in users])
        for user_id in users:
            assert [event.item_id for event in await store.read(user_id, 9)] == ["a", "b", "c"]
        await store.close()
