"""Fixtures shared by all rooms."""

import os
from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer, claimed_database


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """The one Redis process of this test run; tests take `redis_server` or `redis_url`."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """A real Redis server that the test may stop, start, pause and resume; it is brought back afterwards."""
    yield redis_process
    redis_process.restore()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty database, on the server named by REDIS_URL or else on `redis_server`."""
    named = os.environ.get("REDIS_URL")
    if named:
        with claimed_database(named) as url:
            yield url
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with claimed_database(server.url) as url:
        yield url
        server.restore()
