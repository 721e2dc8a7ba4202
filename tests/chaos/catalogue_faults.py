"""Faults while the catalogue is changed: nothing that was acknowledged may be lost, or return."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx

from tests.chaos.desk import Desk
from tests.chaos.fault import BOTH, Fault
from tests.chaos.load import Report
from tests.chaos.measure import SETTLED_S
from tests.chaos.redis_faults import start_redis
from tests.chaos.service_faults import kill_worker, set_clock, settable_clock, under_another_clock
from tests.chaos.stage import Stage

MANY = 10_000
"""Items that are put in a burst, and removals under load."""
BUNDLED = 1_000
"""Of these removals, those of the bundle's own items: half of what it has."""
_WORKING = 5_000
"""New items at most of a desk at work: more than it puts in a fault's time."""
_SAMPLE = 50
"""Items of the bundle beside which the new ones are looked for."""
_SOME, _REFUSED = 200, 20
"""Items that are removed, or come and go by the clock; and those of them that are put without Redis."""
_UNTIL_STARTED_S = 8.0
"""Chosen: until a worker has come for the one that was killed, and some more."""
_AWAY_S = 12.0
_MAX_STALE_S = 6.0
"""From the loss of Redis until answers say that the catalogue may be old: 5 s of silence, and a second."""
_ASKED = 6
"""Answers that are to say so, one after the other, each on a connection of its own."""
_LASTS_S = 4.0
"""Chosen: as long as answers need to name items that then are available no longer."""
_PASSING_S = 12.0
"""Of which the clock is behind for all but the first five. Chosen."""
_HOUR_S = 3600

DeskStep = Callable[[Desk, Stage], None]


def _burst(desk: Desk, stage: Stage) -> None:
    """All at once, until they count in every process."""
    began = time.monotonic()
    desk.put_many(desk.new)
    put = time.monotonic()
    desk.wait_for_all()
    stage.remarks.append(f"put in {put - began:.1f} s, everywhere after {time.monotonic() - began:.1f} s")


def _judge_burst(desk: Desk, stage: Stage, report: Report) -> None:
    """Also by whether the search finds each new item: beside the one that it is like."""
    named = report.named.keys() & set(desk.new)
    stage.remarks.append(f"answers named {len(named)} of them")
    for row, item_id in enumerate(desk.bundled[:_SAMPLE]):
        like = set(desk.new[row :: len(desk.bundled)])
        answer = httpx.get(f"{stage.url}/items/{item_id}/similar", params={"k": len(like)}, timeout=30)
        missing = like - {one["item_id"] for one in answer.raise_for_status().json()["items"]}
        if missing:
            stage.findings.append(f"{len(missing)} of {len(like)} are not found beside {item_id}")
    desk.judge(stage, report)


def remove_all(desk: Desk, stage: Stage, bundled: int = BUNDLED) -> None:
    """All new items and some of the bundle's, many at once."""
    began = time.monotonic()
    gone = [*desk.new, *desk.bundled[:bundled]]
    desk.remove_many(gone)
    stage.remarks.append(f"{len(gone) / (time.monotonic() - began):.0f} a second")


def _kill_one(desk: Desk, stage: Stage) -> None:
    """A worker in the middle of changes; the next one knows them."""
    with desk.at_work():
        time.sleep(2.0)
        kill_worker(stage)
        time.sleep(_UNTIL_STARTED_S)


def _kill_all(desk: Desk, stage: Stage) -> None:
    """Every process in the middle of changes, and start anew."""
    with desk.at_work():
        time.sleep(2.0)
        with suppress(ProcessLookupError):
            os.killpg(stage.pid, signal.SIGKILL)
        stage.serve()
        time.sleep(2.0)


def _empty_redis(desk: Desk, stage: Stage) -> None:
    """In the middle of changes."""
    with desk.at_work():
        time.sleep(2.0)
        stage.redis.wipe()
        stage.redis.start()
        time.sleep(4.0)


def _without_redis(desk: Desk, stage: Stage) -> None:
    """What is asked for is refused or kept, and answers say before long that they may be old."""
    stage.redis.stop()
    began = time.monotonic()
    put = [desk.put(item_id) for item_id in desk.new[:_REFUSED]]
    removed = [desk.remove(item_id) for item_id in desk.new]
    for outcomes, usual in ((put, "PUT 503"), (removed, "DELETE 202")):
        others = [one for one in outcomes if one != usual]
        stage.findings += [f"{len(others)} × {others[0]} without Redis"] if others else []
    while any(_degraded(desk, stage) != "catalogue_stale" for _ in range(_ASKED)):
        if time.monotonic() - began > _MAX_STALE_S:
            stage.findings.append(f"not catalogue_stale {_MAX_STALE_S:.0f} s after the end of Redis")
            return
        time.sleep(0.1)
    stage.remarks.append(f"catalogue_stale after {time.monotonic() - began:.1f} s")


def _degraded(desk: Desk, stage: Stage) -> str | None:
    """What an answer to a history, so without Redis, says of itself; by any worker."""
    body = {"history": desk.bundled[-3:]}
    answer = httpx.post(f"{stage.url}/recommend", json=body, timeout=30).raise_for_status().json()
    return None if answer["degraded"] is None else str(answer["degraded"])


def _bring_redis_back(desk: Desk, stage: Stage) -> None:
    start_redis(stage)
    desk.told(time.monotonic() + SETTLED_S)


def _let_pass(desk: Desk, stage: Stage) -> None:
    """Items whose time passes; then the clock goes an hour back."""
    now_s, now = time.time(), time.monotonic()
    until_ms = int(1000 * (now_s + _LASTS_S))
    desk.put_many(desk.new, available_until=until_ms)
    desk.removed = dict.fromkeys(desk.new, now + until_ms / 1000 - now_s)
    time.sleep(max(0.0, now + _LASTS_S + 0.5 - time.monotonic()))
    set_clock(-_HOUR_S, stage)


def _judge_by_clock(desk: Desk, stage: Stage, report: Report) -> None:
    """Also by a process that starts while the clock is behind."""
    set_clock(-_HOUR_S, stage)
    desk.variables = settable_clock(stage)
    desk.judge(stage, report)


def _before_by_clock(desk: Desk, stage: Stage) -> None:
    under_another_clock(stage)
    desk.begin(stage)


def _seed(desk: Desk, stage: Stage) -> None:
    stage.seed()


def _nothing(desk: Desk, stage: Stage) -> None:
    """Where a fault clears itself."""


def _fault(
    name: str,
    items: int,
    inject: DeskStep,
    clear: DeskStep = _nothing,
    *,
    before: DeskStep = Desk.begin_without,
    judge: Callable[[Desk, Stage, Report], None] = Desk.judge,
    **more: Any,
) -> Fault:
    """A fault with a desk that has so many new items."""
    desk = Desk(items)
    return Fault(
        name,
        partial(inject, desk),
        partial(clear, desk),
        judge=partial(judge, desk),
        before=partial(before, desk),
        after=desk.end,
        **({"workers": BOTH} | more),
    )


CATALOGUE_FAULTS = (
    _fault("catalogue-burst", MANY, _burst, judge=_judge_burst),
    _fault("catalogue-removals", MANY - BUNDLED, remove_all, before=Desk.begin, seconds=0.0),
    _fault("catalogue-kill", _WORKING, _kill_all, breaks=True),
    _fault("catalogue-kill-one", _WORKING, _kill_one, breaks=True, workers=(2,)),
    _fault("catalogue-redis-empty", _WORKING, _empty_redis, _seed, forgets=True),
    _fault(
        "catalogue-redis-away",
        _SOME,
        _without_redis,
        _bring_redis_back,
        before=Desk.begin,
        seconds=_AWAY_S,
        opens=True,
    ),
    _fault(
        "catalogue-clock",
        _SOME,
        _let_pass,
        lambda _, stage: set_clock(0, stage),
        before=_before_by_clock,
        judge=_judge_by_clock,
        seconds=_PASSING_S,
    ),
)
