"""From an address to a Redis client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from service.history.errors import HistoryUrlError
from service.redis_address import RedisAddress, parse

_LOST: Any = (RedisConnectionError, OSError, RuntimeError)
"""Errors of a connection that is no more; the client's own types know only the first."""


def connect(url: str, timeout_s: float, max_connections: int) -> Redis | RedisCluster:
    """A client for the address, see address.py; nothing is connected yet.

    `timeout_s` bounds connecting and every answer, `max_connections` the connections to one server. Raises
    HistoryUrlError, whose message never repeats the address (it may hold a password).
    """
    address = parse(url)
    _check_files(address)
    transport: dict[str, Any] = {
        "max_connections": max_connections,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # One fresh try: a pooled connection may have died with a server that is back by now (RuntimeError:
        # uvloop's transports say so).
        "retry": Retry(NoBackoff(), retries=1, supported_errors=_LOST),
        **({"ssl": True} if address.tls else {}),
        **address.options,
    }
    data_server = transport | address.credentials
    match address.topology:
        case "cluster":
            return RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
                require_full_coverage=False,  # a lost node is not to cost the others' users their histories
                **data_server,
            )
        case "sentinel":
            return _sentinel(address, transport, data_server)
    server: dict[str, Any] = {"unix_socket_path": address.socket}
    if address.hosts:
        [(server["host"], server["port"])] = address.hosts
    return Redis(db=address.database, **server, **data_server)


Info = Mapping[str, Any]


async def infos(client: Any) -> Sequence[tuple[str, Info]]:
    """Address and INFO of each server that takes writes: of a cluster all its primaries; others are `""`."""
    if not isinstance(client, RedisCluster):
        return [("", await client.info())]
    await client.initialize()  # before its first command it knows of none
    nodes = client.get_primaries()
    return [(f"{node.host}:{node.port}", await client.info(target_nodes=node)) for node in nodes]


def _sentinel(address: RedisAddress, transport: dict[str, Any], data_server: dict[str, Any]) -> Redis:
    sentinel = Sentinel(address.hosts, sentinel_kwargs=transport)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(
        address.service, connection_pool_class=_OwningSentinelPool, db=address.database, **data_server
    )
    return master


class _OwningSentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels with those to the master, which redis-py leaves open."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def _check_files(address: RedisAddress) -> None:
    """Read the certificates now, because the client would only at its first request."""
    options = address.options
    if not any(name.startswith("ssl_") for name in options):
        return
    context = ssl.create_default_context()
    try:
        if authorities := options.get("ssl_ca_certs"):
            context.load_verify_locations(authorities)
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options["ssl_keyfile"], password="")
    except OSError as error:
        raise HistoryUrlError(
            f"names certificates that cannot be read ({error.strerror or error}): ssl_ca_certs, ssl_certfile"
            " and ssl_keyfile are PEM files, the key without a passphrase"
        ) from error
