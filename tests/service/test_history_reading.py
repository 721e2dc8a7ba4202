"""Histories for recommendations: those of one turn of the event loop are read in one call."""

import asyncio
from collections.abc import Sequence

import pytest

from service.history.errors import HistoryUnavailableError
from service.history.in_process import InProcessHistory
from service.history.meanings import Meanings
from service.history.protocol import Event
from service.history.reading import MAX_TOGETHER, HistoryReader, Known
from service.telemetry import Metrics


class Store(InProcessHistory):
    """Notes for whom it is asked; calls wait while it is shut, and those for `bad` users fail."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def read_many(
        self, user_ids: Sequence[str], limit: int
    ) -> list[list[Event] | HistoryUnavailableError]:
        self.calls.append(list(user_ids))
        await self.open.wait()
        if "bad" in user_ids:
            raise HistoryUnavailableError("gone")
        return await super().read_many(user_ids, limit)


async def filled(users: int) -> tuple[Store, HistoryReader]:
    store = Store()
    for user in range(users):
        await store.append(f"u{user}", [Event(f"i{user}", 1_700_000_000_000)])
    return store, HistoryReader(store, Metrics(), 50, Meanings({}))


async def test_histories_that_are_wanted_together_are_read_in_one_call() -> None:
    store, reader = await filled(30)
    users = [f"u{user}" for user in range(30)] * 2
    known = await asyncio.gather(*(reader.read([user], 5.0) for user in users))
    assert known == [{user: Known([f"i{user[1:]}"])} for user in users]
    assert store.calls == [users[:30]]
    assert await reader.read(["u3"], 5.0) == {"u3": Known(["i3"])}
    assert store.calls[1:] == [["u3"]]


async def test_a_call_is_bounded_and_a_batch_has_its_own() -> None:
    store, reader = await filled(0)
    users = [f"u{user}" for user in range(MAX_TOGETHER + 6)]
    batch = [f"b{user}" for user in range(200)]
    await asyncio.gather(*(reader.read([user], 5.0) for user in users), reader.read(batch, 5.0))
    assert sorted(map(len, store.calls)) == [6, MAX_TOGETHER, 200]


async def test_a_slow_call_keeps_no_later_one_and_who_leaves_spoils_no_other() -> None:
    store, reader = await filled(4)
    store.open.clear()
    stays, leaves, gives_up = (
        asyncio.create_task(reader.read([f"u{user}"], within_s))
        for user, within_s in enumerate((5.0, 5.0, 0.0))
    )
    assert await gives_up == {"u2": Known([], "history_unavailable")}
    leaves.cancel()
    later = asyncio.create_task(reader.read(["u3"], 5.0))
    while len(store.calls) < 2:
        await asyncio.sleep(0)
    assert store.calls == [["u0", "u1", "u2"], ["u3"]]
    store.open.set()
    assert await stays == {"u0": Known(["i0"])}
    assert await later == {"u3": Known(["i3"])}
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_a_call_that_fails_is_told_to_all_that_it_was_for() -> None:
    _, reader = await filled(1)
    known = await asyncio.gather(*(reader.read([user], 5.0) for user in ("u0", "bad")))
    assert known == [{user: Known([], "history_unavailable")} for user in ("u0", "bad")]
