"""Other Redis than one server: a master with a replica and a sentinel, and a cluster."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from service.history.redis_keys import history_key
from tests.redis_server import RedisServer
from tests.service.processes import until

NAME = "dimerec"
SLOTS = 16_384
_SENTINEL = """
sentinel monitor {name} 127.0.0.1 {port} 1
sentinel down-after-milliseconds {name} 1000
sentinel failover-timeout {name} 3000
"""
"""The times are short, so that a failover is over within seconds; Redis' defaults are 30 s and 3 minutes."""


class Failing:
    """Two servers, of which a sentinel names the master."""

    def __init__(self) -> None:
        self.servers = [RedisServer(durable=True) for _ in range(2)]
        self._directory = tempfile.TemporaryDirectory(prefix="dimerec-sentinel-")
        configuration = Path(self._directory.name) / "sentinel.conf"
        configuration.write_text(_SENTINEL.format(name=NAME, port=self.servers[0].port))
        self._sentinel = RedisServer(str(configuration), "--sentinel")
        self.url = f"redis+sentinel://127.0.0.1:{self._sentinel.port}/{NAME}"

    def start(self) -> None:
        """Start all, and wait until the replica follows and the sentinel knows it."""
        for server in self.servers:
            server.start()
        ask(self.servers[1], "REPLICAOF", "127.0.0.1", self.servers[0].port)
        until(lambda: b"master_link_status:up" in ask(self.servers[1], "INFO", "replication"))
        self._sentinel.start()
        until(lambda: len(ask(self._sentinel, "SENTINEL", "REPLICAS", NAME)) == 1)

    def master(self) -> RedisServer:
        """The one that the sentinel names."""
        port = int(ask(self._sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Let the other one become the master, and wait until it is."""
        before = self.master()
        until(lambda: self._asked_to_fail_over())
        until(lambda: self.master() is not before)
        until(lambda: b"role:master" in ask(self.master(), "INFO", "replication"))

    def close(self) -> None:
        """End all."""
        for server in (self._sentinel, *self.servers):
            server.close()
        self._directory.cleanup()

    def _asked_to_fail_over(self) -> bool:
        try:
            return bool(ask(self._sentinel, "SENTINEL", "FAILOVER", NAME))
        except redis.ResponseError:  # the one before is not over yet
            return False


class Cluster:
    """Three masters that share the slots."""

    def __init__(self) -> None:
        self.servers = [
            RedisServer("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", durable=True)
            for _ in range(3)
        ]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def start(self) -> None:
        """Start all, and wait until they agree."""
        for index, server in enumerate(self.servers):
            server.start()
            ask(server, "CLUSTER ADDSLOTS", *range(SLOTS * index // 3, SLOTS * (index + 1) // 3))
            ask(server, "CLUSTER MEET", "127.0.0.1", self.servers[0].port)
        for fact in ("known_nodes:3", "state:ok", "slots_assigned:16384"):
            until(partial(self._agree, f"cluster_{fact}".encode()))

    def move(self, users: list[str]) -> int:
        """Move the slots of these users from the first server to the second; their number."""
        source, target = self.servers[:2]
        ids = [ask(server, "CLUSTER MYID").decode() for server in (source, target)]
        slots = {key_slot(history_key(user).encode()) for user in users}
        moved = sorted(slot for slot in slots if slot < SLOTS // 3)
        for slot in moved:
            ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
            while keys := ask(source, "CLUSTER GETKEYSINSLOT", slot, 100):
                ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for server in (target, source):
                ask(server, "CLUSTER SETSLOT", slot, "NODE", ids[1])
        return len(moved)

    def close(self) -> None:
        """End all."""
        for server in self.servers:
            server.close()

    def _agree(self, fact: bytes) -> bool:
        return all(fact in ask(server, "CLUSTER INFO") for server in self.servers)


def ask(server: RedisServer, *words: object) -> Any:
    """The reply to one command, as it comes."""
    with redis.Redis(port=server.port, socket_timeout=5.0) as client:
        client.response_callbacks.clear()
        return client.execute_command(*words)


@contextmanager
def started(site: Failing | Cluster) -> Iterator[None]:
    """A site that is up, and ended with the block."""
    try:
        site.start()
        yield
    finally:
        site.close()
