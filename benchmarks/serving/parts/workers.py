"""Two workers beside one, with histories in Redis and the load on the same two cores."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from benchmarks.serving import sides
from benchmarks.serving.bodies import stored_bodies
from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.processes import BenchmarkError, Process, free_port
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server
from benchmarks.serving.stage import Stage
from service.history.protocol import Event
from service.history.redis import RedisHistory
from service.settings import HistorySettings

K = 10
"""As everywhere where no other is named."""
COUNTS = (1, 2)


def measure(stage: Stage) -> Findings:
    """Rates with one worker and with two, in turns; nothing is pinned."""
    findings = Findings("workers")
    bodies = stored_bodies(stage.dataset.user_ids, K)
    asked = stage.body_file("workers", bodies)
    bundles = stage.bundles(stage.ours)
    with ExitStack() as stack:
        url = stack.enter_context(redis_running(stage.work))
        _fill(stage, url)
        servers = {}
        for count in COUNTS:
            side = sides.ours(stage.ours, bundles, stage.device, "--redis", url, "--workers", str(count))
            servers[count] = stack.enter_context(sides.serving(side, stage.work, bodies[0], core=None))
        for _ in range(stage.rounds):
            for count, server in servers.items():
                before = server.process.cpu_seconds()
                load = closed_loop(
                    server.url, asked, connections=stage.connections, seconds=stage.seconds, core=None
                )
                findings.add(f"{count} answers/s", load.rate)
                findings.add(f"{count} p99 ms", load.p99_ms)
                findings.add(f"{count} generator busy", load.generator_busy)
                _shares(findings, count, server, before, load.seconds)
    findings.notes |= {"k": K, "connections": stage.connections, "cores": len(os.sched_getaffinity(0))}
    two, one = (findings.rounds[f"{count} answers/s"] for count in (2, 1))
    findings.compare("two workers ÷ one, Redis histories", "answers/s", two, "one worker", one)
    for name, rounds in findings.rounds.items():
        if "cores of" in name:
            findings.report(name, "cores", rounds)
    return findings


def _shares(findings: Findings, count: int, server: Server, before: dict[int, float], seconds: float) -> None:
    """Note the part of a core that each process of the service used, the busiest first."""
    after = server.process.cpu_seconds()
    used = sorted(((after[pid] - before.get(pid, 0)) / seconds for pid in after), reverse=True)
    for number, share in enumerate(used[: count + 1], start=1):
        findings.add(f"{count} worker{'s' * (count > 1)}: cores of process {number}", share)


@contextmanager
def redis_running(work: Path) -> Iterator[str]:
    """The address of an empty Redis, ended with the block; its log goes to `work`."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    try:
        process = Process("redis", command, dict(os.environ), work)
    except FileNotFoundError as error:
        raise BenchmarkError("redis-server is not installed (apt-get install redis-server)") from error
    try:
        process.await_ready(lambda: _answers(port), 20)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.stop()


def _answers(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port).ping())
    except redis.ConnectionError:
        return False


def _fill(stage: Stage, url: str) -> None:
    """Lay every user's items into Redis, as watched one a second until now."""
    settings = HistorySettings()
    now = 1000 * int(time.time())

    async def fill() -> None:
        store = RedisHistory.from_url(
            url,
            max_events=settings.history_max_events,
            ttl_s=settings.history_ttl_s,
            timeout_s=30,
        )
        for user, items in zip(stage.dataset.user_ids, stage.histories, strict=True):
            first = now - 1000 * len(items)
            events = [Event(item, first + 1000 * index) for index, item in enumerate(items)]
            await store.append(user, events)
        await store.close()

    asyncio.run(fill())
