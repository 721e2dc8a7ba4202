"""From an address to a Redis client.

| scheme                                     | what                                                      |
|--------------------------------------------|-----------------------------------------------------------|
| `redis://[user:password@]host:port/db`     | one server                                                |
| `unix:///path/to/socket?db=0`              | one server on a Unix socket                               |
| `redis+sentinel://host:port,host:port/service/db` | the master that the sentinels name                 |
| `redis+cluster://host:port,host:port`      | a cluster, found through any of the nodes                 |

`rediss` in place of `redis` means TLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from service.history.errors import HistoryUrlError

_DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`timeout_s` bounds connecting and every answer; `max_connections` bounds connections to a server."""

    timeout_s: float
    max_connections: int


def connect(url: str, limits: ConnectionLimits) -> Redis | RedisCluster:
    """A client for the address; nothing is connected yet.

    Raises HistoryUrlError, whose message never repeats the address (it may hold a password).
    """
    scheme = url.partition("://")[0]
    base, _, topology = scheme.partition("+")
    try:
        if scheme in {"redis", "rediss", "unix"}:
            return _single(url, limits)
        if base in {"redis", "rediss"} and topology == "cluster":
            return _cluster(url, limits)
        if base in {"redis", "rediss"} and topology == "sentinel":
            return _sentinel(url, limits)
    except ValueError as error:
        raise HistoryUrlError(
            "redis url: malformed; expected the form redis://[user:password@]host:port/db"
        ) from error
    raise HistoryUrlError(
        "redis url: the scheme must be redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
    )


def _common(limits: ConnectionLimits) -> dict[str, Any]:
    return {
        "socket_timeout": limits.timeout_s,
        "socket_connect_timeout": limits.timeout_s,
        # One fresh try: a pooled connection may have died with a server that is back by now.
        "retry": Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    }


def _single(url: str, limits: ConnectionLimits) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url, max_connections=limits.max_connections, timeout=limits.timeout_s, **_common(limits)
    )
    return Redis.from_pool(pool)


def _cluster(url: str, limits: ConnectionLimits) -> RedisCluster:
    address = _Addresses.parse(url, "cluster")
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        max_connections=limits.max_connections,
        **address.credentials,
        **_common(limits),
    )


def _sentinel(url: str, limits: ConnectionLimits) -> Redis:
    address = _Addresses.parse(url, "sentinel")
    service, _, database = address.path.partition("/")
    if not service:
        raise HistoryUrlError("redis url: name the service, as in redis+sentinel://host:26379/mymaster/0")
    sentinel = Sentinel(address.hosts, sentinel_kwargs=_common(limits))  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(
        service,
        db=int(database or 0),
        max_connections=limits.max_connections,
        **address.credentials,
        **_common(limits),
    )
    return master


@dataclass(frozen=True, slots=True)
class _Addresses:
    hosts: list[tuple[str, int]]
    credentials: dict[str, Any]
    path: str

    @classmethod
    def parse(cls, url: str, topology: str) -> _Addresses:
        parts = urlsplit(url)
        user_information, _, hosts = parts.netloc.rpartition("@")
        username, _, password = user_information.partition(":")
        credentials: dict[str, Any] = {"ssl": True} if parts.scheme.startswith("rediss") else {}
        if username:
            credentials["username"] = unquote(username)
        if password:
            credentials["password"] = unquote(password)
        return cls(
            [cls._host(host, _DEFAULT_PORTS[topology]) for host in hosts.split(",")],
            credentials,
            unquote(parts.path.strip("/")),
        )

    @staticmethod
    def _host(host: str, default_port: int) -> tuple[str, int]:
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ValueError("a host is missing")
        return parts.hostname, parts.port or default_port
