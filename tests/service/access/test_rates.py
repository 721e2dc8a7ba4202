"""Bounds on the requests of a key: 429 with the time to come back, shared by all processes over Redis."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.access.keys import create_key, read_keys
from service.access.roles import Role
from service.errors import KeysError
from tests.redis_server import RedisServer
from tests.service.access.conftest import bearer, problem
from tests.service.conftest import Serve
from tests.service.serving import Running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def key(path: Path) -> str:
    """A key that may send three requests an hour."""
    return create_key(path, "slow", [Role.READ], rate="3/hour")


def statuses(server: Running, key: str, requests: int) -> list[int]:
    return [server.client.get("/version", headers=bearer(key)).status_code for _ in range(requests)]


def test_one_request_too_many_is_told_when_to_come_back(serve: Serve, path: Path, key: str) -> None:
    other = create_key(path, "other", [Role.READ])
    server = serve(keys_file=path)
    assert statuses(server, key, 3) == [200] * 3
    refused = server.client.get("/version", headers=bearer(key))
    assert (refused.status_code, problem(refused)) == (429, "rate-exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 3600
    assert "the key slow may send 3/hour" in refused.json()["detail"]
    assert server.metric("dimerec_refused_total", reason="rate") == 1
    assert server.metric("dimerec_key_requests_total", key="slow", status="429") == 1
    assert statuses(server, other, 5) == [200] * 5
    assert server.client.get("/version").status_code == 200


def test_processes_count_together_in_redis(serve: Serve, path: Path, key: str, redis_url: str) -> None:
    servers = [serve(keys_file=path, redis_url=redis_url) for _ in range(2)]
    answered = [statuses(server, key, 2) for server in servers]
    assert answered == [[200, 200], [200, 429]]


def test_many_at_once_are_counted_exactly(serve: Serve, path: Path, redis_url: str) -> None:
    key = create_key(path, "busy", [Role.READ], rate="20/hour")
    server = serve(keys_file=path, redis_url=redis_url)
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(httpx.get, f"{server.url}/version", headers=bearer(key)) for _ in range(40)]
        answered = [future.result().status_code for future in asked]
    assert sorted(answered) == [200] * 20 + [429] * 20


def test_without_redis_each_process_counts_alone_and_nobody_is_refused_for_it(
    serve: Serve, path: Path, key: str, redis_server: RedisServer, redis_url: str
) -> None:
    server = serve(keys_file=path, redis_url=redis_url)
    redis_server.stop()
    assert statuses(server, key, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize("rate", ["", "fast", "0/second", "-1/second", "1000000/second", "5/s", "5"])
def test_what_is_no_rate_is_refused(path: Path, rate: str) -> None:
    with pytest.raises(KeysError, match="is no rate like 100/second"):
        create_key(path, "odd", [Role.READ], rate=rate)
    assert not path.exists()


def test_the_rate_is_kept_with_the_key(path: Path, key: str) -> None:
    assert [kept.rate for kept in read_keys(path)] == ["3/hour"]
