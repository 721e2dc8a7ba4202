"""The machine and what is installed on it: ports, open files, threads, packages."""

import json
import os
import platform
import resource
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from service.connections import RESERVED_CONNECTIONS, RESERVED_DESCRIPTORS
from service.doctor.finding import Finding, fine, note, wrong
from service.errors import StartupError
from service.listening import bound_socket, ports
from service.settings import Settings, variable
from service.spool.file import NAME as SPOOL_FILE
from service.workers.supervised import compute_threads

_DISTRIBUTION = "dimerec-serve"
_PATIENCE_S = 2.0
"""Chosen: a service on this machine says that it lives within that."""
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def address_of(host: str) -> str | None:
    """The IP address that `host` stands for, None where it stands for none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        return None
    return str(found[0][4][0])


def examine_ports(settings: Settings) -> Iterator[Finding]:
    """Each port of the settings is free, or this service's own already."""
    for port in ports(settings):
        where = f"{settings.host} port {port}"
        try:
            bound_socket(settings.host, port).close()
        except StartupError as error:
            if _serves_already(settings, port):
                yield note("ports", f"on {where} a service of ours answers already", "none, if that is meant")
            else:
                yield wrong("ports", str(error), f"or {variable('port')}, {variable('host')}")
        else:
            yield fine("ports", f"{where} is free" if port else "the system chooses a free port")


def _serves_already(settings: Settings, port: int) -> bool:
    connection = _connection(settings, port)
    try:
        connection.request("GET", "/health/live")
        return bool(json.loads(connection.getresponse().read()) == {"status": "live"})
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _connection(settings: Settings, port: int) -> HTTPConnection:
    """By HTTPS where the service has a certificate; it is of another name, so nothing is compared with it."""
    everywhere = settings.host in ("0.0.0.0", "::")  # nosec B104  # noqa: S104 - compared only
    host = "127.0.0.1" if everywhere else settings.host
    if settings.tls_certificate is None:
        return HTTPConnection(host, port, timeout=_PATIENCE_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_PATIENCE_S, context=context)


def examine_spool(settings: Settings) -> Iterator[Finding]:
    """The spool's directory, if there is one, can be written, and its disk has room until it is full."""
    if settings.spool is None:
        return
    directory = settings.spool.absolute()
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = f"its owner and mode, or another {variable('spool')}"
        yield wrong("spool", f"{there} cannot be written", remedy)
        return
    free = shutil.disk_usage(there).free
    file = directory / SPOOL_FILE
    more = max(0, settings.spool_max_bytes - (file.stat().st_size if file.exists() else 0))
    room = f"{free / 1e6:,.0f} MB are free for {more / 1e6:,.0f} MB by which what waits there may grow"
    if free < more:
        yield wrong("spool", room, f"make room, or lower {variable('spool_max_bytes')}")
    else:
        yield fine("spool", room)


def examine_open_files(settings: Settings) -> Iterator[Finding]:
    """The hard limit of open files leaves room for all connections; the soft one is raised at the start."""
    needed = settings.max_connections + RESERVED_CONNECTIONS + RESERVED_DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        limit = "any number" if hard == resource.RLIM_INFINITY else f"{hard:,}"
        yield fine("limits", f"{limit} of open files (nofile) allow {settings.max_connections:,} connections")
        return
    left = max(1, hard - RESERVED_CONNECTIONS - RESERVED_DESCRIPTORS)
    yield wrong(
        "limits",
        f"{hard:,} open files (nofile) allow {left:,} connections, not {settings.max_connections:,}",
        f"raise nofile to {needed:,} (LimitNOFILE of systemd), or lower {variable('max_connections')}",
    )


def examine_threads(settings: Settings, cpu_limit: Path = _CGROUP_CPU) -> Iterator[Finding]:
    """The threads of all workers together have a core each."""
    cores = len(os.sched_getaffinity(0))
    allowed = _allowed_cores(cpu_limit)
    usable = cores if allowed is None else min(cores, allowed)
    threads = compute_threads(settings)
    total = threads * settings.workers
    fact = f"{settings.workers} workers with {threads} threads each on {usable:g} cores"
    if total <= max(1, usable):
        yield fine("threads", fact)
        return
    limited = "" if usable == cores else f", since the container may use no more of {cores}"
    better = max(1, int(usable) // settings.workers)
    yield wrong(
        "threads",
        f"{fact}{limited}: they take turns, which costs more than it computes",
        f"{variable('compute_threads')}={better}"
        + (f" and {variable('workers')}={max(1, int(usable))}" if settings.workers > usable else ""),
    )


def _allowed_cores(cpu_limit: Path) -> float | None:
    """Cores that the control group of this process may use, None for any number."""
    try:
        quota, period = cpu_limit.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # not there, or `max`
        return None


def examine_packages() -> Iterator[Finding]:
    """Every package that this one needs is there, of a version that suits it."""
    needs = [Requirement(text) for text in requires(_DISTRIBUTION) or ()]
    found: dict[str, str] = {}
    for need in needs:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        installed = _installed(need.name)
        if installed is None or not need.specifier.contains(installed, prereleases=True):
            has = "is missing" if installed is None else f"is {installed}"
            yield wrong("packages", f"{need.name} {has}, {need} is needed", f"pip install '{need}'")
        else:
            found[need.name] = installed
    yield from _faiss()
    ours = f"{_DISTRIBUTION} {version(_DISTRIBUTION)} on Python {platform.python_version()}"
    shown = ", ".join(
        f"{name} {found[name]}" for name in ("torch", "fastapi", "uvicorn", "redis") if name in found
    )
    yield fine("packages", f"{ours} ({sys.platform}), {shown}")


def _faiss() -> Iterator[Finding]:
    builds = [f"{name} {found}" for name in ("faiss-cpu", "faiss-gpu") if (found := _installed(name))]
    if len(builds) == 1:
        yield fine("packages", builds[0])
    elif builds:
        yield wrong(
            "packages",
            f"{' and '.join(builds)} are the same Python module, and one hides the other",
            "uninstall both, then install one",
        )
    else:
        yield wrong("packages", "there is no FAISS", f"pip install '{_DISTRIBUTION}[cpu]', or [gpu]")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
