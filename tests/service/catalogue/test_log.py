"""One suite over every catalogue log: its rules, and that it keeps them across restarts."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.recipes import Content, Given, Like
from service.catalogue import redis as log_in_redis
from service.catalogue.following import Follower
from service.catalogue.late_removals import LateRemovals
from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import (
    CatalogueLog,
    Contents,
    Description,
    Entry,
    Origin,
    RoomTakenError,
    Write,
)
from service.catalogue.redis import ENTRIES, FACTS, KEYS, STREAM, RedisLog
from service.catalogue.sqlite import FILE, LOCK_FILE, SqliteLog
from service.errors import CatalogueUnavailableError, StartupError
from tests.effort import examples
from tests.redis_server import RedisServer

Reopened = Callable[[], Awaitable[tuple[CatalogueLog, Contents]]]


def described(title: str = "A", *categories: str, **more: Any) -> Description:
    return Description(title, categories, **more)


def like(*item_ids: str) -> Origin:
    return Origin(Like(item_ids), ())


def of_categories(*names: str) -> Origin:
    return Origin(None, names)


@pytest.fixture(params=["file", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def reopened(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Reopened]:
    """Open the log again as a process does that starts, the one before having ended without a word."""
    logs: list[SqliteLog | RedisLog] = []
    url = str(request.getfixturevalue("redis_url")) if kind == "redis" else ""

    async def open_again() -> tuple[CatalogueLog, Contents]:
        if logs:
            await logs.pop().close()
        if kind == "file":
            in_file = SqliteLog(tmp_path)
            logs.append(in_file)
            return in_file, in_file.read()
        in_redis = RedisLog.from_url(url)
        logs.append(in_redis)
        return in_redis, await in_redis.read(Contents([]))

    yield open_again
    for log in logs:
        await log.close()


async def test_an_empty_log_has_nothing(reopened: Reopened) -> None:
    _, contents = await reopened()
    assert contents == Contents([], 0)


async def test_each_write_gets_a_higher_sequence_and_the_last_one_counts(reopened: Reopened) -> None:
    log, _ = await reopened()
    attributes = {"length": 1.5, "live": True, "language": "ü", "tags": ["a", "b"], "year": 2024}
    second_time = described("Second", available_from=1, available_until=2, attributes=attributes)
    first, second = await log.write(
        [Write("a", described("First"), like("1")), Write("a", second_time, of_categories("x"))]
    )
    (third,) = await log.write([Write("b")])
    assert first.sequence < second.sequence < third.sequence
    _, contents = await reopened()
    assert contents.entries == [
        Entry("a", second.sequence, False, second_time, of_categories("x"), second.sequence),
        Entry("b", third.sequence, True),
    ]
    assert contents.sequence == third.sequence
    log, _ = await reopened()
    (fourth,) = await log.write([Write("c")])
    assert fourth.sequence > third.sequence


async def test_a_removal_keeps_the_recipe_and_a_put_revives(reopened: Reopened) -> None:
    log, _ = await reopened()
    await log.write([Write("a", described("First", "x"), like("1"))])
    (removed,) = await log.write([Write("a")])
    assert (removed.removed, removed.description, removed.origin) == (
        True,
        described("First", "x"),
        like("1"),
    )
    assert removed.recipe is not None
    (revived,) = await log.write([Write("a", described("Again"), of_categories("y"), keep_origin=True)])
    assert (revived.removed, revived.origin) == (False, of_categories("y"))


@pytest.mark.parametrize("of", [Given((0.1, 1 / 3), "version"), Content.of([0.1, -1 / 3, 0])])
async def test_an_origin_is_kept_where_a_write_leaves_it_open(
    reopened: Reopened, of: Given | Content
) -> None:
    log, _ = await reopened()
    given = Origin(of, ())
    await log.write([Write("a", described(), given)])
    (kept,) = await log.write([Write("a", described("New"), of_categories("x"), keep_origin=True)])
    assert (kept.origin, kept.description) == (given, described("New"))
    (new,) = await log.write([Write("b", described(), of_categories("x"), keep_origin=True)])
    assert new.origin == of_categories("x")
    (again,) = await log.write([Write("b", described(), of_categories("y"), keep_origin=True)])
    assert again.origin == of_categories("x")
    (replaced,) = await log.write([Write("b", described(), like("1"))])
    assert replaced.origin == like("1")


async def test_an_origin_has_the_sequence_of_the_change_that_gave_it(reopened: Reopened) -> None:
    log, _ = await reopened()
    (put,) = await log.write([Write("a", described(), like("1"))])
    (renamed,) = await log.write([Write("a", described("New"), of_categories(), keep_origin=True)])
    (removed,) = await log.write([Write("a")])
    assert {one.origin_sequence for one in (put, renamed, removed)} == {put.sequence}
    (revived,) = await log.write([Write("a", described(), of_categories("x"), keep_origin=True)])
    assert revived.origin_sequence == revived.sequence
    _, contents = await reopened()
    assert contents.entries == [revived]
    assert revived.recipe is not None
    assert revived.recipe.origin_sequence == revived.sequence


async def test_what_others_wrote_unheard_takes_room(redis_url: str) -> None:
    logs = [RedisLog.from_url(redis_url) for _ in range(2)]
    one, other = logs
    for log in logs:
        await log.read(Contents([]))
        await log.follow()
    put = [Write(item_id, described(), like("1")) for item_id in "abc"]
    await one.write(put, 0)
    await one.write(put, 0)  # its own changes count at once
    with pytest.raises(RoomTakenError) as refused:
        await other.write([Write("d", described(), like("1"))], 5)
    assert refused.value.others == 6
    await other.write([Write("d", described(), like("1"))], 6)
    assert [entry.item_id for entry in await other.follow() or ()] == ["a", "b", "c", "d"]
    with pytest.raises(RoomTakenError):  # what was followed may not count yet
        await other.write([Write("e", described(), like("1"))], 5)
    await other.follow()
    await other.write([Write("e", described(), like("1"))], 0)
    contents = await one.read(Contents([]))
    assert [entry.item_id for entry in contents.entries] == [*"abcde"]
    for log in logs:
        await log.close()


@pytest.mark.parametrize("changes", [1, 5])
async def test_a_removal_told_to_a_log_that_was_lost_counts_for_those_who_know_more(
    redis_url: str, tmp_path: Path, changes: int
) -> None:
    """Who tells of it knows of no change before; the log, empty, would begin to count anew with it."""
    knows, ignorant = (RedisLog.from_url(redis_url) for _ in range(2))
    await knows.read(Contents([]))
    for _ in range(changes):
        (put,) = await knows.write([Write("a", described(), like("1"))])
    live = LiveCatalogue(Contents([put]))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushdb()
    await ignorant.read(Contents([]))
    late = LateRemovals(tmp_path, LiveCatalogue(Contents([])), ignorant)
    await late.keep(["a"])
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(late.run())
        if changes > 1:
            await asyncio.sleep(0.2)  # as long as others take until they try the log again
            await Follower(live, knows, tmp_path).begin()
        while late.is_waiting:
            await asyncio.sleep(0.05)
        telling.cancel()
    await Follower(live, knows, tmp_path).begin()
    assert live.is_removed("a")
    for log in (knows, ignorant):
        await log.close()


async def test_what_is_restored_counts_where_nothing_newer_is_known(reopened: Reopened) -> None:
    log, _ = await reopened()
    first = await log.write([Write("a", described("Old"), like("1")), Write("b")])
    (newer,) = await log.write([Write("a")])
    lost = Entry("c", 90, False, described("C", "x", available_until=5), like("1"), 80)
    for _ in range(2):
        await log.restore(Contents([*first, lost, Entry("d", 91, True)], 7_000, 95))
    _, contents = await reopened()
    assert contents == Contents([first[1], newer, lost, Entry("d", 91, True)], 7_000, 95)
    log, _ = await reopened()
    assert (await log.write([Write("e")]))[0].sequence == 96


async def test_what_is_dropped_is_gone_unless_it_is_newer_by_now_or_restored(reopened: Reopened) -> None:
    log, _ = await reopened()
    old = await log.write([Write("a", described(), like("1")), Write("b"), Write("c"), Write("d")])
    (newer,) = await log.write([Write("c")])
    assert await log.drop(old[:3]) == old[:2]
    assert await log.drop(old[:3]) == []
    _, contents = await reopened()
    assert contents == Contents([old[3], newer], 0, newer.sequence, old[1].sequence)
    log, _ = await reopened()
    assert (await log.write([Write("e")]))[0].sequence == newer.sequence + 1
    await log.restore(Contents(old))
    _, contents = await reopened()
    assert [entry.item_id for entry in contents.entries] == ["a", "b", "d", "c", "e"]


async def test_the_highest_moment_is_kept(reopened: Reopened) -> None:
    log, _ = await reopened()
    for moment in (1_000, 3_000, 2_000):
        await log.pass_time(moment)
    _, contents = await reopened()
    assert contents.passed_ms == 3_000


WRITES = st.lists(
    st.builds(
        Write,
        st.sampled_from(["a", "b", "ü/é", "x" * 128]),
        st.none() | st.builds(Description, st.none() | st.text(max_size=5), st.just(("c",)), st.just(5)),
        st.sampled_from([like("1"), Origin(Content.of([1, -2]), ("c",)), of_categories("d")]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WRITES, min_size=1, max_size=4))
async def test_it_is_a_plain_dictionary(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    batches: list[list[Write]],
) -> None:
    root = tmp_path_factory.mktemp("log")
    url = str(request.getfixturevalue("redis_url")) if kind == "redis" else ""
    if url:
        client = redis.Redis.from_url(url)
        client.delete(*KEYS)
        client.close()
    plain: dict[str, Entry] = {}
    sequence = 0
    for batch in batches:
        log: SqliteLog | RedisLog = RedisLog.from_url(url) if url else SqliteLog(root)
        found = log.read() if isinstance(log, SqliteLog) else await log.read(Contents([]))
        assert sorted(found.entries, key=str) == sorted(plain.values(), key=str)
        expected = []
        for write in batch:
            sequence += 1
            known = plain.get(write.item_id)
            if write.description is None:
                entry = Entry(write.item_id, sequence, True)
                if known is not None:
                    entry = replace(known, sequence=sequence, removed=True)
            else:
                entry = Entry(write.item_id, sequence, False, write.description, write.origin, sequence)
                if known is not None and not known.removed and write.keep_origin:
                    entry = replace(entry, origin=known.origin, origin_sequence=known.origin_sequence)
            plain[write.item_id] = entry
            expected.append(entry)
        assert await log.write(batch) == expected
        await log.close()


async def contents_of(root: Path) -> list[str]:
    """The ids that a process finds that starts now."""
    log = SqliteLog(root)
    try:
        return [entry.item_id for entry in log.read().entries]
    finally:
        await log.close()


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


class TestSqlite:
    """The file."""

    async def test_nothing_but_a_lock_is_written_before_the_first_change(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path)
        log.read()
        assert list(tmp_path.iterdir()) == []
        await log.begin()
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
        await log.close()

    async def test_one_process_writes_and_others_read(self, tmp_path: Path) -> None:
        first, second = SqliteLog(tmp_path), SqliteLog(tmp_path)
        await first.begin()
        await second.begin()
        with pytest.raises(CatalogueUnavailableError, match="another process"):
            await second.write([Write("b")])
        await first.write([Write("a")])
        late = SqliteLog(tmp_path)
        assert [entry.item_id for entry in late.read().entries] == ["a"]
        with pytest.raises(CatalogueUnavailableError, match="another process"):
            await late.write([Write("b")])
        await first.close()
        await late.write([Write("b")])
        await late.close()
        with pytest.raises(CatalogueUnavailableError, match="start this one again"):
            await second.write([Write("c")])
        await second.close()
        assert await contents_of(tmp_path) == ["a", "b"]

    async def test_a_file_of_another_format_is_refused(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path)
        await log.write([Write("a")])
        log._opened().execute("UPDATE facts SET value = 1 WHERE name = 'format'")
        await log.close()
        with pytest.raises(StartupError, match="its format is 1, this program reads 2"):
            await contents_of(tmp_path)

    async def test_a_directory_that_cannot_be_written_takes_no_change(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path / "gone")
        assert log.read() == Contents([])
        with pytest.raises(CatalogueUnavailableError, match="cannot be written"):
            await log.write([Write("a")])

    async def test_a_file_that_is_no_log_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"no database" * 1_000)
        with pytest.raises(StartupError, match=r"catalogue\.sqlite cannot be read .*restore it"):
            await contents_of(tmp_path)

    async def test_a_directory_that_may_not_be_written_is_read(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            log = SqliteLog(root)
            await log.write([Write("a")])
            await log.close()
            root.chmod(0o555)
            with unprivileged():
                assert await contents_of(root) == ["a"]
                other = SqliteLog(root)
                with pytest.raises(CatalogueUnavailableError, match="cannot be written"):
                    await other.write([Write("b")])
            root.chmod(0o755)

    async def test_an_entry_that_cannot_be_read_counts_as_removed(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path)
        await log.write([Write("a", described(), like("1")), Write("b", described(), like("1"))])
        log._opened().execute("UPDATE entries SET origin = '{' WHERE item_id = 'a'")
        poisoned, whole = log.read().entries
        assert poisoned == Entry("a", 1, removed=True)
        assert not whole.removed
        await log.close()

    async def test_what_a_killed_process_answered_is_there(self, tmp_path: Path) -> None:
        log = SqliteLog(tmp_path)
        await log.write([Write("a")])
        copy = tmp_path / "copy"  # as a crash leaves the files
        copy.mkdir()
        for path in tmp_path.glob("catalogue.sqlite*"):
            (copy / path.name).write_bytes(path.read_bytes())
        assert await contents_of(copy) == ["a"]
        await log.close()


class TestRedis:
    """Processes that write and follow one log."""

    @pytest.fixture
    async def new_log(self, redis_url: str) -> AsyncIterator[Callable[[], RedisLog]]:
        logs: list[RedisLog] = []

        def make() -> RedisLog:
            logs.append(RedisLog.from_url(redis_url))
            return logs[-1]

        yield make
        for log in logs:
            await log.close()

    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[Any]:
        client = redis.Redis.from_url(redis_url)
        yield client
        client.close()

    async def test_a_follower_reads_what_was_changed(self, new_log: Callable[[], RedisLog]) -> None:
        writer, follower = new_log(), new_log()
        await writer.read(Contents([]))
        await follower.read(Contents([]))
        assert await follower.follow() == []
        entries = await writer.write([Write("a", described(), like("1")), Write("b")])
        assert await follower.follow() == entries
        (last,) = await writer.write([Write("a")])
        assert await follower.follow() == [last]
        assert await writer.follow() == [last, entries[1]]

    async def test_a_log_is_read_in_pages_however_many_there_are(
        self, new_log: Callable[[], RedisLog], client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time of a call bounds each page, not all of them."""
        monkeypatch.setattr(log_in_redis, "TIMEOUT_S", 0.5)
        monkeypatch.setattr(log_in_redis, "PER_CALL", 100)
        log = new_log()
        await log.read(Contents([]))
        entries = await log.write([Write(str(number)) for number in range(1000)])
        page = log._following.hscan

        async def slow_page(*arguments: Any, **options: Any) -> Any:
            await asyncio.sleep(0.15)
            return await page(*arguments, **options)

        monkeypatch.setattr(log._following, "hscan", slow_page)
        assert (await log.read(Contents([]))).entries == entries

    async def test_a_log_that_was_not_read_takes_no_change(self, new_log: Callable[[], RedisLog]) -> None:
        with pytest.raises(CatalogueUnavailableError, match="read it again"):
            await new_log().write([Write("a")])

    async def test_a_stream_that_was_cut_is_no_news_but_a_reason_to_read_all(
        self, new_log: Callable[[], RedisLog], client: Any
    ) -> None:
        writer, follower = new_log(), new_log()
        await writer.read(Contents([]))
        await follower.read(Contents([]))
        await writer.write([Write(str(number)) for number in range(20)])
        client.xtrim(STREAM, 3, approximate=False)
        assert await follower.follow() is None
        assert len((await follower.read(Contents([]))).entries) == 20
        assert await follower.follow() == []
        client.xtrim(STREAM, 0, approximate=False)
        await writer.write([Write("x")])
        client.delete(STREAM)
        assert await follower.follow() is None

    @pytest.mark.parametrize("lost", ["everything", "the newest"])
    async def test_what_a_log_lost_is_brought_back_by_who_knows_it(
        self, new_log: Callable[[], RedisLog], client: Any, lost: str
    ) -> None:
        first, second, new = new_log(), new_log(), new_log()
        await first.read(Contents([]))
        entries = await first.write([Write("a", described(), like("1")), Write("b"), Write("c")])
        assert await second.read(Contents([])) == Contents(entries, 0, 3)
        if lost == "everything":
            client.flushdb()
        else:
            client.hdel(ENTRIES, "c")
            client.hset(FACTS, "sequence", 2)
        assert await second.follow() is None
        with contextlib.suppress(CatalogueUnavailableError):  # an empty log is one that was not read
            if lost == "everything":
                await second.write([Write("d")])
        assert await second.read(Contents(entries, 7_000, 5)) == Contents(entries, 7_000, 5)
        assert await new.read(Contents([])) == Contents(entries, 7_000, 5)
        assert (await second.write([Write("d")]))[0].sequence == 6

    async def test_of_two_that_bring_back_the_newest_of_each_item_counts(
        self, new_log: Callable[[], RedisLog], client: Any
    ) -> None:
        first, second = new_log(), new_log()
        await first.read(Contents([]))
        old = await first.write([Write("a", described(), like("1")), Write("b")])
        newer = await first.write([Write("a")])
        client.flushdb()
        await second.read(Contents(old))
        await second.write([Write("c"), Write("d")])  # their sequences were given before
        assert await first.follow() is None
        found = {entry.item_id: entry for entry in (await first.read(Contents([old[1], *newer]))).entries}
        assert found["a"] == newer[0]
        assert found.keys() == {"a", "b", "c", "d"}
        assert await second.follow() is None
        assert {entry.item_id for entry in (await second.read(Contents(old))).entries} == found.keys()

    async def test_what_was_dropped_is_not_brought_back_by_who_knows_it(
        self, new_log: Callable[[], RedisLog], client: Any
    ) -> None:
        first, second = new_log(), new_log()
        await first.read(Contents([]))
        entries = await first.write([Write("a"), Write("b"), Write("c")])
        assert await second.read(Contents([])) == Contents(entries, 0, 3)
        await first.drop(entries[:2])
        assert await second.follow() is None
        assert await second.read(Contents(entries, 0, 3)) == Contents(entries[2:], 0, 3, 2)
        client.flushdb()
        assert await second.follow() is None
        assert await second.read(Contents(entries, 0, 3)) == Contents(entries, 0, 3)

    async def test_a_value_that_is_none_counts_as_removed_until_somebody_knows_better(
        self, new_log: Callable[[], RedisLog], client: Any
    ) -> None:
        log = new_log()
        await log.read(Contents([]))
        (whole,) = await log.write([Write("a", described(), like("1"))])
        client.hset(ENTRIES, "a", "poison")
        assert (await log.read(Contents([]))).entries == [Entry("a", 0, removed=True)]
        assert (await log.read(Contents([whole]))).entries == [whole]

    async def test_a_redis_that_is_gone_is_unavailable(self, redis_server: RedisServer) -> None:
        log = RedisLog.from_url("redis://127.0.0.1:1/0")
        for call in (log.write([Write("a")]), log.read(Contents([])), log.follow(), log.pass_time(1)):
            with pytest.raises(CatalogueUnavailableError) as refusal:
                await call
            assert "127.0.0.1" not in str(refusal.value)
        await log.close()
