"""Many changes at once are made in few views: in each, nothing is answered for a moment."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from engine.changes import Change
from engine.engine import Engine
from service.catalogue import changes
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.serving import AUTHORIZED

PUTS, FEW = 60, 4
"""One view at the start and one at the end of a wait, and two more for what came late on a busy machine."""
ROOM = 10


def test_changes_that_come_soon_after_a_view_are_made_together(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "VIEW_EVERY_S", 2.0)
    publish_tiny_bundle(tmp_path, seed=1)
    server = serve(bundles=tmp_path)
    views = []
    change = Engine.change

    def noted(engine: Engine, made: Mapping[str, Change]) -> Mapping[str, str]:
        views.append(len(made))
        return change(engine, made)

    monkeypatch.setattr(Engine, "change", noted)

    def put(number: int) -> httpx.Response:
        body = {"from": {"like": ["1001"]}}
        return server.client.put(f"/items/v{number}", headers=AUTHORIZED, json=body)

    assert put(0).status_code == 200
    with ThreadPoolExecutor(PUTS) as pool:
        answers = list(pool.map(put, range(1, PUTS)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(views) == PUTS
    assert len(views) <= FEW


def test_a_burst_beyond_the_room_is_refused_exactly(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "VIEW_EVERY_S", 1.0)  # so that most wait together
    publish_tiny_bundle(tmp_path, seed=1)
    server = serve(bundles=tmp_path)
    monkeypatch.setattr(server.service.changes.room, "max_items", ROOM)

    def ask(method: str, path: str, body: object = None) -> httpx.Response:
        return server.client.request(method, f"/items{path}", headers=AUTHORIZED, json=body)

    def put(number: int) -> int:
        return ask("PUT", f"/v{number}", {"from": {"like": ["1001"]}}).status_code

    def put_many(first: int) -> list[int]:
        items = [{"item_id": f"m{first + number}", "from": {"like": ["1001"]}} for number in range(5)]
        return [one.get("status", 200) for one in ask("POST", "", {"items": items}).json()["items"]]

    assert put(0) == 200
    with ThreadPoolExecutor(PUTS) as pool:
        known = [pool.submit(put, 0) for _ in range(5)]
        new = [pool.submit(put, number) for number in range(1, 31)]
        many = [pool.submit(put_many, first) for first in range(0, 25, 5)]
    statuses = [one.result() for one in new] + [status for one in many for status in one.result()]
    assert [one.result() for one in known] == [200] * 5
    assert (statuses.count(200), statuses.count(409)) == (ROOM - 1, len(statuses) - ROOM + 1)
    assert len(listed(ask)) == ROOM

    with ThreadPoolExecutor(PUTS) as pool:  # whoever comes first: what is removed makes room for as many
        removed = [pool.submit(ask, "DELETE", f"/{item_id}") for item_id in listed(ask)[:3]]
        new = [pool.submit(put, number) for number in range(100, 120)]
    assert {one.result().status_code for one in removed} == {200}
    came = [one.result() for one in new].count(200)
    assert came <= 3
    assert [put(number) for number in range(200, 210)].count(200) == 3 - came
    assert len(listed(ask)) == ROOM


def listed(ask: Callable[..., httpx.Response]) -> list[str]:
    """The ids of what is new or changed."""
    return [item["item_id"] for item in ask("GET", "?source=overlay").json()["items"]]
