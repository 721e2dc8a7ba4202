"""Histories that are read while a bundle is swapped and an item removed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, running, settings_for


class GatedHistory(InProcessHistory):
    """A store whose single reads end once the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = threading.Event(), threading.Event()

    async def read(self, user_id: str, limit: int) -> list[Event]:
        found = await super().read(user_id, limit)
        self.begun.set()
        await asyncio.to_thread(self.gate.wait, 30)
        return found


def test_what_is_removed_meanwhile_is_shown_without_its_title(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path)
    store = GatedHistory()

    with running(settings_for(tmp_path), store) as server, ThreadPoolExecutor() as callers:
        server.watch("somebody", "1003", "1004")
        reading = callers.submit(server.client.get, "/users/somebody/history")
        assert store.begun.wait(20)
        publish_tiny_bundle(tmp_path, seed=1)
        assert server.client.post("/admin/reload", headers=AUTHORIZED).is_success
        assert server.client.delete("/items/1003", headers=AUTHORIZED).is_success
        store.gate.set()
        events = reading.result().json()["events"]
    assert [(event["title"], event["removed"]) for event in events] == [(None, True), ("Video 4", False)]
