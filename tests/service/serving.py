"""A real server on a real socket for the tests: uvicorn in a thread, as `dimerec serve` sets it up."""

import atexit
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from service.access.keys import digest
from service.access.roles import Role
from service.app import create_app
from service.dependencies import Service
from service.history.protocol import HistoryStore
from service.server import Server
from service.settings import Settings

KEY = "dimerec_7f1c2a9e55d04b6d8a3e91"
"""A key with all roles, known to every server of the tests as `everything`."""

AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Running:
    """A server that answers at `url`, and a client for it."""

    url: str
    port: int
    app: FastAPI
    client: httpx.Client

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    def recommend(self, **fields: object) -> httpx.Response:
        return self.client.post("/recommend", json=fields)

    def answer(self, **fields: object) -> dict[str, Any]:
        response = self.recommend(**fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def watch(self, user_id: str, *item_ids: str) -> None:
        now = int(time.time() * 1000)
        events = [
            {"user_id": user_id, "item_id": item_id, "timestamp": now + place}
            for place, item_id in enumerate(item_ids)
        ]
        response = self.client.post("/events", json={"events": events})
        assert response.status_code == 200, response.text

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample, 0 when it was never counted."""
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


def settings_for(bundle_root: Path, **fields: object) -> Settings:
    """Settings that nothing around the tests can change, patient with a Redis on a busy machine."""
    chosen = {
        "bundles": bundle_root,
        "history_timeout_s": 10.0,
        "default_deadline_ms": 30_000,
        "keys_file": keys_file(),
        "compute_threads": 1,
        "trending_half_life_s": 0,  # tests share servers, and one's events are no other's answers
        **fields,
    }
    return Settings(_env_file=None, **chosen)  # type: ignore[arg-type]


@cache
def keys_file() -> Path:
    """A file with KEY alone, for all servers of a test run."""
    path = Path(mkdtemp(prefix="dimerec-tests-")) / "keys.json"
    atexit.register(rmtree, path.parent)
    write_keys(path, everything=(KEY, *Role))
    return path


def write_keys(path: Path, **keys: tuple[str, *tuple[str, ...]]) -> None:
    """Write a file of keys, given by name as the key and its roles."""
    written = [
        {"name": name, "roles": roles, "sha256": digest(key), "created": "2026-01-01T00:00:00Z"}
        for name, (key, *roles) in keys.items()
    ]
    path.write_text(json.dumps({"format_version": 1, "keys": written}))


class _Server(Server):
    """The service's own, but for the garbage of a process in which it is not alone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await uvicorn.Server.startup(self, sockets)


@contextmanager
def running(settings: Settings, history: HistoryStore | None = None) -> Iterator[Running]:
    app = create_app(settings, history=history)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        server = _Server(app, settings)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url, timeout=30) as client:
                assert client.get("/health/live").status_code == 200
                yield Running(url, port, app, client)
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()
