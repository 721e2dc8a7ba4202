"""The servers that are measured: how each is started, and that all of them answer alike."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.serving.bodies import Body
from benchmarks.serving.checkouts import ROOT, Code
from benchmarks.serving.peers.names import BUNDLES, CANNED, DEVICE
from benchmarks.serving.processes import SERVER_CORE, BenchmarkError, Process, free_port, one_thread
from benchmarks.serving.stage import Stage

_TOLERANCE = 1e-4
"""Between scores of one item."""
_TIE = 1e-6
"""Between scores of two items that may stand in each other's place."""
_CHECKED = 16
"""Requests whose answers are compared."""


@dataclass(frozen=True)
class Side:
    """A server that can be started."""

    name: str
    command: Callable[[int], Sequence[str]]
    """By port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    batched: bool = False
    """It takes a list of requests and gives a list of answers."""
    configuration: str = ""
    """Its set-up, for the results."""


@dataclass(frozen=True)
class Server:
    """A side that answers."""

    side: Side
    process: Process
    port: int
    ready_s: float
    """Seconds from its start to its first answer."""

    @property
    def url(self) -> str:
        """The address of recommendations."""
        return f"http://127.0.0.1:{self.port}/recommend"

    def ask(self, body: Body) -> Any:
        """Its answer to one request. Raises BenchmarkError for any other than 200."""
        sent = {"requests": [body]} if self.side.batched else body
        status, content = post(self.port, json.dumps(sent).encode())
        if status != 200:
            raise BenchmarkError(f"{self.side.name} answered {status}: {content[:300]!r}")
        answer = json.loads(content)
        return json.loads(answer[0]) if self.side.batched else answer


def post(port: int, body: bytes) -> tuple[int, bytes]:
    """Status and content of one request to a server of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/recommend", body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def serving(side: Side, work: Path, first: Body, core: int | None = SERVER_CORE) -> Iterator[Server]:
    """The side, started and answering, then kept on one core, until the block ends."""
    port = free_port()
    environment = one_thread({"PYTHONPATH": str(ROOT), **side.environment})
    process = Process(side.name.replace(" ", "-"), side.command(port), environment, work)
    body = json.dumps({"requests": [first]} if side.batched else first).encode()

    def ready() -> bool:
        try:
            return post(port, body)[0] == 200
        except (OSError, HTTPException):
            return False

    try:
        ready_s = process.await_ready(ready)
        process.pin(core)
        yield Server(side, process, port, ready_s)
    finally:
        process.stop()


def ours(code: Code, bundles: Path, device: str, *options: str) -> Side:
    """`dimerec serve` of some state of the code, as it comes."""
    fixed = [*code.command, "serve", "--bundles", str(bundles), "--device", device, *options]
    return Side(
        code.name,
        lambda port: [*fixed, "--port", str(port)],
        code.environment,
        configuration=" ".join(["dimerec serve", *options]),
    )


def module(name: str, python: Path | str, environment: Mapping[str, str], configuration: str) -> Side:
    """A peer that is a module of `benchmarks.serving.peers` and takes its port."""
    command = [str(python), "-P", "-m", f"benchmarks.serving.peers.{name}"]
    return Side(name, lambda port: [*command, str(port)], environment, configuration=configuration)


def floor(canned: Path) -> Side:
    """FastAPI that parses and sends a canned answer."""
    return module("floor", sys.executable, {CANNED: str(canned)}, "uvicorn, uvloop, httptools, no access log")


def can_answers(server: Server, bodies: Mapping[int, Body], directory: Path) -> Path:
    """A directory with an answer of the server for each k, for the floor to send."""
    directory.mkdir(exist_ok=True)
    for k, body in bodies.items():
        status, content = post(server.port, json.dumps(body).encode())
        if status != 200:
            raise BenchmarkError(f"{server.side.name} answered {status}: {content[:300]!r}")
        (directory / f"{k}.json").write_bytes(content)
    return directory


def peer_environment(stage: Stage, bundles: Path) -> dict[str, str]:
    """Variables that tell a peer what to serve."""
    return {BUNDLES: str(bundles), DEVICE: stage.device}


def check_agreement(servers: Sequence[Server], bodies: Sequence[Body]) -> None:
    """Raise BenchmarkError unless all answer with the same items and scores."""
    for body in bodies[:: max(1, len(bodies) // _CHECKED)]:
        expected = servers[0].ask(body)["items"]
        for server in servers[1:]:
            _check_items(server, expected, server.ask(body)["items"])


def _check_items(server: Server, expected: list[Any], found: list[Any]) -> None:
    if len(found) != len(expected):
        raise BenchmarkError(f"{server.side.name} answers with {len(found)} items, not {len(expected)}")
    for one, other in zip(found, expected, strict=True):
        apart = abs(one["score"] - other["score"])
        if apart > (_TOLERANCE if one["item_id"] == other["item_id"] else _TIE):
            raise BenchmarkError(
                f"{server.side.name} answers with {one['item_id']} ({one['score']:g}) instead of"
                f" {other['item_id']} ({other['score']:g}): the sides are not comparable"
            )
