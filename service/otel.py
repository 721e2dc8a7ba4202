"""The part of tracing that needs OpenTelemetry's SDK: spans of requests, and their way to the collector."""

import asyncio
import os
import time
from threading import Thread

import structlog
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.middleware import METHODS
from service.trace import Part

CLOSE_S = 5.0
"""Chosen: a collector that is there takes the last spans within that; another is not to delay the end."""
_UNTRACED = ("/health/live", "/health/ready", "/metrics")
"""Asked for every few seconds by machines, and of no interest."""


class Tracing:
    """A pipeline of its own for one app: what is traced is sent in batches, from a thread."""

    def __init__(self, version: str) -> None:
        ours = Resource({"service.name": "dimerec", "service.version": version, "process.pid": os.getpid()})
        named = ours.merge(OTELResourceDetector().detect())
        resource = Resource.create(named.attributes)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer: Tracer = self._provider.get_tracer("dimerec", version)

    def middleware(self) -> Middleware:
        """Whatever goes through it is traced."""
        return Middleware(TracedRequests, tracer=self._tracer)

    async def close(self) -> None:
        """Send what is left, as far as the collector takes it in time."""
        closing = Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_S)


class TracedRequests:
    """Pure ASGI middleware within `RequestContext`: a span for each request, a child of its caller's.

    The caller's context comes by W3C's headers. Whether a request is traced, the sampler decides; then its
    Trace is in `request.state`, and log lines have its `trace_id`. Spans name the route's template and the
    key, never path, query, body or address.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"].endswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        clock = _Clock()
        state = scope["state"]
        span = self._begun(scope, clock.at(state["arrived"]))
        if not span.is_recording():
            await self._app(scope, receive, send)
            return
        state["trace"] = _SpanTrace(self._tracer, span, clock)
        structlog.contextvars.bind_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id))
        status = 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            _end(span, scope, status)

    def _begun(self, scope: Scope, at: int) -> Span:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        return self._tracer.start_span(
            method, propagate.extract(headers), SpanKind.SERVER, attributes, start_time=at
        )


class _Clock:
    """Turns moments of `time.perf_counter` into ns since the epoch."""

    def __init__(self) -> None:
        self._now_ns, self._now = time.time_ns(), time.perf_counter()

    def at(self, moment: float) -> int:
        """The moment, ns since the epoch."""
        return self._now_ns + int(1e9 * (moment - self._now))


class _SpanTrace:
    """A Trace whose stages are children of a request's span."""

    def __init__(self, tracer: Tracer, span: Span, clock: _Clock) -> None:
        self._tracer = tracer
        self._span = span
        self._clock = clock
        self._context = set_span_in_context(span)
        self._noted: set[tuple[Part, float]] = set()

    def note(self, part: Part, began: float, ended: float, **facts: str | int) -> None:
        """As `Trace.note`."""
        if (part, ended) in self._noted:
            return
        self._noted.add((part, ended))
        attributes = {f"dimerec.{name}": value for name, value in facts.items()}
        at = self._clock.at
        stage = self._tracer.start_span(part, self._context, attributes=attributes, start_time=at(began))
        stage.end(at(ended))

    def describe(self, **facts: str | int) -> None:
        """As `Trace.describe`."""
        self._span.set_attributes({f"dimerec.{name}": value for name, value in facts.items()})


def _end(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path_format", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    state = scope["state"]
    span.set_attributes(
        {
            "http.response.status_code": status,
            "dimerec.request_id": state["request_id"],
            "dimerec.key": state.get("key", "anonymous"),
        }
    )
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
    span.end()
