"""Traces for OpenTelemetry, asked for by its own variables `OTEL_…`; off where they say nothing.

The SDK reads all of them (sampler, resource, headers, batches); here it is decided whether it is loaded at
all. It is an extra of the package, and nothing else imports it.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.errors import StartupError

if TYPE_CHECKING:
    from service.otel import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOL = "http/protobuf"
_DEFAULT_ENDPOINT = "http://localhost:4318"


def collector(environment: Mapping[str, str] = os.environ) -> str | None:
    """The address of the collector that the variables ask for, None where they ask for no traces.

    They do so by an endpoint, or by `OTEL_TRACES_EXPORTER=otlp`. Raises StartupError for what is not offered.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environment.get(_EXPORTER, "").strip().lower()
    name, endpoint = _first(environment, _ENDPOINTS)
    if exporter == "none" or not (exporter or endpoint):
        return None
    if exporter not in ("", "otlp"):
        raise StartupError(f"{_EXPORTER} is {exporter!r}: use otlp, or none")
    protocol_name, protocol = _first(environment, _PROTOCOLS)
    if protocol not in ("", _PROTOCOL):
        raise StartupError(f"{protocol_name} is {protocol!r}: use {_PROTOCOL}, or unset it")
    if endpoint and not _is_http(endpoint):
        raise StartupError(f"{name} is no address like http://collector:4318: correct it, or unset it")
    return endpoint or _DEFAULT_ENDPOINT


def open_tracing(version: str) -> "Tracing | None":
    """Tracing as the environment asks for it, None where it does not; `version`: that of the service.

    Raises StartupError where it cannot be had as asked.
    """
    if collector() is None:
        return None
    try:
        from service.otel import Tracing

        return Tracing(version)
    except ImportError as error:
        raise StartupError(
            f"OTEL_… variables ask for traces, but OpenTelemetry's SDK is not there ({error.name}):"
            " pip install 'dimerec-serve[tracing]', or set OTEL_SDK_DISABLED=true"
        ) from error
    except ValueError as error:
        raise StartupError(
            f"OTEL_… variables: {_reason(error)}: correct them, or set OTEL_SDK_DISABLED=true"
        ) from error


def check_propagators() -> None:
    """Raise StartupError where `OTEL_PROPAGATORS` names one that is not there.

    Whoever imports FastAPI imports them, traces or not, and fails there; so this comes before.
    """
    try:
        import opentelemetry.propagate  # noqa: F401
    except ValueError as error:
        raise StartupError(f"OTEL_PROPAGATORS: {_reason(error)}: correct it, or unset it") from error


def _reason(error: Exception) -> str:
    """The SDK's own words, in one line."""
    return " ".join(str(error).split()).removesuffix(".")


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """Name and value of the first of the variables that is set; an empty one counts as not set."""
    found = ((name, environment.get(name, "").strip()) for name in names)
    return next(((name, value) for name, value in found if value), (names[0], ""))


def _is_http(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
