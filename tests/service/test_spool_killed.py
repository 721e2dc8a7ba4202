"""Processes that are killed with events in the spool: each event that was acknowledged is delivered, once."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import httpx
import pytest
import redis

from service.spool.file import SpoolFile
from tests.chaos.proxy import Proxy
from tests.redis_server import RedisServer
from tests.service.processes import Process, process, until

USERS = 20
FIRST = int(time.time() * 1000) - 1_000_000

Sent = dict[str, set[int]]


@contextmanager
def serving(directory: Path, bundles: Path, url: str, workers: int = 1) -> Iterator[Process]:
    arguments = ("--bundles", bundles, "--redis", url, "--workers", workers)
    with process(directory, *arguments, DIMEREC_SPOOL=str(directory / "spool")) as served:
        try:
            yield served
        finally:
            kill(served)


def kill(served: Process) -> None:
    """The supervisor and its workers, at once."""
    with suppress(ProcessLookupError):
        os.killpg(served.popen.pid, signal.SIGKILL)
    served.popen.wait()


def send_until(stopped: Flag, url: str, caller: int, sent: Sent, acknowledged: Sent) -> set[int]:
    """Send events of two users, one after the other; the statuses that came."""
    statuses = set()
    number = caller
    while not stopped.is_set():
        user, timestamp = f"user {number % USERS}", FIRST + number
        event = {"user_id": user, "item_id": "1001", "timestamp": timestamp}
        sent[user].add(timestamp)
        try:
            status = httpx.post(f"{url}/events", json=event, timeout=10).status_code
        except httpx.HTTPError:
            break
        statuses.add(status)
        if status in (200, 202):
            acknowledged[user].add(timestamp)
        number += 10
    return statuses


def pending(directory: Path) -> int:
    file = SpoolFile(directory / "spool", 1 << 30)
    try:
        return file.counts().pending
    finally:
        file.close()


@contextmanager
def slow_answers(server: RedisServer) -> Iterator[str]:
    """Address at which Redis does what it is asked, and answers much later."""
    loop = asyncio.new_event_loop()
    proxy = Proxy()
    thread = Thread(target=loop.run_forever)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(proxy.start(server.port), loop).result()
    proxy.delay_s = 0.5  # of each answer: the greetings of a connection are some
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def redis_there() -> Iterator[RedisServer]:
    server = RedisServer(durable=True)
    yield server
    server.close()


@pytest.mark.smoke
def test_what_was_acknowledged_survives_kills_before_and_during_delivery(
    bundle_root: Path, tmp_path: Path, redis_there: RedisServer
) -> None:
    sent: Sent = {f"user {n}": set() for n in range(USERS)}
    acknowledged: Sent = {f"user {n}": set() for n in range(USERS)}
    stopped = Flag()
    with (
        serving(tmp_path, bundle_root, redis_there.url, workers=2) as served,
        ThreadPoolExecutor(10) as callers,
    ):
        sending = [
            callers.submit(send_until, stopped, served.url, caller, sent, acknowledged)
            for caller in range(10)
        ]
        until(lambda: sum(map(len, acknowledged.values())) > 200)
        kill(served)
        stopped.set()
        assert set().union(*(one.result() for one in sending)) == {202}
    taken = pending(tmp_path)
    assert taken >= sum(map(len, acknowledged.values()))

    redis_there.start()
    with slow_answers(redis_there) as url, redis.Redis.from_url(redis_there.url) as raw:
        with serving(tmp_path, bundle_root, url):
            until(lambda: raw.dbsize() >= USERS)
        assert pending(tmp_path) == taken, "killed between Redis and the spool's own note"
    with (
        serving(tmp_path, bundle_root, redis_there.url) as served,
        httpx.Client(base_url=served.url, timeout=30) as client,
    ):
        until(lambda: pending(tmp_path) == 0)
        for user in sent:
            answer = client.get(f"/users/{user}/history", params={"limit": 1000}).json()
            kept = [event["timestamp"] for event in answer["events"]]
            assert len(kept) == len(set(kept))
            assert acknowledged[user] <= set(kept) <= sent[user]
