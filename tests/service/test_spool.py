"""The spool by itself: any sequence of changes, outages and restarts ends as if the store had been there."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from service.errors import StartupError
from service.history.errors import (
    HistoryInputError,
    HistoryUnavailableError,
    HistoryUnreadableError,
    SpoolRefusedError,
)
from service.history.in_process import InProcessHistory
from service.history.protocol import AppendResult, Event
from service.history.writing import HistoryWriter
from service.spool.delivery import STEP, Delivery
from service.spool.file import NAME, Record, SpoolFile, SpoolFileError
from service.spool.spool import Spool
from service.spool.writes import Spooled, SpooledWrites
from service.telemetry import Metrics
from tests.effort import examples
from tests.service.history_model import PlainHistory

MIB = 1 << 20
FORGOTTEN_AT = 6

Mode = Literal["there", "away", "silent"]


class Shaky(InProcessHistory):
    """A store that can be away, and one whose answers do not come back though it did what it was asked."""

    mode: Mode = "there"

    def _check(self, moment: Literal["before", "after"]) -> None:
        if self.mode == ("away" if moment == "before" else "silent"):
            raise HistoryUnavailableError("it is away")

    async def append_many(self, events: Sequence[tuple[str, Event]]) -> AppendResult:
        self._check("before")
        answer = await super().append_many(events)
        self._check("after")
        return answer

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        self._check("before")
        answers = await super().append_each(appends)
        self._check("after")
        return answers

    async def remove(self, user_id: str, event_id: str) -> int:
        self._check("before")
        answer = await super().remove(user_id, event_id)
        self._check("after")
        return answer

    async def forget(self, user_id: str, at_ms: int | None = None) -> int:
        self._check("before")
        answer = await super().forget(user_id, at_ms)
        self._check("after")
        return answer


USERS = st.sampled_from(["u", "v", "w"])
EVENT_IDS = [f"id {n}" for n in range(5)]
NAMES = st.none() | st.sampled_from(EVENT_IDS)
REQUESTS = st.none() | st.just("r-1")
EVENTS = st.builds(
    Event,
    item_id=st.sampled_from(["a", "b", "é"]),
    timestamp=st.integers(-3, 12),
    event_id=NAMES,
    event_type=st.none() | st.just("skip"),
    request_id=REQUESTS,
)


def at_a_time_of_its_own(when: int, name: str | None, request_id: str | None) -> Event:
    """An event that shares its millisecond with no other one."""
    place = 0 if name is None else 1 + EVENT_IDS.index(name)
    kind = "skip" if when % 2 else None
    return Event("aé"[when % 3 == 0], when * 8 + place, name, kind, request_id)


class SpoolMachine(RuleBasedStateMachine):
    """Two processes with one spool; whatever they accept is in the histories once all is delivered."""

    max_events = 6
    modes: ClassVar[Sequence[Mode]] = ["there", "away"]
    events: ClassVar[st.SearchStrategy[Event]] = EVENTS

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory(prefix="dimerec-spool-")
        self.store = Shaky(max_events=self.max_events, clock=lambda: FORGOTTEN_AT)
        self.spools = [self.opened(), self.opened()]
        self.models = {user: PlainHistory(self.max_events) for user in ("u", "v", "w")}

    def opened(self) -> Spool:
        return Spool(Path(self.directory.name), MIB, Metrics(), clock=lambda: 0)

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def writes(self, process: int) -> SpooledWrites:
        return SpooledWrites(HistoryWriter(self.store), self.spools[process], clock=lambda: FORGOTTEN_AT)

    def teardown(self) -> None:
        try:
            self.store.mode = "there"
            self.deliver(0)
            for user, model in self.models.items():
                assert self.run(self.store.read(user, 99)) == model.read(99)
            for spool in self.spools:
                assert self.run(spool.observe()) == 0
        finally:
            for spool in self.spools:
                self.run(spool.close())
            self.runner.close()
            self.directory.cleanup()

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        self.store.mode = data.draw(st.sampled_from(self.modes))

    @rule(process=st.integers(0, 1), data=st.data())
    def append(self, process: int, data: st.DataObject) -> None:
        events = data.draw(st.lists(st.tuples(USERS, self.events), min_size=1, max_size=6))
        answer = self.run(self.writes(process).append_many(events))
        assert self.store.mode == "there" or isinstance(answer, Spooled)
        for user, model in self.models.items():
            model.append([event for of_user, event in events if of_user == user])

    @rule(process=st.integers(0, 1), user=USERS, event_id=st.sampled_from(EVENT_IDS))
    def remove(self, process: int, user: str, event_id: str) -> None:
        answer = self.run(self.writes(process).remove(user, event_id))
        removed = self.models[user].remove(event_id)
        assert answer in (Spooled(1), removed)

    @rule(process=st.integers(0, 1), user=USERS)
    def forget(self, process: int, user: str) -> None:
        self.run(self.writes(process).forget(user))
        self.models[user] = PlainHistory(self.max_events, FORGOTTEN_AT)

    @rule(process=st.integers(0, 1))
    def deliver(self, process: int) -> None:
        delivery = Delivery(self.spools[process], self.store)
        try:
            self.run(delivery.deliver())
        except HistoryUnavailableError:
            assert self.store.mode != "there"
        else:
            assert self.store.mode == "there" or not self.run(self.spools[process].observe())

    @rule(process=st.integers(0, 1))
    def restart(self, process: int) -> None:
        self.run(self.spools[process].close())
        self.spools[process] = self.opened()


class LostAnswers(SpoolMachine):
    """The store may do what it was asked without a word, and is asked again.

    In a full history, an event that was dropped as the oldest may then take the place of another one of the
    same millisecond; these have none.
    """

    modes = ("there", "away", "silent")
    events = st.builds(at_a_time_of_its_own, st.integers(-3, 12), NAMES, REQUESTS)


@pytest.mark.hypothesis
@pytest.mark.parametrize("machine", [SpoolMachine, LostAnswers])
def test_whatever_happens_the_store_ends_as_if_it_had_been_there(
    machine: type[SpoolMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.spool.spool.TAKEN_WITHIN_S", 60)  # a busy machine is no slow disk
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples(30), stateful_step_count=25, deadline=None)
    )


X, Y, Z = Event("x", 1), Event("y", 2), Event("z", 3)


@pytest.mark.parametrize(
    ("before", "calls"),
    [
        pytest.param(
            [],
            [
                [Event("a", 5), Event("a", 6), Event("a", 1, "id"), Event("b", 8, "id")],
                [Event("c", 7, "id")],
            ],
            id="a name that came to nothing is free",
        ),
        pytest.param([], [[Event("a", 0), Event("b", 0), Event("c", 0)], [Event("a", 0)]], id="at one time"),
        pytest.param(
            [X._replace(event_id="id"), Y], [[Z], [Event("x", 9, "id")]], id="a name dropped before"
        ),
        pytest.param([], [[Z, Y, X]] * 3, id="sent again"),
    ],
)
async def test_calls_stay_calls_of_their_own(
    tmp_path: Path, before: list[Event], calls: list[list[Event]]
) -> None:
    """What one call drops of a full history is new in the next, and a repeat within the same."""
    spool = Spool(tmp_path / "spool", MIB, Metrics())
    store = Shaky(max_events=2)
    writes, model = SpooledWrites(store, spool), PlainHistory(2)
    await store.append("u", before)
    model.append(before)
    store.mode = "away"
    for call in calls:
        spooled = await writes.append_many([("u", event) for event in call])
        assert spooled == Spooled(len({event.event_id or event for event in call}))
        model.append(call)
    store.mode = "there"
    await Delivery(spool, store).deliver()
    assert await store.read("u", 9) == model.read(9)
    await spool.close()


async def test_a_call_is_delivered_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second half could otherwise find gone what its first half dropped."""
    monkeypatch.setattr("service.spool.delivery.STEP", 2)
    spool, store, model = Spool(tmp_path / "spool", MIB, Metrics()), Shaky(max_events=2), PlainHistory(2)
    before, call = [X._replace(event_id="id"), Y], [Z, Event("z", 4), Event("x", 9, "id")]
    await store.append("u", before)
    model.append(before)
    store.mode = "away"
    await SpooledWrites(store, spool).append_many([("u", event) for event in call])
    model.append(call)
    store.mode = "there"
    await Delivery(spool, store).deliver()
    assert await store.read("u", 9) == model.read(9) == call[:2]
    await spool.close()


class Watched(InProcessHistory):
    """Notes the users of each call, and what the metrics say then; one user's history is unreadable."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self.metrics = metrics
        self.calls: list[set[str]] = []
        self.pending: list[float | None] = []

    async def append_each(
        self, appends: Sequence[tuple[str, Sequence[Event]]]
    ) -> list[AppendResult | HistoryUnavailableError]:
        self.calls.append({user_id for user_id, _ in appends})
        self.pending.append(self.metrics.registry.get_sample_value("dimerec_spool_pending"))
        taken = iter(await super().append_each([one for one in appends if one[0] != "broken"]))
        unreadable = HistoryUnreadableError("something else")
        return [unreadable if user_id == "broken" else next(taken) for user_id, _ in appends]


async def test_metrics_follow_a_long_delivery(tmp_path: Path) -> None:
    metrics = Metrics()
    spool, store = Spool(tmp_path / "spool", 10 * MIB, metrics), Watched(metrics)
    await asyncio.gather(*(spool.take([append("u", number)]) for number in range(3 * STEP)))
    await Delivery(spool, store).deliver()
    assert store.pending == [3 * STEP, 2 * STEP, STEP]
    await spool.close()


async def test_a_user_whose_history_is_unreadable_is_tried_once_a_delivery(tmp_path: Path) -> None:
    metrics = Metrics()
    spool, store = Spool(tmp_path / "spool", 10 * MIB, metrics), Watched(metrics)
    await asyncio.gather(*(spool.take([append("broken", number)]) for number in range(STEP + 1)))
    await spool.take([append("u", 1)])
    await Delivery(spool, store).deliver()
    assert store.calls == [{"broken"}, {"u"}]
    assert await spool.observe() == STEP + 1
    await spool.take([append("v", 1)])
    await Delivery(spool, store).deliver()
    assert sorted(map(sorted, store.calls[2:])) == [["broken"], ["v"]]
    await spool.close()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool", MIB, Metrics())
    yield spool
    await spool.close()


def append(user_id: str, number: int) -> Record:
    return Record("append", user_id, "item", number)


async def test_records_of_many_callers_are_kept_in_the_order_of_each(spool: Spool) -> None:
    async def caller(name: str) -> None:
        for number in range(20):
            await spool.take([append(name, number)])

    names = [f"user {n}" for n in range(10)]
    await asyncio.gather(*map(caller, names))
    kept = [one.record for one in await spool.after(0, 1000)]
    assert len(kept) == 200
    for name in names:
        assert [one.timestamp for one in kept if one.user_id == name] == list(range(20))


async def test_a_number_is_never_used_again(spool: Spool) -> None:
    """Or a record could count as delivered because one before it was."""
    await spool.take([append("u", 1)])
    (first,) = await spool.after(0, 9)
    await spool.take([Record("forget", "u", timestamp=5)])
    (second,) = await spool.after(0, 9)
    assert second.seq > first.seq
    await spool.settle([first.seq])
    assert await spool.after(0, 9) == [second]
    assert await spool.observe() == 1


async def test_a_user_holds_others_up_only_in_their_own_affairs(spool: Spool) -> None:
    assert not await spool.holds(["u"])
    await spool.take([append("u", 1)])
    assert await spool.holds(["v", "u"])
    assert not await spool.holds(["v", "w"])


async def test_what_cannot_be_kept_never_reaches_the_spool(spool: Spool) -> None:
    store = Shaky()
    store.mode = "away"
    writes = SpooledWrites(store, spool)
    with pytest.raises(HistoryInputError, match="item_id"):
        await writes.append_many([("u", Event("a\0", 1))])
    with pytest.raises(HistoryInputError, match="user_id"):
        await writes.forget("")
    with pytest.raises(HistoryInputError, match="event_id"):
        await writes.remove("u", "")
    assert await spool.observe() == 0


async def test_of_calls_that_share_a_commit_only_those_that_do_not_fit_are_refused(spool: Spool) -> None:
    long = [Record("append", "long", "x" * 100, number) for number in range(20_000)]
    calls = [spool.take(long), *(spool.take([append(f"user {n}", n)]) for n in range(20))]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], SpoolRefusedError)
    assert outcomes[1:] == [None] * 20
    assert await spool.observe() == 20


async def test_a_disk_that_hangs_is_told_and_holds_up_no_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that does not let go of the file is such a disk."""
    monkeypatch.setattr("service.spool.spool.TAKEN_WITHIN_S", 0.2)
    spool = Spool(tmp_path / "spool", MIB, Metrics())
    other = sqlite3.connect(tmp_path / "spool" / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    taking = asyncio.ensure_future(spool.take([append("u", 1)]))
    await asyncio.sleep(0.05)
    calls = asyncio.gather(taking, spool.holds(["u"]), return_exceptions=True)
    turns = 0
    while not calls.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 5
    assert [type(outcome) for outcome in await calls] == [SpoolRefusedError] * 2
    other.execute("ROLLBACK")
    other.close()
    await spool.close()


class Noting(sqlite3.Connection):
    """Counts the times that it would write, each of which may wait for another process."""

    begun = 0

    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
        Noting.begun += sql.startswith("BEGIN")
        return super().execute(sql, *given)


def test_a_file_that_another_process_holds_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.spool.file.LOCKED_S", 0.01)
    SpoolFile(tmp_path / "spool", MIB).close()
    other = sqlite3.connect(tmp_path / "spool" / NAME, isolation_level=None)
    monkeypatch.setattr("service.spool.file.sqlite3.connect", partial(sqlite3.connect, factory=Noting))
    file = SpoolFile(tmp_path / "spool", MIB)
    other.execute("BEGIN IMMEDIATE")
    Noting.begun = 0
    outcomes = file.take([[append(f"user {n}", n)] for n in range(20)], 0)
    assert [str(outcome) for outcome in outcomes] == ["database is locked"] * 20
    assert Noting.begun == 1
    other.close()
    file.close()


def test_opening_it_again_takes_it_from_nobody(tmp_path: Path) -> None:
    """The system drops a process's locks of a file when it closes any descriptor of that file."""
    file = SpoolFile(tmp_path / "spool", MIB)
    SpoolFile(tmp_path / "spool", MIB).close()
    assert file.take([[append("u", 1)]], 0) == [None]
    reads = "import sqlite3, sys; sql = sqlite3.connect(sys.argv[1]); sql.execute('SELECT * FROM records')"
    subprocess.run([sys.executable, "-c", reads, tmp_path / "spool" / NAME], check=True)
    assert (tmp_path / "spool" / f"{NAME}-wal").exists(), "the other process took itself for the last one"
    file.close()


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool", MIB)
    assert file.take([[append("u", 1)]], 0) == [None]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool").iterdir()}
    assert modes == dict.fromkeys([NAME, f"{NAME}-wal", f"{NAME}-shm"], 0o600)
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    file.close()


@pytest.mark.parametrize(("form", "lacks"), [(1, ["call", "event_type", "request_id"]), (2, ["call"])])
def test_what_was_spooled_by_an_earlier_version_is_kept(tmp_path: Path, form: int, lacks: list[str]) -> None:
    old = Record("append", "u", "a", 5, "e")
    SpoolFile(tmp_path, MIB).close()
    with sqlite3.connect(tmp_path / NAME) as sql:
        for column in lacks:
            sql.execute(f"ALTER TABLE records DROP COLUMN {column}")
        sql.execute(f"PRAGMA user_version = {form}")
        columns = "kind, user_id, item_id, timestamp, event_id, taken_ms"
        sql.execute(f"INSERT INTO records ({columns}) VALUES (?, ?, ?, ?, ?, 0)", old[:5])
    sql.close()
    typed = Record("append", "u", "b", 6, None, "skip", "r-1")
    for _ in range(2):
        file = SpoolFile(tmp_path, MIB)
        if len(file.after(0, 9)) == 1:
            assert file.take([[typed]], 0) == [None]
        assert [kept.record for kept in file.after(0, 9)] == [old, typed]
        file.close()


def test_a_spool_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"^DIMEREC_SPOOL: [^\n]+file cannot be used: [^\n]+$"):
        Spool(tmp_path / "file", MIB, Metrics())
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / NAME).write_bytes(b"this is no database at all" * 500)
    with pytest.raises(StartupError, match="not a database"):
        Spool(damaged, MIB, Metrics())
    SpoolFile(tmp_path / "newer", MIB).close()
    with sqlite3.connect(tmp_path / "newer" / NAME) as sql:
        sql.execute("PRAGMA user_version = 9")
    sql.close()
    with pytest.raises(SpoolFileError, match="another version"):
        SpoolFile(tmp_path / "newer", MIB)
