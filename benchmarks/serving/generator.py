"""A generator of load for one core: a plan in JSON on standard input, a report in JSON on standard output.

Open loop: requests start at the moments of a Poisson process, whatever became of those before, and latency
counts from the intended start, also where the generator is late or has no connection free. Closed loop: so
many connections, each of which asks again at once. It never sleeps: timers of a millisecond would be part of
the latencies. It needs nothing of this project.
"""

import asyncio
import gc
import json
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

import httptools
import uvloop

_DRAIN_S = 3.0
"""Chosen: ten times the deadline of the overload part; what has no answer by then counts as none."""


class _Connection(asyncio.Protocol):
    """One connection; it carries one request at a time."""

    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.intended: float | None = None
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self.load.lost(self)

    def send(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self.load.lags.append(time.perf_counter() - intended)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        intended, self.intended = self.intended, None
        if intended is not None:
            self.load.answered(self, time.perf_counter() - intended, self.parser.get_status_code())


class _Load:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        lines = Path(plan["bodies"]).read_bytes().splitlines()
        headers = {"host": "127.0.0.1", "content-type": "application/json", **plan.get("headers", {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.requests = [
            f"POST /recommend HTTP/1.1\r\n{head}content-length: {len(line)}\r\n\r\n".encode() + line
            for line in lines
        ]
        self.sent = 0
        self.open = 0
        self.broken = 0
        self.idle: list[_Connection] = []
        self.waiting: deque[float] = deque()
        self.answers: list[tuple[float, int]] = []
        self.lags: list[float] = []
        self.until: float | None = None

    async def run(self) -> None:
        """Carry the plan out."""
        first = min(self.plan["connections"], 64) if self.plan["rate"] else self.plan["connections"]
        await asyncio.gather(*(self._connect() for _ in range(first)))
        self.sent, self.began = 0, time.perf_counter()
        await (self._open_loop() if self.plan["rate"] else self._closed_loop())

    async def _connect(self) -> None:
        self.open += 1
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self.plan["port"]
            )
        except OSError:
            self.open -= 1
            self.broken += 1
            return
        self._free(connection)

    async def _open_loop(self) -> None:
        random, rate = Random(self.plan["seed"]), self.plan["rate"]
        due = self.began + random.expovariate(rate)
        end = self.began + self.plan["seconds"]
        opening: set[asyncio.Task[None]] = set()
        while due < end:
            while due <= time.perf_counter() and due < end:
                if self.idle:
                    self._send(self.idle.pop(), due)
                else:
                    self.waiting.append(due)
                    if self.open < self.plan["connections"]:
                        task = asyncio.ensure_future(self._connect())
                        opening.add(task)
                        task.add_done_callback(opening.discard)
                due += random.expovariate(rate)
            await asyncio.sleep(0)
        drained = end + _DRAIN_S
        while len(self.answers) + self.broken < self.sent + len(self.waiting):
            if time.perf_counter() > drained:
                break
            await asyncio.sleep(0.001)

    async def _closed_loop(self) -> None:
        self.until = self.began + self.plan["seconds"]
        for connection in self.idle:
            self._send(connection, time.perf_counter())
        while time.perf_counter() < self.until:
            await asyncio.sleep(0.01)

    def _send(self, connection: _Connection, intended: float) -> None:
        connection.send(self.requests[self.sent % len(self.requests)], intended)
        self.sent += 1

    def _free(self, connection: _Connection) -> None:
        if self.waiting:
            self._send(connection, self.waiting.popleft())
        elif self.until is not None and time.perf_counter() < self.until:
            self._send(connection, time.perf_counter())
        else:
            self.idle.append(connection)

    def answered(self, connection: _Connection, seconds: float, status: int) -> None:
        """One answer came."""
        self.answers.append((seconds, status))
        self._free(connection)

    def lost(self, connection: _Connection) -> None:
        """The server closed a connection."""
        self.open -= 1
        if connection.intended is not None:
            self.broken += 1
        if connection in self.idle:
            self.idle.remove(connection)

    def report(self) -> dict[str, Any]:
        """Counts, and latencies in ms, of what was answered."""
        good = sorted(1000 * seconds for seconds, status in self.answers if status == 200)
        refused = sorted(1000 * seconds for seconds, status in self.answers if status == 503)
        asked = self.sent + len(self.waiting)
        deadline = self.plan.get("deadline_ms") or float("inf")
        return {
            "asked": asked,
            "seconds": self.plan["seconds"],
            "good": len(good),
            "in_time": sum(latency <= deadline for latency in good),
            "refused": len(refused),
            "other": len(self.answers) - len(good) - len(refused),
            "unanswered": asked - len(self.answers),
            "p50_ms": _percentile(good, 0.5),
            "p99_ms": _percentile(good, 0.99),
            "refused_p99_ms": _percentile(refused, 0.99),
            "lag_p99_ms": 1000 * (_percentile(sorted(self.lags), 0.99) or 0),
        }


def _percentile(ordered: list[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def main() -> None:
    """Carry out the plan of standard input."""
    load = _Load(json.load(sys.stdin))
    gc.collect()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load.run())
    print(json.dumps(load.report()))


if __name__ == "__main__":
    main()
