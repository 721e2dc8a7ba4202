"""Requests inside: counted until they are answered, and refused where the event loop would be late."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import pytest

from service.batcher import MicroBatcher
from service.errors import OverloadedError
from service.inside import COMPANY, TURNS, Inside
from service.pace import BATCHES
from tests.service.gated import until
from tests.service.serving import KEY, Running

BODY = json.dumps({"history": ["1001"], "k": 3}).encode()
HEAD = (
    b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n" % (KEY.encode(), len(BODY))
)


def crowd(inside: Inside, count: int, waited_s: float) -> None:
    """So many come, of whom each waits so long for its first turn."""
    for _ in range(count):
        inside.enter({})
    for _ in range(count):
        inside.begin(waited_s)


def crowded(count: int, waited_s: float) -> MicroBatcher[int, int]:
    batcher = MicroBatcher[int, int](lambda items: items, max_batch=4, max_queue=4)
    crowd(batcher.inside, count, waited_s)
    return batcher


@asynccontextmanager
async def occupied(waiting: int, seconds: float) -> AsyncIterator[MicroBatcher[int, int]]:
    """An engine at work, with a queue, whose batches of one took so long."""
    gate = threading.Event()

    def compute(items: list[int]) -> list[int]:
        gate.wait(20)
        return items

    batcher = MicroBatcher[int, int](compute, max_batch=4, max_queue=999, standing_s=0.4)
    tasks = [asyncio.create_task(batcher.submit(number, 30.0)) for number in range(4 + waiting)]
    while batcher.queue_length != waiting:
        await asyncio.sleep(0)
    for _ in range(BATCHES):
        batcher._pace.note(seconds, 1.0)
    try:
        yield batcher
    finally:
        gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()


async def test_an_idle_engine_refuses_what_the_event_loop_would_answer_late() -> None:
    batcher = crowded(500, 0.01)
    assert batcher.predicted_s(1.0) == pytest.approx(TURNS * 0.01, rel=0.01)
    batcher.admit(0.5)
    with pytest.raises(OverloadedError):
        batcher.admit(0.1)
    for _ in range(499):
        batcher.inside.leave()
    batcher.admit(0.1)
    await batcher.close()


async def test_nobody_waits_long_for_the_event_loop_whatever_the_deadline() -> None:
    batcher = crowded(500, 0.05)
    with pytest.raises(OverloadedError):
        batcher.admit(60.0)
    await batcher.close()


async def test_a_few_are_let_in_however_long_the_turns_are() -> None:
    batcher = crowded(COMPANY, 5.0)
    batcher.admit(0.1)
    crowd(batcher.inside, 1, 5.0)
    with pytest.raises(OverloadedError):
        batcher.admit(60.0)
    await batcher.close()


async def test_waits_of_a_moment_ago_count_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("service.inside.time.perf_counter", lambda: now[0])
    batcher = crowded(200, 1.0)
    with pytest.raises(OverloadedError):
        batcher.admit(60.0)
    now[0] += 1.0
    for _ in range(100):
        batcher.inside.note(0.001)
    batcher.admit(0.5)
    await batcher.close()


async def test_time_of_the_loop_and_of_the_engine_add_up() -> None:
    async with occupied(1, 0.03) as batcher:
        computed_s = batcher.predicted_s(1.0)
        batcher.admit(1.4 * computed_s)
        crowd(batcher.inside, 500, 0.9 * computed_s / TURNS)
        with pytest.raises(OverloadedError):
            batcher.admit(2.0 * computed_s)
        batcher.admit(2.4 * computed_s)


async def test_a_crowd_that_has_not_begun_yet_counts_as_a_queue() -> None:
    """All of a turn of the event loop come to the door before the first of them is looked at."""
    async with occupied(1, 0.03) as batcher:
        before_s = batcher.predicted_s(1.0)
        for _ in range(20):
            batcher.inside.enter({})
        assert batcher.predicted_s(1.0) > 2 * before_s
        for _ in range(20):
            batcher.inside.begin(0.0)
        assert batcher.predicted_s(1.0) == pytest.approx(before_s)


async def test_a_queue_gets_no_longer_than_gains_anything() -> None:
    async with occupied(96, 0.012) as batcher:
        assert 0.4 < batcher.predicted_s(1.0) < 0.7
        batcher.inside.count = COMPANY  # of whom some would come back at once
        batcher.admit(1.0, 1.0)
        batcher.inside.count = COMPANY + 1
        with pytest.raises(OverloadedError):
            batcher.admit(1.0, 1.0)
        batcher.admit(3.0, 1.0)


async def test_a_slow_start_and_a_few_slow_turns_refuse_no_crowd() -> None:
    batcher = crowded(1, 0.05)
    crowd(batcher.inside, 100, 0.0005)
    batcher.admit(0.1)
    await batcher.close()


def test_who_waits_for_redis_or_the_engine_takes_none_of_the_loop() -> None:
    inside = Inside()
    crowd(inside, 1000, 0.0001)
    assert inside.predicted_s() < 0.01


def test_a_service_that_is_late_refuses_at_the_connection_as_in_the_app(server: Running) -> None:
    inside = server.service.door.inside
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "x-deadline-ms": "2000",
    }

    def status() -> int:
        connection.request("POST", "/recommend", BODY, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    assert status() == 200
    crowd(inside, 500, 0.2)
    assert status() == 503
    connection.close()
    assert status() == 503  # on a new connection
    for _ in range(500):
        inside.leave()
    assert status() == 200
    connection.close()
    until(lambda: inside.count == 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + BODY],
        [HEAD, BODY],
        [HEAD + BODY + HEAD + BODY + HEAD + BODY],
        [HEAD + b"{" * len(BODY)],
        [HEAD.replace(KEY.encode(), b"no-such-key") + BODY],
        [HEAD],
        [HEAD.replace(b"application/json", b"text/html") + BODY],
    ],
    ids=["whole", "in pieces", "sent at once", "no JSON", "no key", "no body", "no media type"],
)
@pytest.mark.parametrize("leaves", [False, True])
def test_nobody_is_counted_for_longer_than_it_is_there(
    server: Running, pieces: list[bytes], leaves: bool
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as caller:
        for piece in pieces:
            caller.sendall(piece)
        if not leaves and BODY in pieces[-1]:
            assert caller.recv(65_536)
    until(lambda: server.service.door.inside.count == 0)
    assert server.service.door.inside.coming == 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as caller:
        caller.sendall(HEAD + BODY)
        assert caller.recv(65_536).startswith(b"HTTP/1.1 200 ")
    until(lambda: server.service.door.inside.count == 0)
