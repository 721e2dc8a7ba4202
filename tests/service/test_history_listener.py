"""Of each event that comes into a history its listener hears once, whatever is sent again."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.history.in_process import InProcessHistory
from service.history.protocol import Event, HistoryStore
from service.history.redis import RedisHistory
from tests.effort import examples
from tests.service.history_model import PlainHistory
from tests.service.test_history import EVENTS, FORGOTTEN_AT, PATIENCE_S


class Heard:
    """What is known of a history to who hears of its changes alone."""

    def __init__(self) -> None:
        self.events: Counter[Event] = Counter()

    def added(self, events: Sequence[Event]) -> None:
        self.events.update(events)

    def removed(self, event: Event) -> None:
        self.events[event] -= 1


def opened(redis_url: str | None, heard: Heard, max_events: int) -> HistoryStore:
    if redis_url is None:
        store = InProcessHistory(max_events=max_events, clock=lambda: FORGOTTEN_AT)
        store.listener = heard
        return store
    return RedisHistory.from_url(
        redis_url, max_events=max_events, timeout_s=PATIENCE_S, clock=lambda: FORGOTTEN_AT, listener=heard
    )


@pytest.fixture(params=["in_process", "redis"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "in_process" else str(request.getfixturevalue("redis_url"))


CALLS = st.lists(
    st.lists(EVENTS, max_size=5) | st.sampled_from([f"id {n}" for n in range(9)]) | st.just(None), max_size=8
)
"""Events to append, the name of one to take back, or None: forget the user."""


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, max_events=st.integers(1, 12))
def test_it_hears_what_a_plain_list_has(
    store_url: str | None, calls: list[list[Event] | str | None], max_events: int
) -> None:
    user_id, heard, model = uuid4().hex, Heard(), PlainHistory(max_events)
    expected: Counter[Event] = Counter()

    async def make() -> None:
        nonlocal model
        store = opened(store_url, heard, max_events)
        for call in calls:
            before = list(model.events)
            match call:
                case list():
                    await store.append(user_id, call)
                    model.append(call)
                    expected.update(
                        event._replace(event_id=None) for event in model.events if event not in before
                    )
                case str():
                    await store.remove(user_id, call)
                    model.remove(call)
                    gone = [event for event in before if event not in model.events]
                    expected.subtract(event._replace(event_id=None) for event in gone)
                case None:
                    await store.forget(user_id)
                    model = PlainHistory(max_events, FORGOTTEN_AT)
        await store.close()

    asyncio.run(make())
    assert +heard.events == +expected
    assert not -heard.events


async def test_events_of_before_a_forgetting_are_never_heard_of_however_often_they_come(
    store_url: str | None,
) -> None:
    heard = Heard()
    store = opened(store_url, heard, 10)
    await store.append("u", [Event("a", FORGOTTEN_AT - 1)])
    await store.forget("u")
    for _ in range(3):
        await store.append("u", [Event("a", FORGOTTEN_AT - 1), Event("b", FORGOTTEN_AT + 1)])
    assert heard.events == {Event("a", FORGOTTEN_AT - 1): 1, Event("b", FORGOTTEN_AT + 1): 1}
    await store.close()
