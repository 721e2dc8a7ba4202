"""An engine that waits for the test."""

import threading
import time
from collections.abc import Callable, Sequence

from engine.contract import EngineAnswer, EngineRequest, ScoredItem
from engine.engine import Engine
from index.filters import Filter


class GatedEngine(Engine):
    """An engine that starts computing only once the test opens its gate."""

    gate = threading.Event()

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        assert self.gate.wait(30)
        return super().recommend(requests)

    def similar(self, item_id: str, k: int, where: Filter | None = None) -> list[ScoredItem] | None:
        assert self.gate.wait(30)
        return super().similar(item_id, k, where)


class HeldEngine(GatedEngine):
    """An engine that computes, and hands its lists out only once the test opens the gate."""

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        answers = Engine.recommend(self, requests)
        assert GatedEngine.gate.wait(30)
        return answers

    def similar(self, item_id: str, k: int, where: Filter | None = None) -> list[ScoredItem] | None:
        return Engine.similar(self, item_id, k, where)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)
