"""Load that does not wait for answers, and what became of every request; a process of its own.

Requests start at the moments of a Poisson process, latency counts from the intended start; or, to find out
what the service can do at most, so many connections ask again with each answer. One request in ten is an
event; which of them were acknowledged is kept, so that it can be asked afterwards whether they are there.
Each recommendation is held against the catalogue of the version that it names.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

import httptools
import msgspec

from tests.chaos.child import obey

MAX_CONNECTIONS = 1024
EVENT_EVERY = 10
EVENT_USERS = 40
"""At a time; others come once these have `EVENTS_EACH`, since the service keeps so many of a user."""
EVENTS_EACH = 400
_DRAIN_S = 3.0
_STOPPED_S = 5.0
"""Later than any load makes it: this process itself was stopped, and does not ask for what it missed."""

Kind = Literal["recommend", "events"]
Outcome = Literal["ok", "degraded", "refused", "error", "broken", "unconnected", "unanswered", "wrong"]


@dataclass(frozen=True)
class Answer:
    """One request; `at` on the monotonic clock, when it was to start; `late_s`: from then to when it did.

    Where it never got a connection, `late_s` is to when that was given up.
    """

    kind: Kind
    at: float
    seconds: float
    outcome: Outcome
    status: int = 0
    late_s: float = 0.0


@dataclass
class Report:
    """All requests of one load, and (user, timestamp) of the acknowledged events with the moments of that.

    `named`: item → the last moment at which a request was sent whose answer named it.
    """

    answers: list[Answer] = field(default_factory=list)
    acknowledged: dict[tuple[str, int], float] = field(default_factory=dict)
    named: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        acknowledged = [(user, timestamp, at) for (user, timestamp), at in self.acknowledged.items()]
        path.write_bytes(msgspec.msgpack.encode((self.answers, acknowledged, self.named)))

    @classmethod
    def read(cls, path: Path) -> "Report":
        """As it was written."""
        kept = tuple[list[Answer], list[tuple[str, int, float]], dict[str, float]]
        answers, acknowledged, named = msgspec.msgpack.decode(path.read_bytes(), type=kept)
        return cls(answers, {(user, timestamp): at for user, timestamp, at in acknowledged}, named)


@dataclass(frozen=True)
class Plan:
    """A load: `rate` requests a second or, where it is 0, `connections` that ask again with each answer.

    `bodies` of recommendations, sent in turn; `catalogues`: item → categories of each version; events are of
    users called after `name`.
    """

    port: int
    name: str
    rate: float
    bodies: list[str]
    items: list[str]
    catalogues: dict[str, dict[str, list[str]]]
    connections: int = MAX_CONNECTIONS


class _Request:
    def __init__(self, kind: Kind, at: float, data: bytes, event: tuple[str, int] | None = None) -> None:
        self.kind, self.at, self.data, self.event = kind, at, data, event
        self.late_s = 0.0


class _Connection(asyncio.Protocol):
    """One connection; it carries one request at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.request: _Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(self)

    def send(self, request: _Request) -> None:
        self.request, self.body, self.may_return = request, b"", False
        self.parser = httptools.HttpResponseParser(self)
        request.late_s = time.monotonic() - request.at
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.may_return = self.may_return or name.lower() == b"retry-after"

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.load.answered(self, self.parser.get_status_code(), self.parser.should_keep_alive())


class Load:
    """A plan that is carried out: `run` it in an event loop until `stop`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rate = plan.rate
        """Requests started a second; may change on the way."""
        self.report = Report()
        self._catalogues = {
            version: {item: set(names) for item, names in items.items()}
            for version, items in plan.catalogues.items()
        }
        self._asking = [_post("/recommend", body.encode()) for body in plan.bodies]
        self._random = Random(plan.name)
        self.started = 0
        """Requests so far."""
        self._first_ms = int(time.time() * 1000)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: dict[asyncio.Task[None], _Request] = {}
        self._waiting: deque[_Request] = deque()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Start no further request."""
        self._stopped.set()

    async def run(self) -> None:
        """Ask until stopped, then wait a little for what is still open."""
        await (self._open_loop() if self.rate else self._closed_loop())
        until = time.monotonic() + _DRAIN_S
        while len(self.report.answers) < self.started and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await self._give_up()

    async def _give_up(self) -> None:
        """End what is still open; its requests are unanswered."""
        opening = [(task, request) for task, request in self._opening.items() if task.cancel()]
        for request in (*(request for _, request in opening), *self._waiting):
            request.late_s = time.monotonic() - request.at
            self._note(request, "unanswered")
        for connection in list(self._open):
            if connection.request is not None:
                self._note(connection.request, "unanswered")
                connection.request = None
            connection.transport.abort()
        await asyncio.gather(*(task for task, _ in opening), return_exceptions=True)

    async def _open_loop(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - due > _STOPPED_S:
                due = time.monotonic()
            self._start(self._next(due))
            due += self._random.expovariate(self.rate)

    async def _closed_loop(self) -> None:
        for _ in range(self.plan.connections):
            self._start(self._next(time.monotonic()))
        await self._stopped.wait()

    def _next(self, at: float) -> _Request:
        self.started += 1
        if self.started % EVENT_EVERY:
            return _Request("recommend", at, self._asking[self.started % len(self._asking)])
        number = self.started // EVENT_EVERY
        user = f"{self.plan.name}-{number % EVENT_USERS}-{number // (EVENT_USERS * EVENTS_EACH)}"
        timestamp = self._first_ms + self.started
        body = {"user_id": user, "item_id": self._random.choice(self.plan.items), "timestamp": timestamp}
        return _Request("events", at, _post("/events", json.dumps(body).encode()), (user, timestamp))

    def _start(self, request: _Request) -> None:
        if self._idle:
            self._idle.pop().send(request)
        elif len(self._open) + len(self._opening) < self.plan.connections:
            task = asyncio.ensure_future(self._connect(request))
            self._opening[task] = request
            task.add_done_callback(self._opening.pop)
        else:
            self._waiting.append(request)

    async def _connect(self, request: _Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self.plan.port
            )
        except OSError:
            self._note(request, "unconnected")
            return
        self._open.add(connection)
        connection.send(request)

    def answered(self, connection: _Connection, status: int, stays: bool) -> None:
        """An answer came whole."""
        request, connection.request = connection.request, None
        if request is None:
            return
        self._note(request, self._outcome(request, connection, status), status)
        if not stays:
            connection.transport.close()
            return
        self._idle.append(connection)
        if self._waiting:
            self._start(self._waiting.popleft())
        elif not self.rate and not self._stopped.is_set():
            self._start(self._next(time.monotonic()))

    def lost(self, connection: _Connection) -> None:
        """The other side closed a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.request is not None:
            self._note(connection.request, "broken")
            connection.request = None

    def _outcome(self, request: _Request, connection: _Connection, status: int) -> Outcome:
        if status in (429, 504) or (status == 503 and connection.may_return):
            return "refused"
        if status != 200 and not (status == 202 and request.event is not None):  # taken into the spool
            return "error"
        if request.event is not None:
            self.report.acknowledged[request.event] = time.monotonic()
            return "ok"
        answer = msgspec.json.decode(connection.body)
        for item in answer["items"]:
            before = self.report.named.get(item["item_id"], 0.0)
            self.report.named[item["item_id"]] = max(before, request.at + request.late_s)
        if not self._is_right(answer):
            return "wrong"
        return "degraded" if answer["degraded"] else "ok"

    def _note(self, request: _Request, outcome: Outcome, status: int = 0) -> None:
        seconds = time.monotonic() - request.at
        answer = Answer(request.kind, request.at, seconds, outcome, status, request.late_s)
        self.report.answers.append(answer)

    def _is_right(self, answer: Mapping[str, Any]) -> bool:
        """True where the items and their categories are of the version that the answer names."""
        catalogue = self._catalogues.get(answer["model_version"], {})
        return len(answer["items"]) == 10 and all(
            catalogue.get(item["item_id"]) == set(item["categories"]) for item in answer["items"]
        )


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class _Loader:
    """The process: one load after another."""

    async def start(self, plan: str) -> None:
        """Begin with the plan of a file."""
        self._load = Load(msgspec.json.decode(Path(plan).read_bytes(), type=Plan))
        self._running = asyncio.create_task(self._load.run())

    async def rate(self, rate: float) -> None:
        """Ask so many times a second from now on."""
        self._load.rate = rate

    async def finish(self, report: str) -> None:
        """Stop, and write the report to a file."""
        self._load.stop()
        await self._running
        self._load.report.write(Path(report))


if __name__ == "__main__":
    loader = _Loader()
    obey({"start": loader.start, "rate": loader.rate, "finish": loader.finish})
