"""Fixtures of replicas with one Redis."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.service.catalogue.replicas import Replicas


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may stop; what it keeps is lost then."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def replicas(tmp_path: Path, own_redis: RedisServer) -> Iterator[Replicas]:
    with ExitStack() as servers:
        yield Replicas(tmp_path, own_redis.url, servers)
