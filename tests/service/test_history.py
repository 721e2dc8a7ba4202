"""One suite for every history store: in the process, in Redis, and in Redis behind the circuit breaker."""

import asyncio
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from files.clock import now_ms
from service.history.errors import HistoryInputError
from service.history.guarded import GuardedHistory
from service.history.in_process import InProcessHistory
from service.history.protocol import MAX_ID_BYTES, MAX_TIMESTAMP, AppendResult, Event, HistoryStore
from service.history.redis import RedisHistory
from tests.effort import examples
from tests.service.history_model import PlainHistory

PATIENCE_S = 30.0  # a loaded test machine is not a failed Redis
KINDS = ("in_process", "redis", "circuit")
MakeStore = Callable[[int], HistoryStore]


def make_store(
    kind: str, redis_url: str | None, max_events: int, clock: Callable[[], int] = now_ms
) -> HistoryStore:
    if redis_url is None:
        return InProcessHistory(max_events=max_events, clock=clock)
    store = RedisHistory.from_url(
        redis_url,
        max_events=max_events,
        timeout_s=PATIENCE_S,
        max_connections=128,  # no call of a test waits for a turn, however busy the machine is
        clock=clock,
    )
    return GuardedHistory(store) if kind == "circuit" else store


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store_url(kind: str, request: pytest.FixtureRequest) -> str | None:
    return None if kind == "in_process" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def new_store(kind: str, store_url: str | None) -> AsyncIterator[MakeStore]:
    async with AsyncExitStack() as stack:

        def make(max_events: int = 1_000) -> HistoryStore:
            store = make_store(kind, store_url, max_events)
            stack.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture
def store(new_store: MakeStore) -> HistoryStore:
    return new_store(1_000)


def events(*pairs: tuple[str, int]) -> list[Event]:
    return [Event(item_id, timestamp) for item_id, timestamp in pairs]


async def test_an_unknown_user_has_no_history(store: HistoryStore) -> None:
    assert await store.read("nobody", 50) == []
    assert await store.forget("nobody") == 0


async def test_events_are_read_oldest_first(store: HistoryStore) -> None:
    assert await store.append("u", events(("a", 1), ("b", 2))) == AppendResult(added=2)
    assert await store.append("u", events(("c", 3))) == AppendResult(added=1)
    assert await store.read("u", 50) == events(("a", 1), ("b", 2), ("c", 3))


async def test_a_limit_keeps_the_newest(store: HistoryStore) -> None:
    await store.append("u", events(("a", 1), ("b", 2), ("c", 3)))
    assert await store.read("u", 2) == events(("b", 2), ("c", 3))
    assert await store.read("u", 0) == []


async def test_late_events_are_sorted_in(store: HistoryStore) -> None:
    await store.append("u", events(("d", 40), ("b", 20)))
    await store.append("u", events(("c", 30)))
    await store.append("u", events(("a", 10), ("e", 50)))
    assert await store.read("u", 50) == events(("a", 10), ("b", 20), ("c", 30), ("d", 40), ("e", 50))


async def test_events_of_the_same_time_stay_in_order_of_arrival(store: HistoryStore) -> None:
    await store.append("u", events(("z", 5), ("m", 5)))
    await store.append("u", events(("a", 5), ("k", 4)))
    assert await store.read("u", 50) == events(("k", 4), ("z", 5), ("m", 5), ("a", 5))


async def test_a_repeated_event_id_changes_nothing(store: HistoryStore) -> None:
    await store.append("u", [Event("a", 1, "first")])
    assert await store.append("u", [Event("b", 9, "first")]) == AppendResult(repeated=1)
    assert await store.read("u", 50) == events(("a", 1))


async def test_different_event_ids_are_different_events(store: HistoryStore) -> None:
    result = await store.append("u", [Event("a", 1, "first"), Event("a", 1, "second"), Event("a", 1)])
    assert result == AppendResult(added=3)
    assert await store.read("u", 50) == events(("a", 1), ("a", 1), ("a", 1))


async def test_without_an_event_id_item_and_time_tell_a_repeat(store: HistoryStore) -> None:
    await store.append("u", events(("a", 1)))
    assert await store.append("u", events(("a", 1), ("a", 2), ("b", 1))) == AppendResult(added=2, repeated=1)
    assert await store.read("u", 50) == events(("a", 1), ("b", 1), ("a", 2))


async def test_repeats_within_one_call_are_found(store: HistoryStore) -> None:
    call = [*events(("a", 1), ("a", 1)), Event("b", 2, "x"), Event("c", 3, "x")]
    assert await store.append("u", call) == AppendResult(added=2, repeated=2)
    assert await store.read("u", 50) == events(("a", 1), ("b", 2))


async def test_an_empty_call_keeps_nothing(store: HistoryStore) -> None:
    assert await store.append("u", []) == AppendResult()
    assert await store.append_many([]) == AppendResult()
    assert await store.users(10) == []


async def test_only_the_newest_are_kept(new_store: MakeStore) -> None:
    store = new_store(3)
    assert await store.append("u", events(("a", 1), ("b", 2), ("c", 3), ("d", 4))) == AppendResult(3, 0, 1)
    assert await store.append("u", events(("e", 5))) == AppendResult(1)
    assert await store.read("u", 50) == events(("c", 3), ("d", 4), ("e", 5))


async def test_an_event_older_than_a_full_history_is_outdated(new_store: MakeStore) -> None:
    store = new_store(2)
    await store.append("u", events(("b", 2), ("c", 3)))
    assert await store.append("u", events(("a", 1))) == AppendResult(outdated=1)
    assert await store.read("u", 50) == events(("b", 2), ("c", 3))


async def test_many_users_in_one_call(store: HistoryStore) -> None:
    await store.append("v", events(("old", 1)))
    call = [("u", Event("a", 2)), ("v", Event("b", 3)), ("u", Event("c", 1)), ("v", Event("old", 1))]
    assert await store.append_many(call) == AppendResult(added=3, repeated=1)
    assert await store.read("u", 50) == events(("c", 1), ("a", 2))
    assert await store.read("v", 50) == events(("old", 1), ("b", 3))


async def test_many_appends_in_one_call_have_outcomes_of_their_own(store: HistoryStore) -> None:
    await store.forget("gone", 5)
    call = [
        ("u", events(("a", 2), ("b", 1))),
        ("v", events(("a", 1))),
        ("u", events(("a", 2), ("c", 3))),
        ("gone", events(("a", 4))),
        ("gone", events(("b", 5), ("c", 6))),
        ("v", []),
    ]
    assert await store.append_each(call) == [
        AppendResult(added=2),
        AppendResult(added=1),
        AppendResult(added=1, repeated=1),
        AppendResult(outdated=1),
        AppendResult(added=1, outdated=1),
        AppendResult(),
    ]
    assert await store.append_each([]) == []
    assert await store.read("u", 50) == events(("b", 1), ("a", 2), ("c", 3))
    assert await store.read("gone", 50) == events(("c", 6))


async def test_what_is_older_than_the_forgetting_stays_away(new_store: MakeStore) -> None:
    store = new_store(1_000)
    await store.append("u", events(("a", 1), ("b", 2)))
    before = now_ms()
    assert await store.forget("u") == 2
    after = now_ms()
    again = [*events(("a", 1), ("a", 1), ("b", before)), Event("c", 3, "c-1")]
    assert await store.append("u", again) == AppendResult(repeated=1, outdated=3)
    assert await store.read("u", 50) == []
    assert await store.users(9) == []
    assert await store.append("v", events(("a", 1))) == AppendResult(added=1)
    fresh = events(("b", 2), ("d", after + 1))
    assert await store.append_many([("u", event) for event in fresh]) == AppendResult(added=1, outdated=1)
    assert await store.read("u", 50) == fresh[1:]
    assert await store.forget("u") == 1
    assert await store.forget("u") == 0


async def test_forget_deletes_one_user_only(store: HistoryStore) -> None:
    await store.append_many([("u", Event("a", 1)), ("u", Event("b", 2)), ("v", Event("c", 3))])
    assert await store.forget("u") == 2
    assert await store.read("u", 50) == []
    assert await store.users(10) == ["v"]
    assert await store.append("u", events(("a", 1))) == AppendResult(outdated=1)


async def test_a_named_event_is_taken_back_once(store: HistoryStore) -> None:
    await store.append("u", [Event("a", 1, "first"), Event("b", 2, "second"), Event("c", 3)])
    assert await store.remove("u", "second") == 1
    assert await store.read("u", 50) == events(("a", 1), ("c", 3))
    assert await store.remove("u", "second") == 0
    assert await store.remove("u", "never sent") == 0
    assert await store.remove("nobody", "first") == 0
    assert await store.read("u", 50) == events(("a", 1), ("c", 3))


@pytest.mark.parametrize("position", range(3))
async def test_an_event_is_taken_out_of_its_place(store: HistoryStore, position: int) -> None:
    kept = [Event("é", 1, "0"), Event("a long item id", -2, "1"), Event("c", 1, "2")]
    await store.append("u", kept)
    assert await store.remove("u", str(position)) == 1
    left = [event for event in kept if event.event_id != str(position)]
    in_order = sorted(left, key=lambda event: event.timestamp)
    assert await store.read("u", 50) == [event._replace(event_id=None) for event in in_order]
    assert await store.append("u", left) == AppendResult(repeated=2)


async def test_of_equal_events_only_the_named_one_is_taken_back(store: HistoryStore) -> None:
    await store.append("u", [Event("a", 1, "first"), Event("a", 1, "second"), Event("a", 1)])
    await store.append("v", [Event("a", 1, "first")])
    assert await store.remove("u", "first") == 1
    assert await store.read("u", 50) == events(("a", 1), ("a", 1))
    assert await store.append("u", [Event("a", 1, "second"), Event("a", 1)]) == AppendResult(repeated=2)
    assert await store.read("v", 50) == events(("a", 1))


@pytest.mark.parametrize("event_id", ["a", "1", "a1", "('a', 1)", "None"])
async def test_an_event_without_a_name_cannot_be_taken_back(store: HistoryStore, event_id: str) -> None:
    await store.append("u", events(("a", 1)))
    assert await store.remove("u", event_id) == 0
    assert await store.read("u", 50) == events(("a", 1))


async def test_a_user_whose_last_event_is_taken_back_is_unknown(store: HistoryStore) -> None:
    await store.append("u", [Event("a", 1, "only")])
    assert await store.remove("u", "only") == 1
    assert await store.users(10) == []
    assert await store.forget("u") == 0


async def test_an_event_taken_back_is_new_when_it_is_sent_again(store: HistoryStore) -> None:
    await store.append("u", [Event("a", 1, "first"), Event("b", 2)])
    await store.remove("u", "first")
    assert await store.append("u", [Event("a", 1, "first")]) == AppendResult(added=1)
    assert await store.read("u", 50) == events(("a", 1), ("b", 2))


async def test_what_fell_out_of_a_full_history_does_not_come_back(new_store: MakeStore) -> None:
    store = new_store(2)
    await store.append("u", [Event("a", 1, "a"), Event("b", 2, "b"), Event("c", 3, "c")])
    assert await store.remove("u", "a") == 0
    assert await store.remove("u", "c") == 1
    assert await store.read("u", 50) == events(("b", 2))


async def test_concurrent_removals_take_every_event_back_once(store: HistoryStore) -> None:
    await store.append("u", [Event(f"item {n}", n, f"event {n}") for n in range(50)])
    removed = await asyncio.gather(
        *(store.remove("u", f"event {n % 40}") for n in range(80)),
        store.append("u", [Event("late", 99)]),
    )
    assert sum(removed[:-1]) == 40  # type: ignore[arg-type]
    assert await store.read("u", 99) == [*(Event(f"item {n}", n) for n in range(40, 50)), Event("late", 99)]


async def test_users_are_listed_up_to_the_limit(store: HistoryStore) -> None:
    await store.append_many([(f"user {number}", Event("a", 1)) for number in range(30)])
    everyone = {f"user {number}" for number in range(30)}
    assert set(await store.users(100)) == everyone
    some = await store.users(7)
    assert len(set(some)) == 7
    assert set(some) <= everyone
    assert await store.users(0) == []


ODD_IDS = [
    "{a}b",
    "}{",
    "a:b*?[c]",
    "per%20cent",
    "line\nbreak\r",
    "\x1b[31m",
    "用户",
    "🎬",
    "..",
    " ",
    "é" * 300,
]


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_odd_ids_stay_what_they_are(store: HistoryStore, odd: str) -> None:
    await store.append("plain", events(("kept apart", 1)))
    await store.append(odd, [Event(odd, 1, odd), Event("next", 2)])
    assert await store.read(odd, 50) == events((odd, 1), ("next", 2))
    assert set(await store.users(10)) == {odd, "plain"}
    assert await store.remove(odd, odd) == 1
    assert await store.read(odd, 50) == events(("next", 2))
    assert await store.forget(odd) == 1
    assert await store.read("plain", 50) == events(("kept apart", 1))


@pytest.mark.parametrize(
    ("user_id", "event", "field"),
    [
        ("", Event("a", 1), "user_id"),
        ("x" * (MAX_ID_BYTES + 1), Event("a", 1), "user_id"),
        ("é" * (MAX_ID_BYTES // 2 + 1), Event("a", 1), "user_id"),
        ("\0", Event("a", 1), "user_id"),
        ("\ud800", Event("a", 1), "user_id"),
        ("u", Event("", 1), "item_id"),
        ("u", Event("a\0b", 1), "item_id"),
        ("u", Event("\udfff", 1), "item_id"),
        ("u", Event("a", 1, ""), "event_id"),
        ("u", Event("a\1b", 1), "item_id"),
        ("u", Event("a", 1, None, "a\0b"), "event_type"),
        ("u", Event("a", 1, None, ""), "event_type"),
        ("u", Event("a", 1, None, None, "x" * 129), "request_id"),
        ("u", Event("a", MAX_TIMESTAMP + 1), "timestamp"),
        ("u", Event("a", -MAX_TIMESTAMP - 1), "timestamp"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(
    store: HistoryStore, user_id: str, event: Event, field: str
) -> None:
    with pytest.raises(HistoryInputError, match=f"^{field}: "):
        await store.append(user_id, [event])
    with pytest.raises(HistoryInputError, match=f"^{field}: "):
        await store.append_many([("fine", Event("a", 1)), (user_id, event)])
    assert await store.users(10) == []


@pytest.mark.parametrize("bad", ["", "x" * (MAX_ID_BYTES + 1), "a\0b", "\ud800"])
async def test_a_removal_of_what_cannot_be_kept_is_refused_by_name(store: HistoryStore, bad: str) -> None:
    for user_id, event_id, field in [(bad, "e", "user_id"), ("u", bad, "event_id")]:
        with pytest.raises(HistoryInputError, match=f"^{field}: "):
            await store.remove(user_id, event_id)


async def test_a_negative_limit_is_refused(store: HistoryStore) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [lambda: store.read("u", -1), lambda: store.users(-1)]
    for call in calls:
        with pytest.raises(HistoryInputError, match=r"^limit: "):
            await call()


async def test_the_largest_timestamps_are_exact(store: HistoryStore) -> None:
    extremes = events(
        ("a", -MAX_TIMESTAMP), ("b", -1), ("c", 0), ("d", MAX_TIMESTAMP - 1), ("e", MAX_TIMESTAMP)
    )
    await store.append("u", list(reversed(extremes)))
    assert await store.read("u", 50) == extremes


async def test_concurrent_appends_lose_nothing(store: HistoryStore) -> None:
    results = await asyncio.gather(
        *(store.append("u", [Event(f"item {n}", n % 10, f"event {n % 50}")]) for n in range(100))
    )
    assert sum(results, AppendResult()) == AppendResult(added=50, repeated=50)
    history = await store.read("u", 1_000)
    assert len(set(history)) == 50
    assert [event.timestamp for event in history] == sorted(event.timestamp for event in history)


async def test_concurrent_appends_of_many_users_lose_nothing(store: HistoryStore) -> None:
    def call(start: int) -> list[tuple[str, Event]]:
        return [(f"user {user}", Event(f"item {start}", start)) for user in range(5)]

    await asyncio.gather(*(store.append_many(call(start)) for start in range(40)))
    for user in range(5):
        assert await store.read(f"user {user}", 100) == [Event(f"item {n}", n) for n in range(40)]


async def test_ping_returns(store: HistoryStore) -> None:
    await store.ping()


async def test_in_the_process_the_user_added_to_longest_ago_makes_room() -> None:
    store = InProcessHistory(max_users=2)
    store.load([("u", Event("a", 1)), ("v", Event("a", 1))])
    await store.append("u", [Event("b", 2)])
    await store.append("w", [Event("a", 1)])
    assert await store.users(9) == ["w", "u"]
    assert await store.read("v", 9) == []


async def test_in_the_process_taking_back_what_is_not_there_is_no_use_of_a_user() -> None:
    store = InProcessHistory(max_users=2)
    store.load([("u", Event("a", 1, "e")), ("v", Event("a", 1))])
    assert await store.remove("u", "never sent") == 0
    await store.append("w", [Event("a", 1)])
    assert await store.users(9) == ["w", "v"]


async def test_in_the_process_memory_is_bounded_and_the_least_recently_used_go_first() -> None:
    store = InProcessHistory(max_bytes=1_000_000)
    evicted: list[None] = []
    store.on_eviction = lambda: evicted.append(None)
    long = [Event(f"item {n:0100}", n, f"event {n:0100}") for n in range(1_000)]
    for number in range(6):
        await store.append(f"user {number}", long)
        assert len(await store.read("user 0", 1)) == 1
    assert await store.users(9) == ["user 0", "user 5"]
    assert len(evicted) == 4
    assert await store.forget("user 0") == await store.forget("user 5") == 1_000
    await store.append("again", long)
    assert await store.users(9) == ["again"]


# Properties. Each example has a user of its own in the same store.

ITEM_IDS = st.sampled_from(["1", "22", "333", "é", "a b"]) | st.text(
    string.printable, min_size=1, max_size=12
)
EVENTS = st.builds(
    Event,
    item_id=ITEM_IDS,
    timestamp=st.integers(-3, 12) | st.integers(1_700_000_000_000, 1_700_000_000_020),
    event_id=st.none() | st.sampled_from([f"id {n}" for n in range(9)]),
    event_type=st.none() | st.sampled_from(["watch", "skip"]),
    request_id=st.none() | st.sampled_from(["r-1", "7" * 128]),
)


FORGOTTEN_AT = 6
"""In the middle of the timestamps above."""


class HistoryMachine(RuleBasedStateMachine):
    """Any sequence of calls does to a store what it does to the plain list."""

    kind: str
    url: str | None
    max_events = 6

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.user_id = f"{{machine}} {uuid4().hex}"
        self.store = make_store(self.kind, self.url, self.max_events, lambda: FORGOTTEN_AT)
        self.model = PlainHistory(self.max_events)

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.store.forget(self.user_id))
        self.run(self.store.close())
        self.runner.close()

    @rule(batch=st.lists(EVENTS, max_size=9))
    def append(self, batch: list[Event]) -> None:
        assert self.run(self.store.append(self.user_id, batch)) == self.model.append(batch)

    @rule(batch=st.lists(EVENTS, max_size=9))
    def append_many(self, batch: list[Event]) -> None:
        call = [(self.user_id, event) for event in batch]
        assert self.run(self.store.append_many(call)) == self.model.append(batch)

    @rule(limit=st.integers(0, 8))
    def read(self, limit: int) -> None:
        assert self.run(self.store.read(self.user_id, limit)) == self.model.read(limit)

    @rule(event_id=st.sampled_from([f"id {n}" for n in range(9)]))
    def remove(self, event_id: str) -> None:
        assert self.run(self.store.remove(self.user_id, event_id)) == self.model.remove(event_id)

    @rule()
    def forget(self) -> None:
        assert self.run(self.store.forget(self.user_id)) == len(self.model.events)
        self.model = PlainHistory(self.max_events, FORGOTTEN_AT)


@pytest.mark.hypothesis
def test_a_store_is_a_plain_list(kind: str, store_url: str | None) -> None:
    machine = type("Machine", (HistoryMachine,), {"kind": kind, "url": store_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples(40), stateful_step_count=15))


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """Events of distinct times, and batches that deliver them in any order and some of them again."""
    distinct = draw(st.lists(EVENTS, unique_by=lambda event: event.timestamp, min_size=1, max_size=20))
    named = [event._replace(event_id=event.event_id and f"{event.timestamp}") for event in distinct]
    arrivals = draw(st.permutations([*named, *draw(st.lists(st.sampled_from(named), max_size=10))]))
    cuts = sorted(draw(st.lists(st.integers(0, len(arrivals)), max_size=4)))
    return named, [arrivals[a:b] for a, b in zip([0, *cuts], [*cuts, len(arrivals)], strict=True)]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries(), max_events=st.integers(1, 12))
def test_any_order_of_arrival_gives_the_same_history(
    kind: str, store_url: str | None, delivery: tuple[list[Event], list[list[Event]]], max_events: int
) -> None:
    distinct, batches = delivery
    user_id = uuid4().hex

    async def deliver() -> list[Event]:
        store = make_store(kind, store_url, max_events)
        for batch in batches:
            await store.append(user_id, batch)
        history = await store.read(user_id, 1_000)
        await store.close()
        return history

    newest = sorted(distinct, key=lambda event: event.timestamp)[-max_events:]
    assert asyncio.run(deliver()) == [event._replace(event_id=None) for event in newest]
