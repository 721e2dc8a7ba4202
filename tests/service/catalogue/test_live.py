"""What counts in one process, by what it was told and by the clock; and that it is kept on disk."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from bundle.read import read_bundle
from engine.engine import Engine
from engine.recipes import Like
from service.catalogue import following
from service.catalogue.following import Follower
from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Contents, Description, Entry, Origin
from service.catalogue.redis import RedisLog
from service.catalogue.view import FILE, read_view
from tests.factories import publish_tiny_bundle


def entry(item_id: str, sequence: int, **more: Any) -> Entry:
    return Entry(item_id, sequence, False, Description(None, (), **more), Origin(Like(("1001",)), ()))


def test_the_times_of_an_item_that_was_put_again_are_forgotten() -> None:
    live = LiveCatalogue(Contents([]), lambda: 1_000)
    for sequence in range(1, 100):
        live.take([entry("a", sequence, available_from=2_000, available_until=3_000 + sequence)])
        live.take([entry("b", 100 + sequence, available_from=2_500)])
    assert len(live._moments) == 3
    live.take([entry("a", 300)])
    assert live.next_ms == 2_500
    live.take([Entry("b", 301, removed=True)])
    assert live.next_ms is None


def test_a_moment_that_passed_elsewhere_passed_here() -> None:
    live = LiveCatalogue(Contents([entry("a", 1, available_until=2_000)]), lambda: 1_000)
    live.pass_time(1_999)
    assert not live.is_gone("a")
    live.pass_time(2_000)
    assert live.is_gone("a")
    assert (live.come_ms, live.passed_ms) == (2_000, 2_000)
    live.take([entry("b", 2, available_until=1_500), entry("c", 3, available_from=2_001)])
    assert live.is_gone("b")
    assert live.is_gone("c")
    live.pass_time()
    assert live.next_ms == 2_001


def test_an_engine_is_brought_up_to_date_while_entries_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny_bundle(tmp_path, catalogue_sequence=2)
    live = LiveCatalogue(Contents([Entry("a", 1, removed=True), Entry("b", 2, removed=True)]))
    engine = Engine(read_bundle(tmp_path), max_steps=5)

    def unfit(_: LiveCatalogue, __: Engine) -> None:
        live._changed_at = _ForgetsWhenRead(live, live._changed_at)

    monkeypatch.setattr(LiveCatalogue, "unfit", unfit)
    live.bring(engine)
    assert engine.describe("a") is None


class _ForgetsWhenRead(dict[str, int]):
    """What a thread that loads an engine reads, just before the event loop drops an entry."""

    def __init__(self, live: LiveCatalogue, changed_at: dict[str, int]) -> None:
        super().__init__(changed_at)
        self._live = live

    def items(self) -> Any:
        found = list(super().items())
        self._live.forget(["a"])
        return found


async def test_a_view_that_could_not_be_written_is_written_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr(following, "log", told)
    live = LiveCatalogue(Contents([entry("a", 1)]))
    log = RedisLog.from_url("redis://127.0.0.1:1/0")
    follower = Follower(live, log, tmp_path)
    for _ in range(2):
        (tmp_path / FILE).mkdir()
        for _ in range(2):
            await follower.write_view()
        (tmp_path / FILE).rmdir()
        await follower.write_view()
        assert read_view(tmp_path) == live.contents
        (tmp_path / FILE).unlink()
        live.take([entry("b", live.sequence + 1)])
    assert len(told.calls) == 2  # one of each spell
    await log.close()
