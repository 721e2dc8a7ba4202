"""The queue by itself: shares, order, and that nobody starves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.fair_queue import OLDEST_EVERY, Entry, FairQueue


def filled(*entries: Entry, standing_s: float = 10.0) -> FairQueue[Entry]:
    queue = FairQueue[Entry](standing_s)
    for entry in entries:
        queue.add(entry)
    return queue


def drained(queue: FairQueue[Entry], now: float = 0.0) -> list[Entry]:
    taken = []
    while (entry := queue.take(now)) is not None:
        taken.append(entry)
    return taken


def entries(caller: str, count: int, cost: float = 1.0, since: float = 0.0) -> list[Entry]:
    return [Entry(caller, cost, since) for _ in range(count)]


def test_one_caller_is_served_in_order_of_arrival() -> None:
    waiting = entries("a", 5)
    assert drained(filled(*waiting)) == waiting


def test_a_caller_of_few_requests_does_not_wait_behind_one_of_many() -> None:
    queue = filled(*entries("many", 100), *entries("few", 2))
    first = [entry.caller for entry in drained(queue)[:4]]
    assert Counter(first) == {"many": 2, "few": 2}


def test_shares_are_of_cost_rather_than_of_requests() -> None:
    taken = drained(filled(*entries("dear", 50, cost=10.0), *entries("cheap", 500, cost=1.0)))
    spent = Counter[str]()
    for entry in taken[:220]:
        spent[entry.caller] += int(entry.cost)
    assert abs(spent["dear"] - spent["cheap"]) <= 10


def test_the_oldest_go_first_as_long_as_they_are_patient() -> None:
    old = [Entry("a", 1.0, 0.0, patient_s=2.0) for _ in range(20)]
    waiting = [*old, *entries("a", 20, since=1.9)]
    assert drained(filled(*waiting, standing_s=0.5), now=1.9) == waiting
    assert drained(filled(*waiting, standing_s=0.5), now=2.1)[:3] == waiting[:-4:-1]


def test_a_caller_that_asks_one_at_a_time_leaves_others_their_share() -> None:
    queue = filled(*entries("backlog", 20), *entries("prompt", 1))
    served = Counter[str]()
    for _ in range(20):
        entry = queue.take(0.0)
        assert entry is not None
        served[entry.caller] += 1
        if entry.caller == "prompt":
            queue.add(Entry("prompt", 1.0, 0.0))
    assert abs(served["backlog"] - served["prompt"]) <= 1


def test_newest_first_once_the_queue_stands_and_the_oldest_still_has_turns() -> None:
    old = entries("a", 20, since=0.0)
    new = entries("a", 20, since=0.9)
    taken = drained(filled(*old, *new, standing_s=0.5), now=1.0)[: 2 * OLDEST_EVERY]
    assert [entry for entry in taken if entry in new] == new[::-1][: 2 * (OLDEST_EVERY - 1)]
    assert [entry for entry in taken if entry in old] == old[:2]


def test_nobody_starves_while_newer_ones_keep_coming() -> None:
    victim = Entry("a", 1.0, 0.0)
    queue = filled(victim, standing_s=0.5)
    for turn in range(OLDEST_EVERY):
        now = 1.0 + turn
        queue.add(Entry("a", 1.0, now))
        queue.add(Entry("a", 1.0, now))
        if queue.take(now) is victim:
            return
    pytest.fail("the oldest was never taken")


def test_the_wait_ahead_of_a_caller_is_bounded_by_its_share() -> None:
    queue = filled(*entries("many", 1000), *entries("few", 1))
    assert queue.cost_ahead("many", 1.0) == 1001
    assert queue.cost_ahead("few", 1.0) == 3
    assert queue.cost_ahead("new", 1.0) == 2


def test_the_heaviest_gives_way_to_others_only() -> None:
    many = entries("many", 5)
    queue = filled(*many, *entries("few", 1))
    assert queue.newest_of_heaviest("many") is None
    assert queue.newest_of_heaviest("few") is many[-1]
    assert queue.newest_of_heaviest("new") is many[-1]
    assert FairQueue[Entry](1.0).newest_of_heaviest("new") is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0.1, 100), st.booleans(), st.floats(0, 2)), max_size=60
    )
)
def test_what_goes_in_comes_out_once_or_is_discarded(steps: list[tuple[str, float, bool, float]]) -> None:
    queue = FairQueue[Entry](0.5)
    waiting: list[Entry] = []
    now = 0.0
    for caller, cost, leaves, passed in steps:
        now += passed
        waiting.append(entry := Entry(caller, cost, now))
        queue.add(entry)
        if leaves:
            queue.discard(gone := waiting.pop(len(waiting) // 2))
            queue.discard(gone)
        elif passed > 1:
            taken = queue.take(now)
            assert taken is not None
            waiting.remove(taken)
        assert len(queue) == len(waiting)
        assert queue.cost == pytest.approx(sum(one.cost for one in waiting))
    assert set(drained(queue, now)) == set(waiting)
    assert (len(queue), queue.cost) == (0, 0.0)
