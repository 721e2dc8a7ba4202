"""The desk of the harness: what it counts, and that its verdict can fall."""

import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from tests.chaos.desk import SPREAD_S, Desk
from tests.chaos.load import Report
from tests.chaos.stage import SIZES, Stage
from tests.factories import publish_tiny_bundle
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running, running, settings_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("bundles")
    items, dim = SIZES[0]
    publish_tiny_bundle(root, items=items, dim=dim, seed=dim)
    with running(settings_for(root)) as one:
        yield one


@pytest.fixture
def stage(server: Running, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, 1)
    stage.port = server.port
    yield stage
    stage.redis.close()
    stage.loop.close()


@pytest.fixture
def desk(stage: Stage) -> Iterator[Desk]:
    """With six items that are put, of which one and one of the bundle's are removed."""
    desk = Desk(6)
    desk.come(stage)
    desk.put_many(desk.new[:5])
    assert desk.put(desk.new[5]) == "PUT 200"
    assert desk.remove(desk.new[0]) == desk.remove(desk.bundled[0], everywhere=True) == "DELETE 200"
    desk.wait_for_all()
    yield desk
    desk.close()


def test_what_was_acknowledged_and_is_there_has_held(desk: Desk, stage: Stage) -> None:
    before = Report(named=dict.fromkeys([desk.new[0], desk.new[1]], time.monotonic() - 60))
    desk.judge_now(before)
    assert stage.findings == []
    assert stage.remarks == ["6 put, 2 removed, 1 of these named before, 0 leaks"]


def test_what_is_named_after_its_removal_is_found(desk: Desk, stage: Stage) -> None:
    desk.judge_answers(Report(named={desk.new[0]: time.monotonic(), desk.new[1]: time.monotonic()}))
    assert stage.findings == ["1 named after their removal"]


def test_what_is_lost_or_returns_is_found(desk: Desk, stage: Stage, server: Running) -> None:
    headers = AUTHORIZED
    for item_id in desk.new[1:3]:
        server.client.delete(f"/items/{item_id}", headers=headers)
    server.client.put(f"/items/{desk.bundled[0]}", headers=headers, json={})
    desk.compare(" here")
    assert stage.findings == ["2 puts lost here", "1 removals lost here"]


def test_another_worker_has_a_second_to_hear_and_none_is_told_without_redis(desk: Desk, stage: Stage) -> None:
    stage.workers = 2
    desk.remove(desk.new[3])
    assert desk.removed[desk.new[3]] <= time.monotonic() + SPREAD_S
    desk.removed[desk.new[4]] = inf
    desk.told(5.0)
    assert desk.removed[desk.new[4]] == 5.0


def test_an_answer_that_none_should_get_is_found(desk: Desk, stage: Stage) -> None:
    desk.put(desk.new[1], title=7)
    desk.judge_answers(Report())
    assert stage.findings == ["1 × PUT 422"]


def test_one_at_work_puts_and_removes_until_the_block_ends(desk: Desk, stage: Stage) -> None:
    with desk.at_work():
        until(lambda: {*desk.new[1:4]} <= desk.removed.keys())
    desk.judge_now(Report())
    assert stage.findings == []
