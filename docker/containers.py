"""Proves on a real engine what docs/operations.md says of the containers; `make containers` runs it.

    containers.py

It builds the image, brings Compose up from nothing, asks, kills Redis, stops the service, takes all down and
up again, and prints what was seen of each promise; at the first that is broken it exits with 1. Project,
image, volumes and port are its own and gone in the end. It takes some minutes, most of them training. Needs
Docker with Compose, and nothing but Python.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ready import is_ready

MAX_IMAGE_MB = 1300
"""Megabytes that the image may add to its base."""

REPOSITORY = Path(__file__).parents[1]
_USER = "196"  # of MovieLens-100K
_NEWCOMER = "proof"
_IN_FLIGHT = 8
_BY_SIGTERM = "143"  # uvicorn finishes, then lets the signal have its way; 137 would be Docker's patience
_PAUSE_S = 0.5
_SOON_S = 120.0


class BrokenPromiseError(Exception):
    """What was seen in place of what is promised."""


class Stack:
    """A Compose project of its own: this repository's Compose file under another name and port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.name = f"dimerec-proof-{self.port}"
        own = {"IMAGE": self.name, "PORT": str(self.port)}
        # Empty wins over a .env that lies here, and then the default of the Compose file holds.
        self._environment = os.environ | own | {"DIMEREC_LIST_USERS": ""}
        self._made: str | None = None
        self._compose = ("compose", "--project-name", self.name, "--file", "docker-compose.yml")

    def docker(self, *arguments: str) -> str:
        """What a `docker` command prints; raises BrokenPromiseError with its last words when it fails."""
        done = subprocess.run(
            ["docker", *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
            raise BrokenPromiseError(f"`docker {' '.join(arguments)}` failed: {' / '.join(last)}")
        return done.stdout.strip()

    def compose(self, *arguments: str) -> str:
        """What a `docker compose` command of this project prints."""
        return self.docker(*self._compose, *arguments)

    def state(self, service: str, field: str) -> str:
        """A field of what the engine knows of a service's container, as `State.ExitCode`."""
        container = self.compose("ps", "--all", "--quiet", service)
        return self.docker("inspect", "--format", f"{{{{.{field}}}}}", container)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of an answer; raises OSError or HTTPException where there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json", "x-api-key": self.key()}
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def status(self, method: str, path: str, key: str) -> int:
        """The status of an answer to a caller with that key."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={"x-api-key": key})
            return connection.getresponse().status
        finally:
            connection.close()

    def key(self) -> str:
        """The key that the first start made."""
        if self._made is None:
            self._made = self.compose("exec", "-T", "service", "cat", "/data/keys/compose.key")
        return self._made

    def recommend(self, user: str = _USER) -> dict[str, Any]:
        """The answer for a user; anything but 200 breaks a promise."""
        status, answer = self.ask("POST", "/recommend", {"user_id": user, "k": 10})
        _expect(status == 200 and len(answer["items"]) == 10, f"/recommend answered {status}: {answer}")
        return dict(answer)

    def up(self) -> None:
        """`docker compose up --detach`, then wait for the image's own health check."""
        self.compose("up", "--detach")
        _wait(lambda: self.state("service", "State.Health.Status") == "healthy", "a healthy service")
        _expect(self.state("service", "RestartCount") == "0", "the service was restarted on its way")

    def remove(self) -> None:
        """Leave nothing of it."""
        self.compose("--profile", "monitoring", "down", "--volumes", "--remove-orphans", "--timeout", "0")
        if self.docker("images", "--quiet", self.name):
            self.docker("rmi", self.name)


def builds(stack: Stack) -> str:
    """The image is built, and small."""
    (base,) = re.findall(r"^ARG BASE=(\S+)", (REPOSITORY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    if not stack.docker("images", "--quiet", base):
        stack.docker("pull", "--quiet", base)
    stack.compose("build", "--quiet", "service")
    whole, below = (
        int(stack.docker("image", "inspect", "--format", "{{.Size}}", image)) for image in (stack.name, base)
    )
    added = (whole - below) / 1e6
    _expect(added <= MAX_IMAGE_MB, f"{added:,.0f} MB over its base, at most {MAX_IMAGE_MB:,} are wanted")
    return f"{added:,.0f} MB over its base"


def comes_up(stack: Stack) -> str:
    """`docker compose up` from nothing ends with a healthy service."""
    stack.up()
    status, version = stack.ask("GET", "/version")
    _expect(status == 200, f"/version answered {status}: {version}")
    return f"healthy, never restarted, bundle {version['model_version']}"


def answers(stack: Stack) -> str:
    """Answers are personal from the first on."""
    answer = stack.recommend()
    _expect(answer["source"] == "personal" and answer["degraded"] is None, f"not personal: {answer}")
    return ", ".join(item["title"] for item in answer["items"][:2])


def lists_users(stack: Stack) -> str:
    """The console's picker has users, with histories."""
    status, listed = stack.ask("GET", "/users?limit=1000")
    _expect(status == 200 and _USER in listed["users"], f"/users answered {status}: {str(listed)[:200]}")
    return f"{len(listed['users'])} users"


def is_watched(stack: Stack) -> str:
    """Prometheus, whoever it runs as there, gets a key that reads the metrics and nothing else."""
    stack.compose("--profile", "monitoring", "run", "--rm", "-T", "monitoring-keys")
    look = (
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "--user",
        "65534:65534",
        "--entrypoint",
        "cat",
        "monitoring-keys",
    )
    key = stack.compose("--profile", "monitoring", *look, "/data/monitoring/prometheus.key")
    allowed, refused = (stack.status("GET", path, key) for path in ("/metrics", "/version"))
    _expect((allowed, refused) == (200, 403), f"/metrics answered {allowed}, /version {refused}")
    return "/metrics 200, /version 403"


def is_confined(stack: Stack) -> str:
    """No container has root or a capability, or can get one, or can write its system."""
    look = "grep -hE '^(Uid|Cap|NoNewPrivs)' /proc/1/status /proc/self/status; grep ' / ' /proc/mounts"
    users = set()
    for service in ("service", "redis", "train"):
        one_shot = ("run", "--rm", "--no-deps", "--entrypoint", "sh", "-T", service)
        seen = stack.compose(*(one_shot if service == "train" else ("exec", "-T", service, "sh")), "-c", look)
        *status, mount = seen.splitlines()
        for name, *values in (line.split() for line in status):
            users.update(values if name == "Uid:" else [])
            harmless = {"Uid:": "0" not in values, "NoNewPrivs:": values == ["1"]}
            _expect(harmless.get(name, int(values[0], 16) == 0), f"{service} has {name} {' '.join(values)}")
        _expect(mount.split()[3].split(",")[0] == "ro", f"{service} can write its system: {mount}")
    return f"user ids {', '.join(sorted(users))}; no capability; read-only"


def outlives_redis(stack: Stack) -> str:
    """Without Redis answers are degraded and never fail; with it again all is as before."""
    event = {"user_id": _NEWCOMER, "item_id": "50", "timestamp": int(time.time() * 1000)}
    _expect(stack.ask("POST", "/events", event)[0] < 300, "an event was not taken")
    stack.compose("kill", "redis")
    answer = stack.recommend()
    _expect(answer["degraded"] == "history_unavailable", f"degraded is {answer['degraded']}")
    refused = stack.ask("POST", "/events", event)[0]
    _expect(refused == 503, f"/events answered {refused} without Redis")
    stack.compose("start", "redis")
    _wait(lambda: stack.recommend()["degraded"] is None, "an answer that is not degraded")
    answers(stack)
    _has_the_event(stack)
    return f"degraded: {answer['degraded']}, then personal"


def finishes(stack: Stack) -> str:
    """A stop answers the requests that are in flight, and takes no new ones."""
    body = json.dumps({"user_id": _USER, "k": 10}).encode()
    requests = [_begun(stack, body) for _ in range(_IN_FLIGHT)]
    stopping = threading.Thread(target=stack.compose, args=("stop", "service"))
    stopping.start()
    _wait(lambda: not is_ready(stack.port), "a service that takes no more requests")
    for request in requests:
        request.sendall(body)
    answered = [_status(request) for request in requests]
    stopping.join()
    code = stack.state("service", "State.ExitCode")
    _expect(answered == [200] * _IN_FLIGHT, f"requests in flight were answered {answered}")
    _expect(code in ("0", _BY_SIGTERM), f"the service ended with exit code {code}")
    return f"{_IN_FLIGHT} of {_IN_FLIGHT} answered 200"


def keeps(stack: Stack) -> str:
    """`down` and `up` keep bundle and histories, and train nothing."""
    stack.compose("start", "service")
    _wait(lambda: is_ready(stack.port), "a service that is ready")
    before = stack.recommend()["model_version"]
    stack.compose("down")
    began = time.monotonic()
    stack.up()
    took = time.monotonic() - began
    after = stack.recommend()["model_version"]
    _expect(after == before, f"bundle {after} is served, it was {before}")
    answers(stack)
    _has_the_event(stack)
    return f"same bundle, same histories, up in {took:.0f} s"


PROMISES: tuple[Callable[[Stack], str], ...] = (
    builds,
    comes_up,
    answers,
    lists_users,
    is_watched,
    is_confined,
    outlives_redis,
    finishes,
    keeps,
)


def _has_the_event(stack: Stack) -> None:
    _, history = stack.ask("GET", f"/users/{_NEWCOMER}/history")
    found = [event["item_id"] for event in history.get("events", [])]
    _expect(found == ["50"], f"the history that was written is now {found}")


def _begun(stack: Stack, body: bytes) -> socket.socket:
    """A connection on which the service waits for the body of a request."""
    connection = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
    head = (
        "POST /recommend HTTP/1.1\r\nhost: proof\r\ncontent-type: application/json\r\n"
        f"x-api-key: {stack.key()}\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n"
        "x-deadline-ms: 60000\r\n\r\n"  # the engine may take long to stop a container
    )
    connection.sendall(head.encode())
    _expect(connection.recv(1000).startswith(b"HTTP/1.1 100 "), "the service does not read a request's body")
    return connection


def _status(connection: socket.socket) -> int:
    """The status of the answer on a connection, 0 where it was closed without one."""
    with connection:
        line = connection.recv(1000).split(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 else 0


def _wait(is_so: Callable[[], bool], for_what: str) -> None:
    deadline = time.monotonic() + _SOON_S
    while not is_so():
        _expect(time.monotonic() < deadline, f"waited {_SOON_S:.0f} s for {for_what}")
        time.sleep(_PAUSE_S)


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise BrokenPromiseError(otherwise)


def main() -> int:
    """Try every promise in turn; returns the exit code."""
    stack = Stack()
    try:
        stack.docker("info")
        stack.docker("compose", "version")
    except (BrokenPromiseError, OSError) as error:
        print(f"containers: no container engine with Compose answers: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a cancelled run leaves nothing, too
    try:
        for promise in PROMISES:
            _try(promise, stack)
    except (BrokenPromiseError, OSError, HTTPException) as error:
        last = stack.compose("logs", "--no-color", "--tail", "10")
        print(f"BROKEN: {error}\n{last}", file=sys.stderr)
        return 1
    finally:
        stack.remove()
    return 0


def _try(promise: Callable[[Stack], str], stack: Stack) -> None:
    began = time.monotonic()
    print(promise.__doc__, flush=True)
    seen = promise(stack)
    print(f"    {seen} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
