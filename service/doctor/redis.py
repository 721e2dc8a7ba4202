"""The Redis that the settings name, as it is set up and as it answers now."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from redis.exceptions import RedisError

from service.access import rates
from service.catalogue import redis as catalogue
from service.doctor.finding import Finding, fine, note, wrong
from service.history.errors import HistoryUnavailableError, HistoryUrlError
from service.history.redis import DEFAULT_MAX_CONNECTIONS
from service.history.redis_calls import RedisCalls
from service.history.redis_keys import probe_key
from service.redis_client import Info, connect, infos
from service.replicas import board
from service.settings import Settings, variable
from service.trending import shared as trending

_PART = "redis"
_PATIENCE_S = 5.0
"""Chosen: who examines can wait longer than a request, and a slow Redis is to be measured."""
_PINGS = 20
"""Chosen: a median that one hiccup does not move, in milliseconds altogether."""
_FULL = 0.9
"""Part of maxmemory. Chosen: what is above it goes in the next rush."""
MIN_VERSION = (6, 2)
"""The oldest that the tests run with."""

_POLICIES = {
    "volatile-lru": "drops users by their last use rather than by their last event",
    "volatile-lfu": "drops users by how often they come",
    "noeviction": "refuses every new event when Redis is full; right where Redis holds the only copy",
}
"""Policies besides volatile-ttl that an operator may have chosen on purpose, and their effect."""


def examine_redis(settings: Settings) -> list[Finding]:
    """Findings about the history store; none where histories are kept in the process."""
    if settings.redis_url is None:
        return []
    return asyncio.run(_examined(settings, settings.redis_url.get_secret_value()))


async def _examined(settings: Settings, url: str) -> list[Finding]:
    try:
        client: Any = connect(url, _PATIENCE_S, max_connections=2)
    except HistoryUrlError as error:
        return [wrong(_PART, str(error), f"correct {variable('redis_url')}, or the files that it names")]
    calls = RedisCalls(_PATIENCE_S, _PATIENCE_S, 1)
    async with aclosing(client):
        try:
            return [finding async for finding in _findings(settings, client, calls)]
        except HistoryUnavailableError as error:
            return [
                wrong(
                    _PART,
                    str(error),
                    f"start Redis, or correct {variable('redis_url')} (user, password, host, port, TLS)",
                )
            ]


async def _findings(settings: Settings, client: Any, calls: RedisCalls) -> AsyncIterator[Finding]:
    yield _speed(await _round_trips(client, calls), settings)
    try:
        await calls.make(lambda: _written(client))
        yield fine(_PART, "it takes writes and scripts")
    except HistoryUnavailableError as error:
        yield wrong(_PART, f"histories cannot be written: {error}", "give the user of its address the rights")
    try:
        servers = await calls.make(lambda: _servers(client))
    except HistoryUnavailableError as error:
        yield note(
            _PART,
            f"its set-up cannot be seen: {error}",
            "allow the commands INFO and CONFIG GET, or look there",
        )
        return
    for name, info, saves in servers:
        for finding in (*_setup(info, settings), *_memory(info), *_persistence(info, saves)):
            yield Finding(name, finding.verdict, finding.fact, finding.remedy)


async def _round_trips(client: Any, calls: RedisCalls) -> list[float]:
    """The times of some pings, ms; the first one, which connects, left out."""
    times = []
    for _ in range(_PINGS + 1):
        started = time.perf_counter()
        await calls.make(client.ping)
        times.append(1000 * (time.perf_counter() - started))
    return times[1:]


async def _written(client: Any) -> None:
    """Write and delete a key by a script, as events are."""
    script = "redis.call('SET', KEYS[1], '1', 'PX', 10000) return redis.call('DEL', KEYS[1])"
    await client.eval(script, 1, probe_key(secrets.token_hex(8)))


async def _servers(client: Any) -> Sequence[tuple[str, Info, str | None]]:
    """Name, INFO and the setting `save` of each server that takes writes; None where that is kept secret."""
    return [
        (f"{_PART} {address}".strip(), info, await _saves(client, address))
        for address, info in await infos(client)
    ]


async def _saves(client: Any, address: str) -> str | None:
    target = {"target_nodes": client.get_node(node_name=address)} if address else {}
    try:
        return str((await client.config_get("save", **target)).get("save", ""))
    except RedisError:
        return None


def _speed(milliseconds: list[float], settings: Settings) -> Finding:
    median, slowest = statistics.median(milliseconds), max(milliseconds)
    fact = f"a round trip takes {median:.1f} ms, the slowest of {len(milliseconds)} {slowest:.1f} ms"
    allowed = 1000 * settings.history_timeout_s
    if median >= allowed:
        return wrong(
            _PART,
            f"{fact}; answers are degraded after {allowed:g} ms",
            f"bring Redis nearer, or raise {variable('history_timeout_s')}",
        )
    if slowest >= allowed:
        return note(_PART, f"{fact}; some answers are degraded, after {allowed:g} ms", "look for its load")
    return fine(_PART, fact)


def _setup(info: Info, settings: Settings) -> Iterator[Finding]:
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        yield wrong(
            _PART, f"version {version} is too old", f"install {'.'.join(map(str, MIN_VERSION))} or newer"
        )
    else:
        yield fine(_PART, f"version {version}")
    if info.get("role") == "slave":
        yield wrong(_PART, "it is a replica, which takes no events", "name its primary, or its sentinels")
    yield from _connections(info, settings)


def _connections(info: Info, settings: Settings) -> Iterator[Finding]:
    uses = {
        "histories": DEFAULT_MAX_CONNECTIONS,
        "rates": rates.MAX_CONNECTIONS,
        "the catalogue": catalogue.MAX_WRITING + catalogue.MAX_CONFIRMING + catalogue.MAX_FOLLOWING,
        "recent events": trending.MAX_CONNECTIONS if settings.trending_half_life_s else 0,
        "other replicas": board.MAX_CONNECTIONS,
        **({} if settings.spool is None else {"the spool": DEFAULT_MAX_CONNECTIONS}),
    }
    needed = settings.workers * sum(uses.values())
    if needed > info.get("maxclients", needed):
        each = ", ".join(f"{connections} for {use}" for use, connections in uses.items())
        yield wrong(
            _PART,
            f"it takes {info['maxclients']} connections, and {settings.workers} workers may open {needed}"
            f" (each {each})",
            "raise its maxclients",
        )


def _memory(info: Info) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    policy = str(info.get("maxmemory_policy", ""))
    if not limit:
        yield wrong(
            _PART,
            f"it has no limit of memory (maxmemory 0, {_mega(used)} in use): the kernel ends it one day",
            "CONFIG SET maxmemory 512mb, or what the machine can spare",
        )
    elif used > _FULL * limit:
        yield wrong(
            _PART, f"{_mega(used)} of {_mega(limit)} are in use", "raise maxmemory, or use a larger Redis"
        )
    else:
        yield fine(_PART, f"{_mega(used)} of {_mega(limit)} are in use")
    yield _eviction(policy)
    if evicted := int(info.get("evicted_keys", 0)):
        yield note(
            _PART, f"it has dropped {evicted:,} keys for want of memory since its start", "raise maxmemory"
        )


def _eviction(policy: str) -> Finding:
    remedy = "CONFIG SET maxmemory-policy volatile-ttl: it drops who has been away longest"
    if policy == "volatile-ttl":
        return fine(_PART, "full, it drops the users who have been away longest (volatile-ttl)")
    if policy in _POLICIES:
        return note(_PART, f"maxmemory-policy {policy} {_POLICIES[policy]}", remedy)
    return wrong(_PART, f"maxmemory-policy {policy} drops any key, those of active users too", remedy)


def _persistence(info: Info, saves: str | None) -> Iterator[Finding]:
    if info.get("loading"):
        yield wrong(_PART, "it is still loading its data", "wait, then examine again")
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if info.get(name) == "err"]
    if failed:
        yield wrong(
            _PART,
            f"its last write to disk failed ({', '.join(failed)}), so it refuses events",
            "look at its log and disk",
        )
    if info.get("aof_enabled"):
        yield fine(_PART, "an append-only file outlives a restart")
    elif saves:
        yield note(
            _PART,
            f"it keeps snapshots only (save {saves}): a crash loses the events since the last one",
            "CONFIG SET appendonly yes",
        )
    elif saves is None:
        yield note(_PART, "it has no append-only file; its snapshots cannot be seen", "look at its `save`")
    else:
        yield wrong(
            _PART, "nothing is kept on disk: a restart loses every history", "CONFIG SET appendonly yes"
        )


def _mega(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
