"""Load at a steady rate that does not wait for answers, and what became of every request.

Requests start at the moments of a Poisson process, latency counts from the intended start. One in ten is an
event; which of them were acknowledged is kept, so that it can be asked afterwards whether they are there.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import httptools
import msgspec

MAX_CONNECTIONS = 1024
EVENT_EVERY = 10
EVENT_USERS = 40
_DRAIN_S = 3.0

Kind = Literal["recommend", "events"]
Check = Callable[[Mapping[str, Any]], bool]
Outcome = Literal["ok", "degraded", "refused", "error", "broken", "unconnected", "unanswered", "wrong"]


@dataclass(frozen=True)
class Answer:
    """One request; `at` on the monotonic clock, when it was to start."""

    kind: Kind
    at: float
    seconds: float
    outcome: Outcome
    status: int = 0


class _Request:
    def __init__(self, kind: Kind, at: float, data: bytes, event: tuple[str, int] | None = None) -> None:
        self.kind, self.at, self.data, self.event = kind, at, data, event


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
    """Load on a port of the loopback; `run` it in an event loop until `stop`.

    `is_right` judges an answer of 200 to a recommendation. `acknowledged` are (user, timestamp) of events
    that were answered 200, with the moment of the answer.
    """

    def __init__(
        self,
        port: int,
        rate: float,
        bodies: Sequence[bytes],
        items: Sequence[str],
        name: str,
        is_right: Check,
    ) -> None:
        self.port, self.rate, self.is_right = port, rate, is_right
        self.answers: list[Answer] = []
        self.acknowledged: dict[tuple[str, int], float] = {}
        self._name = name
        self._items = items
        self._asking = [_post("/recommend", body) for body in bodies]
        self._random = Random(name)
        self._count = 0
        self._first_ms = int(time.time() * 1000)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: list[_Request] = []
        self._stopped = False

    def stop(self) -> None:
        """Start no further request."""
        self._stopped = True

    async def run(self) -> None:
        """Ask until stopped, then wait a little for what is still open."""
        due = time.monotonic()
        while not self._stopped:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._start(self._next(due))
            due += self._random.expovariate(self.rate)
        until = time.monotonic() + _DRAIN_S
        while len(self.answers) < self._count and time.monotonic() < until:
            await asyncio.sleep(0.05)
        for connection in list(self._open):
            if connection.request is not None:
                self._note(connection.request, "unanswered")
                connection.request = None
            connection.transport.abort()
        for request in self._waiting:
            self._note(request, "unanswered")

    def _next(self, at: float) -> _Request:
        self._count += 1
        if self._count % EVENT_EVERY:
            return _Request("recommend", at, self._asking[self._count % len(self._asking)])
        user = f"{self._name}-{self._count // EVENT_EVERY % EVENT_USERS}"
        timestamp = self._first_ms + self._count
        body = {"user_id": user, "item_id": self._random.choice(self._items), "timestamp": timestamp}
        return _Request("events", at, _post("/events", json.dumps(body).encode()), (user, timestamp))

    def _start(self, request: _Request) -> None:
        if self._idle:
            self._idle.pop().send(request)
        elif len(self._open) + len(self._opening) < MAX_CONNECTIONS:
            task = asyncio.ensure_future(self._connect(request))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._waiting.append(request)

    async def _connect(self, request: _Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
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
        elif self._waiting:
            connection.send(self._waiting.pop(0))
        else:
            self._idle.append(connection)

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
        if status != 200:
            return "error"
        if request.event is not None:
            self.acknowledged[request.event] = time.monotonic()
            return "ok"
        answer = msgspec.json.decode(connection.body)
        if not self.is_right(answer):
            return "wrong"
        return "degraded" if answer["degraded"] else "ok"

    def _note(self, request: _Request, outcome: Outcome, status: int = 0) -> None:
        seconds = time.monotonic() - request.at
        self.answers.append(Answer(request.kind, request.at, seconds, outcome, status))


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
