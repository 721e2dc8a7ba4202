"""Calls that change the catalogue of a service, and the time until they show."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from random import Random
from typing import Any

from benchmarks.serving.processes import BenchmarkError
from benchmarks.serving.sides import Server

_LIKE = 2
"""Items that the vector of a new one is the mean of."""
_POSTED = 1_000
"""Items of one `POST /items`: the most there may be."""
_TOGETHER = 64
"""Removals on their way at once."""
_POLL_S = 0.002
_LOST_S = 10.0
"""A guard: a change that was not seen by then is taken for lost."""


class Calls:
    """A connection to a service, with a key."""

    def __init__(self, server: Server, key: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def status(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        """The status of the answer to one call."""
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, self._headers)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def do(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """One call; raises BenchmarkError where it is refused."""
        status = self.status(method, path, body)
        if status != 200:
            raise BenchmarkError(f"{method} {path} was answered {status}")


def new_item(item_id: str, known: Sequence[str], generator: Random) -> dict[str, Any]:
    """An item like some of the `known` ones."""
    return {"item_id": item_id, "title": item_id, "from": {"like": generator.sample(known, _LIKE)}}


def change_many(server: Server, key: str, known: Sequence[str], added: int, removed: int) -> None:
    """Put `added` new items, and remove so many of the `known` ones."""
    generator = Random(added)
    calls = Calls(server, key)
    items = [new_item(f"added-{number}", known, generator) for number in range(added)]
    for some in range(0, added, _POSTED):
        calls.do("POST", "/items", {"items": items[some : some + _POSTED]})
    gone = generator.sample(known, removed)
    with ThreadPoolExecutor(_TOGETHER) as pool:
        list(
            pool.map(lambda part: _remove(server, key, part), (gone[n::_TOGETHER] for n in range(_TOGETHER)))
        )


def _remove(server: Server, key: str, item_ids: Sequence[str]) -> None:
    calls = Calls(server, key)
    for item_id in item_ids:
        calls.do("DELETE", f"/items/{item_id}")


def until_found(put: Calls, asked: Calls, items: Sequence[Mapping[str, Any]]) -> list[float]:
    """Milliseconds from each item's `PUT` to one service until another finds what is similar to it."""
    took = []
    for item in items:
        fields = {name: value for name, value in item.items() if name != "item_id"}
        began = time.perf_counter()
        put.do("PUT", f"/items/{item['item_id']}", fields)
        while asked.status("GET", f"/items/{item['item_id']}/similar?k=1") != 200:
            if time.perf_counter() - began > _LOST_S:
                raise BenchmarkError(f"{item['item_id']} was put and not found for {_LOST_S:.0f} s")
            time.sleep(_POLL_S)
        took.append(1000 * (time.perf_counter() - began))
    return took
