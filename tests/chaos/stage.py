"""The stage: a real service, a real Redis, the proxy between them, and two bundles."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
import msgspec
import psutil
import redis
import uvloop

from benchmarks.serving.bodies import stored_bodies
from bundle.write import set_current
from tests.chaos.child import Child
from tests.chaos.load import EVENT_EVERY, Plan, Report
from tests.factories import make_catalogue, publish_tiny_bundle
from tests.redis_server import RedisServer, free_port
from tests.service.processes import command, environment, until
from tests.service.serving import AUTHORIZED, keys_file

USERS = 200
EVENTS_EACH = 30
HISTORY_TIMEOUT_S = 0.25
DEADLINE_MS = 1000
"""The service's defaults, both."""
HALF = 0.5
"""Of what the service can do at most: the load beside a fault."""
_CALLERS = 32
"""Connections that ask without a pause, to find out what that is: as many as a batch has room for."""
_WARM_S, _SATURATED_S = 5.0, 8.0
"""Chosen: until caches are filled and code has run; some thousand answers."""
_SWAPS = 6
"""To each bundle, until memory stays: measured, see docs/reliability.md."""
SIZES = ((2000, 64), (1500, 32))
"""Items and dim of the bundles: the second has another catalogue and another dimension."""

Result = TypeVar("Result")


class Stage:
    """All that a fault may reach; made by `staged`."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        self.workers = workers
        self.root = directory / "bundles"
        self.findings: list[str] = []
        """What a fault saw that must not be, in words."""
        self.remarks: list[str] = []
        """What it saw besides."""
        self.saturated = 0.0
        """Recommendations a second at most, once `saturate` found out, with an event to nine of them."""
        self.usual_bytes = self.warm_bytes = 0
        """Of memory, once warm: for most faults, and for the one at hand."""
        self.crowd: list[asyncio.Task[None]] = []
        """Clients that a fault brought."""
        self.beside = ExitStack()
        """Other servers that a fault brought; it ends them, and where it fails `close` does."""
        self.port = free_port()
        self.redis = RedisServer(durable=True)
        self.catalogues: dict[str, dict[str, list[str]]] = {}
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._children: list[Child] = []
        self._service: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the service's first process."""
        assert self._service is not None
        return self._service.pid

    def forget_notes(self) -> None:
        """Forget what the fault before has seen, and the memory that was usual for it."""
        self.findings, self.remarks = [], []
        self.warm_bytes = self.usual_bytes

    def start(self) -> None:
        """Bring everything up, with histories of `USERS` users."""
        self._thread.start()
        self.redis.start()
        self.proxy, self._loader = map(self._child, ("proxy", "load"))
        self._redis_port = self.proxy.do("start", upstream_port=self.redis.port)
        self.versions = [self.publish(items, dim) for items, dim in reversed(SIZES)][::-1]
        self.serve()
        self.seed()

    def publish(self, items: int, dim: int, hidden: int = 256) -> str:
        """Publish a bundle, make it CURRENT, and remember its catalogue."""
        version = publish_tiny_bundle(
            self.root, items=items, dim=dim, seed=dim, hidden=hidden, max_length=50, timesteps=16
        )
        catalogue = make_catalogue(items, dim)
        self.catalogues[version] = {
            item: list(names) for item, names in zip(catalogue.item_ids, catalogue.categories, strict=True)
        }
        return version

    def serve(self, **variables: str) -> None:
        """Start the service with further variables of its environment, and wait until it is ready."""
        kept = {
            "DIMEREC_KEYS_FILE": str(keys_file()),
            "DIMEREC_REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "TMPDIR": str(self.directory),
        }
        options = ("--port", self.port, "--bundles", self.root, "--workers", self.workers)
        with (self.directory / "service.log").open("ab") as log:
            self._service = subprocess.Popen(
                command(*options),
                cwd=self.directory,
                env=environment() | kept | variables,
                stderr=log,
                start_new_session=True,
            )
        until(self.ready)

    def ready(self) -> bool:
        """True where the service says so."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the service a signal, wait for its end, and return its exit status."""
        assert self._service is not None
        self._service.send_signal(number)
        try:
            return self._service.wait(45)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._service.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Start the service anew, with no further variables."""
        self.end()
        self.serve()

    def close(self) -> None:
        """End everything."""
        with self.beside:
            if self._service is not None and self._service.poll() is None:
                self.redis.resume()
                self.end()
        for child in self._children:
            child.close()
        self.redis.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine in the stage's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def seed(self) -> None:
        """Send the histories of all users."""
        random, items = Random(0), list(self.catalogues[self.versions[0]])
        now = int(time.time() * 1000) - 86_400_000
        for first in range(0, USERS, 20):
            events = [
                {"user_id": f"u{user}", "item_id": random.choice(items), "timestamp": now + step}
                for user in range(first, first + 20)
                for step in range(EVENTS_EACH)
            ]
            until(partial(self._accepted, {"events": events}))

    def _accepted(self, body: Mapping[str, Any]) -> bool:
        """True where the events were taken, false where the service asks to come back."""
        sent = httpx.post(f"{self.url}/events", json=body, timeout=30)
        if sent.status_code != 503:
            sent.raise_for_status()
        return sent.status_code == 200

    def saturate(self) -> None:
        """Find out how many recommendations a second it answers at most, once it is warm."""
        for seconds in (_WARM_S, _SATURATED_S):
            self._begin(Plan(name="saturating", rate=0.0, connections=_CALLERS, **self._asking()))
            time.sleep(seconds)
            answers = self.end_load().answers
        good = [one for one in answers if one.kind == "recommend" and one.outcome == "ok"]
        self.saturated = len(good) / seconds
        self.usual_bytes = self.memory()

    def serve_both(self) -> None:
        """Warm up with both bundles in turn: memory grows with the first swaps, then stays."""
        self._begin(Plan(name="both", rate=0.0, connections=_CALLERS, **self._asking()))
        for turn in range(2 * _SWAPS):
            set_current(self.root, self.versions[(turn + 1) % 2])
            self.admin("reload").raise_for_status()
            time.sleep(1.0)
        self.end_load()
        self.warm_bytes = self.memory()

    def begin_load(self, name: str, part: float = HALF) -> float:
        """Begin to ask for so much of what the service can do at most; returns requests a second."""
        rate = self._rate_of(part)
        self._begin(Plan(name=name, rate=rate, **self._asking()))
        return rate

    def change_load(self, part: float) -> None:
        """From now on ask for so much of what it can do at most."""
        self._loader.do("rate", rate=self._rate_of(part))

    def end_load(self) -> Report:
        """Stop asking, and return what became of all requests."""
        path = self.directory / "report"
        self._loader.do("finish", report=str(path))
        return Report.read(path)

    def lost(self, report: Report) -> list[tuple[str, int]]:
        """Acknowledged events that are not in the users' histories."""
        kept: set[tuple[str, int]] = set()
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for user in sorted({user for user, _ in report.acknowledged}):
                until(partial(_kept, client, user, kept))
        return sorted(report.acknowledged.keys() - kept)

    def admin(self, action: str) -> httpx.Response:
        """What `POST /admin/…` answers."""
        return httpx.post(f"{self.url}/admin/{action}", headers=AUTHORIZED, timeout=60)

    def first_bundle(self) -> None:
        """Serve the first bundle again."""
        set_current(self.root, self.versions[0])
        self.admin("reload").raise_for_status()

    def ask_redis(self, *words: object, password: str | None = None) -> None:
        """Send Redis one command, past the proxy."""
        with redis.Redis(port=self.redis.port, password=password) as client:
            client.execute_command(*words)

    def processes(self) -> list[psutil.Process]:
        """The service's processes; empty where it has ended."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        return []

    def memory(self) -> int:
        """Bytes of memory of all processes of the service."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _child(self, module: str) -> Child:
        child = Child(f"tests.chaos.{module}", self.loop)
        self._children.append(child)
        return child

    def _begin(self, plan: Plan) -> None:
        path = self.directory / "plan.json"
        path.write_bytes(msgspec.json.encode(plan))
        self._loader.do("start", plan=str(path))

    def _rate_of(self, part: float) -> float:
        return part * self.saturated * EVENT_EVERY / (EVENT_EVERY - 1)

    def _asking(self) -> dict[str, Any]:
        bodies = stored_bodies([f"u{user}" for user in range(USERS)], 10)
        return {
            "port": self.port,
            "bodies": [json.dumps(body, separators=(",", ":")) for body in bodies],
            "items": list(self.catalogues[self.versions[0]]),
            "catalogues": self.catalogues,
        }


def _kept(client: httpx.Client, user: str, kept: set[tuple[str, int]]) -> bool:
    """Add the user's events to `kept`; false where the service asks to come back."""
    answer = client.get(f"/users/{user}/history", params={"limit": 1000})
    if answer.status_code == 503:
        return False
    kept |= {(user, event["timestamp"]) for event in answer.raise_for_status().json()["events"]}
    return True


@contextmanager
def staged(directory: Path, workers: int) -> Iterator[Stage]:
    """A stage that is up, and ended with the block."""
    stage = Stage(directory, workers)
    try:
        stage.start()
        yield stage
    finally:
        stage.close()
