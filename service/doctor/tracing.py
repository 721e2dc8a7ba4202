"""The traces that the environment asks for, and the collector that they go to."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from service.doctor.finding import Finding, fine, wrong
from service.errors import StartupError
from service.tracing import collector, require_sdk

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
        require_sdk()
    except StartupError as error:
        yield wrong(_PART, str(error), "as it says; until then the service refuses to start")
        return
    parts = urlsplit(address)
    where = (str(parts.hostname), parts.port or _PORTS[parts.scheme])
    try:
        socket.create_connection(where, _PATIENCE_S).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        yield wrong(_PART, f"nobody listens at {where[0]} port {where[1]}: {reason}", "start the collector")
    else:
        yield fine(_PART, f"on; a collector listens at {where[0]} port {where[1]}")
