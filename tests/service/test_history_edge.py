"""Whatever the Redis client raises weakens a recommendation and fails only calls about histories."""

import inspect
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NoReturn

import pytest
import redis.exceptions
from redis.asyncio import Redis

from service.history.errors import HistoryInputError, HistoryUnavailableError
from service.history.guarded import GuardedHistory
from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer
from tests.service.serving import Running, running, settings_for

_SECRET = "hunter2"


def error_of(kind: type[Exception]) -> Exception:
    """One of that class, however it wants to be made."""
    if issubclass(kind, UnicodeDecodeError):
        return UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    if issubclass(kind, redis.exceptions.AskError):
        return kind("1 127.0.0.1:1")
    return kind(f"two lines\nof {_SECRET}")


DECLARED = [
    kind
    for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == "redis.exceptions"
]
FOREIGN = [
    RuntimeError,
    TypeError,
    ValueError,
    UnicodeDecodeError,
    OSError,
    ConnectionResetError,
    TimeoutError,
    AttributeError,
    KeyError,
    IndexError,
    AssertionError,
    RecursionError,
    MemoryError,
    StopAsyncIteration,
]


class Failing(Redis):
    """A real client that raises instead of speaking, whichever way it is asked."""

    error: Exception = RuntimeError()

    async def execute_command(self, *_: Any, **__: Any) -> NoReturn:
        raise self.error

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        pipeline = super().pipeline(*arguments, **options)
        pipeline.execute = self.execute_command  # type: ignore[method-assign]
        return pipeline

    async def aclose(self, *_: Any, **__: Any) -> NoReturn:
        raise self.error


class Mumbling(Redis):
    """A real client whose every reply is `reply`."""

    reply: object = None

    async def execute_command(self, *_: Any, **__: Any) -> Any:
        return self.reply

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        pipeline = super().pipeline(*arguments, **options)
        pipeline.execute = self.execute_command  # type: ignore[method-assign]
        return pipeline


@pytest.fixture(scope="module")
def client() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
def server(bundle_root: Any, client: Failing) -> Iterator[Running]:
    """With a circuit that never opens, so that every request reaches the client."""
    store = GuardedHistory(RedisHistory(client), failures=10**6)
    with running(settings_for(bundle_root, list_users=True), store) as server:
        yield server


@pytest.mark.parametrize("kind", [*DECLARED, *FOREIGN], ids=lambda kind: kind.__name__)
def test_whatever_the_client_raises_is_degraded_or_503(
    server: Running, client: Failing, kind: type[Exception]
) -> None:
    client.error = error_of(kind)
    counted = server.metric("dimerec_history_errors_total", operation="read")
    degraded = server.metric("dimerec_degraded_total", reason="history_unavailable")
    answer = server.answer(user_id="u", k=3)
    assert (answer["degraded"], answer["source"]) == ("history_unavailable", "popularity")
    own = server.answer(user_id="u", history=["1001"], k=3)
    assert (own["degraded"], own["source"]) == ("history_unavailable", "personal")
    batch = server.client.post("/recommend/batch", json={"requests": [{"user_id": "u"}]}).json()
    assert batch["answers"][0]["degraded"] == "history_unavailable"
    assert server.metric("dimerec_history_errors_total", operation="read") == counted + 3
    assert server.metric("dimerec_degraded_total", reason="history_unavailable") == degraded + 3
    event = {"user_id": "u", "item_id": "1001", "timestamp": 1_795_000_000_000}
    for response in (
        server.client.post("/events", json=event),
        server.client.get("/users/u/history"),
        server.client.delete("/users/u/history"),
        server.client.delete("/users/u/events/e-1"),
        server.client.get("/users"),
    ):
        assert response.status_code == 503, response.text
        assert response.json()["type"] == "urn:dimerec:problem:history-unavailable"
        assert _SECRET not in response.text


REPLIES = [b"", "text", 3, [], [None], {}, object(), [b"a", "b", 3], True]
FORGET_REPLIES = ["text", 3, object(), True]  # what is too short for a history was one that cannot be read


@pytest.mark.parametrize(
    ("call", "reply"),
    [*product(["append", "append_many", "read"], REPLIES), *product(["forget"], FORGET_REPLIES)],
)
async def test_a_reply_of_another_kind_is_unavailable(call: str, reply: object) -> None:
    client = Mumbling()
    client.reply = reply
    store = RedisHistory(client)
    calls: dict[str, Callable[[], Any]] = {
        "append": lambda: store.append("u", [Event("a", 1)]),
        "append_many": lambda: store.append_many([("u", Event("a", 1))]),
        "read": lambda: store.read("u", 9),
        "forget": lambda: store.forget("u"),
    }
    with pytest.raises(HistoryUnavailableError):
        await calls[call]()


async def test_surprises_open_the_circuit_too() -> None:
    client = Failing()
    client.error = TypeError("a surprise")
    store = GuardedHistory(RedisHistory(client), failures=2, reset_s=60)
    for _ in range(2):
        with pytest.raises(
            HistoryUnavailableError, match=r"^the Redis client failed: TypeError: a surprise$"
        ):
            await store.read("u", 9)
    with pytest.raises(HistoryUnavailableError, match="tried again in a moment"):
        await store.read("u", 9)


async def test_our_own_refusals_are_not_the_stores_fault() -> None:
    store = RedisHistory(Failing())
    with pytest.raises(HistoryInputError, match="user_id"):
        await store.read("", 9)
    with pytest.raises(HistoryInputError, match="limit"):
        await store.read("u", -1)
    with pytest.raises(TypeError):
        await store.append("u", [Event("a", None)])  # type: ignore[arg-type]


async def test_closing_a_client_that_is_broken_is_no_trouble() -> None:
    await RedisHistory(Failing()).close()


async def test_a_client_that_decodes_is_unavailable_instead_of_failing(redis_server: RedisServer) -> None:
    wrong: Any = Redis(port=redis_server.port, decode_responses=True)
    right: Any = Redis(port=redis_server.port)
    await RedisHistory(right).append("u", [Event("a", 1)])
    store = RedisHistory(wrong)
    with pytest.raises(HistoryUnavailableError):
        await store.read("u", 9)
    with pytest.raises(HistoryUnavailableError):
        await store.users(9)
    await store.close()
    await RedisHistory(right).close()
