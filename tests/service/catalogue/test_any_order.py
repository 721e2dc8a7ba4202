"""Changes, reloads, rollbacks, kills and an emptied Redis in any order: nothing is lost, nothing returns, and
both replicas serve what was ordered last.
"""

import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bundle.read import current_version
from tests.effort import examples
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.processes import Process, process, until
from tests.service.serving import AUTHORIZED, keys_file

BASE = [str(1001 + number) for number in range(200)]
NAMES = ("first", "second")
replicas = st.sampled_from(NAMES)
waits = st.sampled_from([{}, {"wait": "all"}])
item_ids = st.sampled_from([*BASE[:6], "new/1", "new 2", "n3", "n4"])


class TwoReplicas(RuleBasedStateMachine):
    """Two processes with a directory each and one Redis, beside a dictionary that says what must be so."""

    @initialize()
    def begin(self) -> None:
        self._open = ExitStack()
        self._root = Path(self._open.enter_context(TemporaryDirectory(prefix="dimerec-any-order-")))
        self._redis = RedisServer().start()
        self._open.callback(self._redis.close)
        self._redis_is_there = True
        self._forgot_orders: set[str] = set()
        self._titles: dict[str, str] = {}
        self._removed: set[str] = set()
        self._unknown: dict[str, str] = {}
        self._processes: dict[str, tuple[ExitStack, Process]] = {}
        self._version = publish_tiny_bundle(self._root / "first")
        copytree(self._root / "first", self._root / "second")
        self._versions = [self._version]
        self._current = dict.fromkeys(NAMES, self._version)
        for name in NAMES:
            self._start(name)

    @rule(name=replicas, item_id=item_ids, like=st.booleans(), title=st.sampled_from("ABC"), how=waits)
    def put(self, name: str, item_id: str, like: bool, title: str, how: dict[str, str]) -> None:
        body = {"title": title, "categories": ["Comedy"]} | ({"from": {"like": [BASE[50]]}} if like else {})
        response = self._call(name, "PUT", item_id, json=body, params=how)
        if not self._redis_is_there:
            assert response.status_code == 503
            return
        assert response.status_code == 200, response.text
        self._is_put(item_id, title)
        for one in _where_it_counts(name, response):
            assert self._source(one, item_id) == (title, False)

    @rule(name=replicas, item_id=item_ids, how=waits)
    def remove(self, name: str, item_id: str, how: dict[str, str]) -> None:
        response = self._call(name, "DELETE", item_id, params=how)
        assert response.status_code == (200 if self._redis_is_there else 202), response.text
        self._is_removed(item_id)
        for one in _where_it_counts(name, response):
            assert self._source(one, item_id) == (None, True)
            assert item_id not in self._recommended(one)

    @rule(name=replicas)
    def kill(self, name: str) -> None:
        self._stop(name)
        self._start(name)
        if self._redis_is_there:
            until(self._all_serve)
        else:
            self._forgot_orders.add(name)

    @precondition(lambda self: self._redis_is_there)
    @rule(name=replicas, item_id=item_ids, after_ms=st.integers(0, 12), put=st.booleans())
    def kill_while_it_changes(self, name: str, item_id: str, after_ms: int, put: bool) -> None:
        """Its answer may be lost; what it answered holds."""
        answers: list[int] = []

        def change() -> None:
            body = {"json": {"title": "K", "categories": ["Comedy"]}} if put else {}
            with suppress(httpx.TransportError):
                answers.append(self._call(name, "PUT" if put else "DELETE", item_id, **body).status_code)

        caller = threading.Thread(target=change)
        caller.start()
        time.sleep(after_ms / 1000)
        self._stop(name)
        caller.join()
        self._start(name)
        if answers not in ([200], [202]):
            self._unknown[item_id] = "put" if put else "remove"
        elif put:
            self._is_put(item_id, "K")
        else:
            self._is_removed(item_id)

    @precondition(lambda self: self._redis_is_there and len(self._versions) < 4)  # they take time
    @rule(name=replicas)
    def publish_and_reload(self, name: str) -> None:
        """Only one root's CURRENT comes to name the new bundle."""
        new = publish_tiny_bundle(self._root / name, seed=len(self._versions))
        copytree(self._root / name / new, self._root / _other(name) / new)
        self._versions.append(new)
        self._current[name] = new
        self.reload(name)

    @precondition(lambda self: self._redis_is_there)
    @rule(name=replicas)
    def reload(self, name: str) -> None:
        self._version = self._current[name]
        assert self._admin(name, "reload") in (200, 202)
        until(self._all_serve)

    @precondition(lambda self: self._redis_is_there)
    @rule(name=replicas)
    def roll_back(self, name: str) -> None:
        """A root's CURRENT goes back where it was asked, or named what is taken back."""
        older = [version for version in self._versions if version < self._version]
        if not older:
            assert self._admin(name, "rollback") == 409
            return
        for one in NAMES:
            if one == name or self._current[one] == self._version:
                self._current[one] = older[-1]
        self._version = older[-1]
        assert self._admin(name, "rollback") in (200, 202)
        until(self._all_serve)

    @precondition(lambda self: self._redis_is_there)
    @rule()
    def redis_goes(self) -> None:
        self._settle()  # what only Redis had is Redis's to keep
        self._redis.stop()
        self._redis_is_there = False

    @precondition(lambda self: not self._redis_is_there)
    @rule()
    def redis_returns_with_nothing(self) -> None:
        self._redis.start()
        self._redis_is_there = True
        for name in NAMES:
            until(partial(self._takes_changes, name))
        self._is_put("probe", None)
        until(lambda: all(len(self._get(name, "version")["processes"] or ()) == 2 for name in NAMES))
        if len(self._forgot_orders) == 2:  # nobody knows what was ordered
            self.reload("first")
        self._forgot_orders.clear()
        until(self._all_serve)

    @precondition(lambda self: self._redis_is_there)
    @rule()
    def settled(self) -> None:
        self._settle()

    def teardown(self) -> None:
        if hasattr(self, "_processes"):
            for name in list(self._processes):
                self._stop(name)
            self._open.close()

    def _settle(self) -> None:
        for item_id, change in self._unknown.items():
            until(partial(self._agree, item_id))
            title, removed = self._source("first", item_id)
            if change == "remove" and removed:
                self._is_removed(item_id)
            elif change == "put" and title == "K":
                self._is_put(item_id, "K")
        self._unknown = {}
        expected: dict[str, tuple[str | None, bool]]
        expected = {name: (title, False) for name, title in self._titles.items()}
        expected |= dict.fromkeys(self._removed, (None, True))
        for name in NAMES:
            until(partial(self._knows, name, expected))
            live = (set(BASE) | set(self._titles)) - self._removed
            assert set(self._recommended(name)) == live
        until(self._all_serve)

    def _all_serve(self) -> bool:
        """True where both serve what was ordered last, and both roots' CURRENT is what it should be."""
        found = {name: current_version(self._root / name) for name in NAMES}
        served = {self._get(name, "version")["model_version"] for name in NAMES}
        return (served, found) == ({self._version}, self._current)

    def _takes_changes(self, name: str) -> bool:
        return self._call(name, "PUT", "probe", json={"categories": ["Drama"]}).status_code == 200

    def _agree(self, item_id: str) -> bool:
        return self._source("first", item_id) == self._source("second", item_id)

    def _knows(self, name: str, expected: dict[str, tuple[str | None, bool]]) -> bool:
        self._found = {item_id: self._source(name, item_id) for item_id in expected}
        return self._found == expected

    def _is_put(self, item_id: str, title: Any) -> None:
        self._unknown.pop(item_id, None)
        self._titles[item_id] = title
        self._removed.discard(item_id)

    def _is_removed(self, item_id: str) -> None:
        self._unknown.pop(item_id, None)
        self._titles.pop(item_id, None)
        self._removed.add(item_id)

    def _start(self, name: str) -> None:
        started = ExitStack()
        one = started.enter_context(
            process(
                self._root,
                "--bundles",
                self._root / name,
                DIMEREC_REDIS_URL=self._redis.url,
                DIMEREC_KEYS_FILE=str(keys_file()),
                DIMEREC_TRENDING_HALF_LIFE_S="0",
            )
        )
        self._processes[name] = started, one

    def _stop(self, name: str) -> None:
        started, one = self._processes.pop(name)
        one.popen.kill()
        started.close()

    def _call(self, name: str, method: str, item_id: str, **options: Any) -> httpx.Response:
        url = f"{self._processes[name][1].url}/items/{quote(item_id, safe='')}"
        return httpx.request(method, url, headers=AUTHORIZED, timeout=30, **options)

    def _admin(self, name: str, operation: str) -> int:
        url = f"{self._processes[name][1].url}/admin/{operation}"
        return httpx.post(url, headers=AUTHORIZED, timeout=30).status_code

    def _get(self, name: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self._processes[name][1].url}/{path}", timeout=30).json()
        return found

    def _source(self, name: str, item_id: str) -> tuple[str | None, bool]:
        """Title of an item, and whether it is removed."""
        response = self._call(name, "GET", item_id)
        if response.status_code == 404:
            return None, False
        found = response.json()
        removed = found["source"] == "removed"
        return None if removed else found["title"], removed

    def _recommended(self, name: str) -> list[str]:
        body = {"history": [BASE[100]], "k": 250, "exclude_seen": False}
        response = httpx.post(f"{self._processes[name][1].url}/recommend", json=body, timeout=30)
        assert response.status_code == 200, response.text
        return [item["item_id"] for item in response.json()["items"]]


def _other(name: str) -> str:
    return NAMES[1 - NAMES.index(name)]


def _where_it_counts(name: str, response: httpx.Response) -> list[str]:
    """The replicas that obey a change, as the answer of this one says: maybe not yet where one was killed."""
    everywhere = response.json()["effective"] == "everywhere"
    return [name, _other(name)] if everywhere else [name]


@pytest.mark.smoke
@pytest.mark.timeout(3600)
def test_in_any_order_nothing_is_lost_and_nothing_returns() -> None:
    run_state_machine_as_test(
        TwoReplicas,
        settings=settings(
            max_examples=examples(1),
            stateful_step_count=20,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
