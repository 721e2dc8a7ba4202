"""The address of a Redis, read strictly: what cannot be meant is refused before anything is connected.

| address                                                           | what                               |
|-------------------------------------------------------------------|------------------------------------|
| `redis://[user:password@]host[:port][/db]`                        | one server                         |
| `unix://[user:password@]/path/to/socket[?db=0]`                   | one server on a Unix socket        |
| `redis+sentinel://[user:password@]host:port,host:port/service[/db]` | the master that the sentinels name |
| `redis+cluster://[user:password@]host:port,host:port`             | a cluster, found through any node  |

`rediss` in place of `redis` means TLS. User and password are the data servers', not the sentinels'.

Every character outside of names, such as `/ # ? @ %` in a password, is percent-encoded. An address that isn't
would be cut in the wrong place, and a piece of the password taken for a host: resolved, printed and logged.
So an address holds at most one `@`, and no message repeats any of it but names of options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import unquote

from service.history.errors import HistoryUrlError

_SCHEME = re.compile(r"(unix)|(rediss?)(?:\+(sentinel|cluster))?")
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC = re.compile(r"(?:.*\.)?[0-9]+\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_DATABASE = re.compile(r"[0-9]{1,9}")
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_OPTION = re.compile(r"[a-z_]{1,40}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
"""Ports of Redis and of its Sentinel where an address names none, as registered with IANA."""
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS = ("db", "protocol", *_FILES)
_REMEDIES = {
    **dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), "set DIMEREC_HISTORY_TIMEOUT_S"),
    **dict.fromkeys(("ssl", "tls"), "write rediss:// for TLS"),
    **dict.fromkeys(("username", "password"), "write redis://USER:PASSWORD@HOST"),
}
_ENCODE = "percent-encode / # ? @ % and blanks in the password (%2F %23 %3F %40 %25 %20)"


@dataclass(frozen=True)
class RedisAddress:
    """Address of a Redis and the options of a connection to it; `parse` makes it.

    Of `hosts` (host, port) there is one for a single server, none for a Unix socket. `credentials` (username,
    password) and `options` (what follows the `?`) are keyword arguments of the client.
    """

    topology: str
    hosts: tuple[tuple[str, int], ...]
    socket: str | None
    service: str
    database: int
    tls: bool
    credentials: dict[str, str] = field(repr=False)
    options: dict[str, Any]


def parse(url: str) -> RedisAddress:
    """The parts of an address.

    Raises HistoryUrlError, one line with the remedy that never repeats the address.
    """
    scheme, separator, rest = url.partition("://")
    matched = _SCHEME.fullmatch(scheme.lower())
    if not separator or matched is None:
        raise HistoryUrlError(
            "must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            " (rediss for TLS)"
        )
    _check_characters(rest)
    unix, family, topology = matched.groups()
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user_information, at, hosts = authority.rpartition("@")
    credentials = _credentials(user_information) if at else {}
    tls, topology = family == "rediss", topology or "single"
    if unix:
        if hosts or not path:
            raise HistoryUrlError("names no socket: write unix:///path/to/socket, with three slashes")
        options = _options(query, tls)
        database = _database(options.pop("db", "0"))
        return RedisAddress(topology, (), _decoded(slash + path), "", database, tls, credentials, options)
    named = _hosts(hosts, topology)  # before the options: what follows a ? may yet be a piece of a password
    options = _options(query, tls)
    service, database = _service_and_database(topology, path, options)
    return RedisAddress(topology, named, None, service, database, tls, credentials, options)


def _check_characters(rest: str) -> None:
    if not rest.isprintable() or " " in rest:
        raise HistoryUrlError(f"holds blanks or control characters: {_ENCODE}")
    outside = re.split(r"[/?#]", rest, maxsplit=1)[1:]
    if "#" in rest or rest.count("@") > 1 or any("@" in part for part in outside):
        raise HistoryUrlError(f"has an @ or a # where none can be: {_ENCODE}")


def _credentials(user_information: str) -> dict[str, str]:
    username, colon, password = user_information.partition(":")
    if not colon:
        raise HistoryUrlError(
            "has a user without a password: write redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST"
        )
    given = {"username": _decoded(username), "password": _decoded(password)}
    return {name: value for name, value in given.items() if value}


def _hosts(text: str, topology: str) -> tuple[tuple[str, int], ...]:
    hosts = text.split(",")
    if topology == "single" and len(hosts) > 1:
        raise HistoryUrlError("names several hosts: that needs redis+sentinel:// or redis+cluster://")
    default = _SENTINEL_PORT if topology == "sentinel" else _REDIS_PORT
    return tuple(_host(host, default) for host in hosts)


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or not _is_ip(name := _decoded(name), IPv6Address):
            raise HistoryUrlError("has brackets around what is no IPv6 address, as in redis://[::1]:6379/0")
        separator, port = port[:1], port[1:]
        if separator not in ("", ":"):
            raise HistoryUrlError("has something between the IPv6 address and the port")
    else:
        name, separator, port = text.partition(":")
        if not name:
            raise HistoryUrlError("names no host: write redis://[USER:PASSWORD@]HOST:PORT/DATABASE")
        if ":" in port:
            raise HistoryUrlError(
                "has too many colons: put an IPv6 address in brackets, redis://[::1]:6379/0"
            )
        if not _HOST.fullmatch(name) or (_NUMERIC.fullmatch(name) and not _is_ip(name, IPv4Address)):
            raise HistoryUrlError("has a host that is neither a host name nor an IPv4 address")
    if separator and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65_535):
        raise HistoryUrlError("has a port that is no number from 1 to 65535")
    return name, int(port) if separator else default_port


def _is_ip(text: str, version: type[IPv4Address | IPv6Address]) -> bool:
    try:
        version(text)
    except ValueError:
        return False
    return True


def _service_and_database(topology: str, path: str, options: dict[str, Any]) -> tuple[str, int]:
    """The service and the database that the path and `?db=` name; `db` is taken out of `options`."""
    service = ""
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not _SERVICE.fullmatch(service):
            raise HistoryUrlError("names no service: write redis+sentinel://HOST:26379/SERVICE/DATABASE")
    if path and "db" in options:
        raise HistoryUrlError("names the database twice: in the path and as ?db=")
    database = _database(options.pop("db", path or "0"))
    if topology == "cluster" and database:
        raise HistoryUrlError("names a database: a cluster has only number 0")
    return service, database


def _database(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise HistoryUrlError("has a database that is no number: write redis://HOST:PORT/0")
    return int(text)


def _options(query: str, tls: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        _check_option(name, tls)
        if name in options:
            raise HistoryUrlError(f"has the option {name} twice")
        if not value:
            raise HistoryUrlError(f"has the option {name} without a value")
        options[name] = _decoded(value)
    if options.get("protocol", "3") not in ("2", "3"):
        raise HistoryUrlError("has an option protocol that is neither 2 nor 3")
    if "protocol" in options:
        options["protocol"] = int(options["protocol"])
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise HistoryUrlError("has one of ssl_certfile and ssl_keyfile: give both")
    return options


def _check_option(name: str, tls: bool) -> None:
    if name not in _OPTIONS:
        named = f" {name}" if _OPTION.fullmatch(name) else ""
        remedy = _REMEDIES.get(name, "leave it out")
        raise HistoryUrlError(f"has an unknown option{named}: {remedy} (there are {', '.join(_OPTIONS)})")
    if name in _FILES and not tls:
        raise HistoryUrlError(f"has the option {name} without TLS: write rediss:// for it")


def _decoded(text: str) -> str:
    try:
        if _BROKEN_ESCAPE.search(text):
            raise HistoryUrlError(f"has a % that begins no percent-encoding: {_ENCODE}")
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise HistoryUrlError("has a percent-encoding that is no UTF-8") from error
