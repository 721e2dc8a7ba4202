"""Many changes at once are made in few views: in each, nothing is answered for a moment."""

from collections.abc import Mapping
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
