"""The traces that the environment asks for, and the collector that they go to."""

import asyncio
import socket
from collections.abc import Iterator
from importlib.metadata import version
from urllib.parse import urlsplit

from service.doctor.finding import Finding, fine, wrong
from service.errors import StartupError
from service.tracing import collector, open_tracing

_PART = "tracing"
_PATIENCE_S = 2.0
"""Chosen: a collector is near, and takes connections at once."""
_PORTS = {"http": 80, "https": 443}


def examine_tracing() -> Iterator[Finding]:
    """Traces are off, or can be made, and somebody listens where they are sent."""
    try:
        address = collector()
        if address is None:
            yield fine(_PART, "off: no OTEL_… variable asks for traces")
            return
        tracing = open_tracing(version("dimerec-serve"))
    except StartupError as error:
        yield wrong(_PART, str(error), "as it says; until then the service refuses to start")
        return
    if tracing is not None:
        asyncio.run(tracing.close())
    parts = urlsplit(address)
    where = (str(parts.hostname), parts.port or _PORTS[parts.scheme])
    try:
        socket.create_connection(where, _PATIENCE_S).close()
    except UnicodeError:
        yield wrong(_PART, f"{where[0]} can be no host's name", "correct the collector's address")
    except OSError as error:
        reason = error.strerror or "no answer"
        yield wrong(_PART, f"nobody listens at {where[0]} port {where[1]}: {reason}", "start the collector")
    else:
        yield fine(_PART, f"on; a collector listens at {where[0]} port {where[1]}")
