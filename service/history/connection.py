"""From an address to a Redis client.

| address                                                          | what                               |
|------------------------------------------------------------------|------------------------------------|
| `redis://[user:password@]host:port/db`                           | one server                         |
| `unix:///path/to/socket?db=0`                                    | one server on a Unix socket        |
| `redis+sentinel://[user:password@]host:port,host:port/service/db` | the master that the sentinels name |
| `redis+cluster://[user:password@]host:port,host:port`            | a cluster, found through any node  |

`rediss` in place of `redis` means TLS. User and password are the data servers', not the sentinels'.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from service.history.errors import HistoryUrlError


def connect(url: str, timeout_s: float, max_connections: int) -> Redis | RedisCluster:
    """A client for the address; nothing is connected yet.

    `timeout_s` bounds connecting and every answer, `max_connections` the connections to one server. Raises
    HistoryUrlError, whose message never repeats the address (it may hold a password).
    """
    base, _, topology = url.partition("://")[0].partition("+")
    options: dict[str, Any] = {
        "max_connections": max_connections,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # One fresh try: a pooled connection may have died with a server that is back by now.
        "retry": Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    }
    try:
        match base, topology:
            case (("redis" | "rediss" | "unix"), ""):
                single: Redis = Redis.from_url(url, **options)
                return single
            case (("redis" | "rediss"), "cluster"):
                return _cluster(url, options)
            case (("redis" | "rediss"), "sentinel"):
                return _sentinel(url, options)
    except ValueError as error:
        raise HistoryUrlError(
            "redis url: malformed; expected the form redis://[user:password@]host:port/db"
        ) from error
    raise HistoryUrlError(
        "redis url: the scheme must be redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
    )


def _cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    address = _parse(url, default_port=6379)
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        require_full_coverage=False,  # a lost node is not to cost the others' users their histories
        **address.data_options,
        **options,
    )


def _sentinel(url: str, options: dict[str, Any]) -> Redis:
    address = _parse(url, default_port=26379)
    service, _, database = address.path.partition("/")
    if not service:
        raise HistoryUrlError("redis url: name the service, as in redis+sentinel://host:26379/mymaster/0")
    tls = {"ssl": True} if "ssl" in address.data_options else {}
    sentinel = Sentinel(address.hosts, sentinel_kwargs=options | tls)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(
        service,
        connection_pool_class=_OwningSentinelPool,
        db=int(database or 0),
        **address.data_options,
        **options,
    )
    return master


class _OwningSentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels with those to the master, which redis-py leaves open."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


class _Address(NamedTuple):
    hosts: list[tuple[str, int]]
    data_options: dict[str, Any]
    path: str


def _parse(url: str, default_port: int) -> _Address:
    parts = urlsplit(url)
    user_information, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user_information.partition(":")
    options: dict[str, Any] = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    options |= {"username": unquote(username)} if username else {}
    options |= {"password": unquote(password)} if password else {}
    return _Address([_host(host, default_port) for host in hosts.split(",")], options, parts.path.strip("/"))


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port
