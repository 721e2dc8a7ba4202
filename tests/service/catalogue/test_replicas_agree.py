"""Two replicas with one Redis against a plain model: changes, swaps and restarts in any order.

Every answer waits for all (`?wait=all`), so that both replicas are looked at right after it.
"""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bundle.read import current_version
from tests.effort import examples
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas
from tests.service.catalogue.test_catalogue_http import call, similar
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, Running, running, settings_for

NAMES = ("first", "second")
ITEMS = ("1005", "1006", "new/1", "new-2")
WHO = st.sampled_from(NAMES)


def _removes(server: Running, **how: str) -> bool:
    """True where an item that is in no bundle can be removed, everywhere if that is waited for."""
    answer = call(server, "DELETE", "unseen", params=how)
    return answer.status_code == 200 and not answer.json()["missing"]


class TwoReplicas(RuleBasedStateMachine):
    """Their answers, and what these should be."""

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        root = Path(self._open.enter_context(TemporaryDirectory()))
        self._redis = RedisServer().start()
        self._open.callback(self._redis.close)
        self._replicas = Replicas(root, self._redis.url, self._open)
        self._stacks: dict[str, ExitStack] = {}
        self._servers: dict[str, Running] = {}
        self._version = current_version(self._replicas.copied("second")) or ""
        self._versions = [self._version]
        self._current = dict.fromkeys(NAMES, self._version)
        self._known = {item_id: item_id.startswith("1") for item_id in ITEMS}
        self._sequence = 0
        for name in NAMES:
            self._start(name)

    def _start(self, name: str) -> None:
        stack = self._stacks[name] = ExitStack()
        chosen = settings_for(self._replicas.directory(name), redis_url=self._redis.url)
        self._servers[name] = stack.enter_context(running(chosen))
        server = self._servers[name]
        until(lambda: len(server.client.get("/version").json()["processes"]) == len(self._servers))

    def _change(self, who: str, method: str, item_id: str, body: object = None) -> None:
        answer = call(self._servers[who], method, item_id, params={"wait": "all"}, json=body)
        assert answer.status_code == 200, answer.text
        self._sequence += 1
        found = answer.json()
        assert (found["sequence"], found["effective"], found["missing"]) == (self._sequence, "everywhere", [])

    @rule(who=WHO, item_id=st.sampled_from(ITEMS))
    def put(self, who: str, item_id: str) -> None:
        self._change(who, "PUT", item_id, {"title": "T", "from": {"like": ["1001"]}})
        self._known[item_id] = True

    @rule(who=WHO, item_id=st.sampled_from(ITEMS))
    def remove(self, who: str, item_id: str) -> None:
        self._change(who, "DELETE", item_id)
        self._known[item_id] = False

    @rule(who=WHO)
    def publish_and_reload(self, who: str) -> None:
        root = self._replicas.directory(who)
        new = publish_tiny_bundle(root, seed=len(self._versions), items=1000)
        for other in NAMES:
            if other != who:
                copytree(root / new, self._replicas.directory(other) / new)
        self._versions.append(new)
        self._current[who] = new
        self.reload(who)

    @rule(who=WHO)
    def reload(self, who: str) -> None:
        answer = self._servers[who].client.post("/admin/reload", headers=AUTHORIZED)
        assert answer.status_code == 200, answer.text
        self._version = self._current[who]
        self._check_swap(answer.json())

    @rule(who=WHO)
    def roll_back(self, who: str) -> None:
        answer = self._servers[who].client.post("/admin/rollback", headers=AUTHORIZED)
        older = [version for version in self._versions if version < self._version]
        if not older:
            assert answer.status_code == 409
            return
        assert answer.status_code == 200, answer.text
        self._current = {
            name: older[-1] if name == who or version == self._version else version
            for name, version in self._current.items()
        }
        self._version = older[-1]
        self._check_swap(answer.json())

    def _check_swap(self, answer: dict[str, list[dict[str, object]]]) -> None:
        found = [(one["model_version"], one["missing"]) for one in answer["processes"]]
        assert found == [(self._version, None)] * len(NAMES)

    @rule(who=WHO)
    def restart(self, who: str) -> None:
        self._stacks[who].close()
        del self._servers[who]
        self._start(who)
        until(lambda: self._servers[who].client.get("/version").json()["model_version"] == self._version)

    @rule()
    def lose_all_of_redis(self) -> None:
        self._redis.stop()
        self._redis.start()
        for server in self._servers.values():
            until(partial(_removes, server))
        until(partial(_removes, self._servers["first"], wait="all"))
        self._sequence = self._servers["first"].service.catalogue.sequence

    @invariant()
    def both_agree(self) -> None:
        for name, server in self._servers.items():
            answer = server.answer(history=["1001"], k=40)
            assert answer["model_version"] == self._version
            assert len(answer["items"]) == 40
            for item_id, known in self._known.items():
                assert (similar(server, item_id, 1) != 404) == known, (name, item_id)
                assert known or item_id not in {item["item_id"] for item in answer["items"]}
            assert current_version(self._replicas.directory(name)) == self._current[name]

    def teardown(self) -> None:
        for stack in self._stacks.values():
            stack.close()
        self._open.close()


def test_two_replicas_agree_with_a_plain_model() -> None:
    run_state_machine_as_test(
        TwoReplicas,
        settings=settings(max_examples=examples(2), stateful_step_count=12, deadline=None),
    )
