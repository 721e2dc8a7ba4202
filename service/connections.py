"""Connections with bounds: on what comes before a request is whole, on its time, and on how many there are.

uvicorn bounds none of it. Its protocol takes requests apart as before; what is added counts bytes and notes
the moment where a connection changes its phase, and once a second all connections are looked at.
"""

import os
import resource
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.access.headers import with_security
from service.admission import Caller, Door, Refusal, Way, credentials, refused
from service.errors import (
    ConnectionFaultError,
    CrowdedError,
    HeadTooLargeError,
    MalformedHttpError,
    RequestTimeoutError,
)
from service.middleware import request_id_of
from service.problems import response_to
from service.telemetry import Metrics

MAX_HEAD_BYTES = 32 * 1024
"""Of a request line with its headers: four times what proxies let through by default."""
MAX_HEADERS = 100
FIRST_BYTE_S = 10.0
"""From the connection to the first byte."""
HEAD_S = 10.0
"""From a request's first byte to the end of its headers."""
BODY_S = 10.0
"""For a body, besides what its bytes take at `MIN_BYTES_PER_S`; an answer is read at that speed or ends."""
MIN_BYTES_PER_S = 16 * 1024
"""Slower than any network that a service is called over."""
LINGER_S = 5.0
"""After a refusal: for the caller to stop sending and read it."""
RESERVED_CONNECTIONS = 32
"""Beyond the bound, where every connection is busy: for health probes; others are refused there."""
RESERVED_DESCRIPTORS = 96
"""Open files that are no connections of callers: libraries, the log, Redis, bundles while they are read."""
_PROBES = (b"/health/live", b"/health/ready")
_LINGER_BYTES = 64 * 1024 * 1024
"""After a refusal, read and thrown away at most."""


_NEW, _HEAD, _BODY, _ANSWERING, _IDLE, _REFUSED = range(6)
"""Phases of a connection; plain numbers, since each request compares some."""


class Connections:
    """The open connections of one server, at most `max_connections` of them.

    At the bound a new one takes the place of the one that was idle, or sending, for longest. Where all are
    being answered, a few more are taken, of which only health probes are answered.
    """

    def __init__(self, max_connections: int, metrics: Metrics) -> None:
        self._max = affordable(max_connections)
        self._metrics = metrics
        self._open: OrderedDict[Connection, None] = OrderedDict()

    def admit(self, connection: "Connection") -> bool:
        """Take in a new connection; False where it is one too many."""
        self._open[connection] = None
        if len(self._open) <= self._max:
            return True
        idle = (other for other in self._open if other.replaceable and other is not connection)
        longest = next(idle, None)
        if longest is not None:
            if not longest.admitted:
                longest = next((other for other in idle if other.admitted), longest)
            longest.end("crowded")
            return longest.admitted  # of two beyond the bound, the later one is beyond it, too
        if len(self._open) > self._max + RESERVED_CONNECTIONS:
            connection.end("crowded")
        return False

    def discard(self, connection: "Connection") -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)

    def renew(self, connection: "Connection") -> None:
        """Note that a connection has been answered just now."""
        if connection in self._open:
            self._open.move_to_end(connection)

    def count(self, reason: str) -> None:
        """Count a connection that was ended for a `reason` of its own."""
        self._metrics.connections_ended.labels(reason).inc()

    def sweep(self, now: float) -> None:
        """End all that took too long; `now` is the event loop's time, s."""
        for connection in list(self._open):
            connection.check(now)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with the bounds of this module; what breaks them is answered with a problem.

    A caller whom the app has answered on this connection is refused by the `door` right here, where the
    service has too much to do: nothing is made for such a request, which so costs a fraction of one
    refused by the app. Unless it `refuses`, all are the app's to refuse.
    """

    def __init__(self, *, connections: Connections, door: Door, refuses: bool, **given: Any) -> None:
        super().__init__(**given)
        self._open = connections
        self._door = door
        self._refuses = refuses
        self._caller: Caller | None = None
        self._way: Way | None = None
        self._turned_away: Refusal | None = None
        self.admitted = True
        self._phase = _NEW
        self._since = self.loop.time()
        self._moved = False
        self._loose_bytes = 0
        self._body_bytes = 0
        self._unread: tuple[int, float] | None = None
        self._fault: ConnectionFaultError | None = None

    @property
    def replaceable(self) -> bool:
        """True unless it waits for an answer."""
        return self._phase != _ANSWERING

    def end(self, reason: str) -> None:
        """Close it at once, whatever is on the way."""
        self._open.count(reason)
        self._open.discard(self)
        self.transport.abort()

    def check(self, now: float) -> None:
        """End it where its phase has taken too long."""
        took_s = now - self._since
        body_s = BODY_S + self._body_bytes / MIN_BYTES_PER_S
        bounds = {_NEW: FIRST_BYTE_S, _HEAD: HEAD_S, _BODY: body_s, _REFUSED: LINGER_S}
        if took_s <= bounds.get(self._phase, took_s):
            self._check_reader(now)
        elif self._phase == _NEW:
            self.end("first-byte")
        elif self._phase == _REFUSED:
            self._open.discard(self)
            self.transport.abort()
        else:
            self._refuse(RequestTimeoutError())

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's own."""
        super().connection_made(transport)
        self.admitted = self._open.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's own."""
        self._open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's own, as long as no more comes that belongs to no body than a head may have."""
        if self._phase == _REFUSED:
            self._throw_away(len(data))
            return
        if self._phase == _IDLE or self._phase == _NEW:
            self._phase, self._since = _HEAD, self.loop.time()
        while data:
            piece = data
            if len(data) > (room := MAX_HEAD_BYTES + 1 - self._loose_bytes):
                piece = data[:room]
            data = data[len(piece) :]
            self._moved = False
            HttpToolsProtocol.data_received(self, piece)
            if self._moved:
                self._loose_bytes = 0
            else:
                self._loose_bytes += len(piece)
                if self._loose_bytes > MAX_HEAD_BYTES:
                    self._refuse(HeadTooLargeError())
            if data and (self._phase == _REFUSED or self.transport.is_closing()):
                return

    def on_headers_complete(self) -> None:
        """As uvicorn's own, for a head within bounds."""
        if len(self.headers) > MAX_HEADERS:
            self._fault = HeadTooLargeError()
        elif not (self.admitted or self.url.partition(b"?")[0].endswith(_PROBES)):
            self._fault = CrowdedError()
        if self._fault is not None:
            raise self._fault  # ends parsing: then `send_400_response` is called
        self._moved = True
        self._phase, self._since, self._body_bytes = _BODY, self.loop.time(), 0
        self._unset_keepalive_if_required()  # of one before it in the same piece
        self._turned_away = self._refusal()
        if self._turned_away is None:
            HttpToolsProtocol.on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        """As uvicorn's own."""
        self._moved = True
        self._body_bytes += len(body)
        if self._turned_away is None:
            HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """As uvicorn's own."""
        self._moved = True
        self._phase = _ANSWERING
        if self._turned_away is not None:
            self._turn_away(self._turned_away)
            return
        if self._way is not None and not (self.pipeline or self.cycle.response_complete):
            self._door.inside.enter(self.scope["state"])
        HttpToolsProtocol.on_message_complete(self)
        if self.cycle.response_complete:  # answered before its body had come
            self._rest()
            self._end_when_idle()

    def on_response_complete(self) -> None:
        """As uvicorn's own."""
        HttpToolsProtocol.on_response_complete(self)
        self._unread = None
        if self._refuses:
            self._caller = Caller.of(self.cycle.scope["state"], self.cycle.scope["headers"])
        if self.cycle.response_complete and self._phase == _ANSWERING:
            self._rest()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what cannot be parsed, or was found to break a bound on the way."""
        self._refuse(self._fault or MalformedHttpError())

    def _end_when_idle(self) -> None:
        """As uvicorn's own after an answer of the app."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _rest(self) -> None:
        self._phase, self._since = _IDLE, self.loop.time()
        self._open.renew(self)

    def _refusal(self) -> Refusal | None:
        """The door's refusal of the request that begins; None where the app decides."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        self._way = self._door.way(self.parser.get_method().decode("ascii"), path)
        caller = self._caller
        if self._way is None or caller is None or not self.cycle.response_complete:
            return None
        if self.expect_100_continue or not self.parser.should_keep_alive():
            return None
        if caller.credentials != credentials(self.headers):
            return None
        return self._door.refusal(self._way, self.headers, caller.name)

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer a request that is whole and has not been shown to the app."""
        self._turned_away = None
        request_id = request_id_of(self.headers)
        status, headers, body = refused(refusal, request_id)
        headers.append((b"x-request-id", request_id.encode()))
        method = self.parser.get_method().decode("ascii")
        head = self._head(status, headers)
        self.transport.write(head if method == "HEAD" else head + body)
        self.server_state.total_requests += 1
        if self._way is not None and self._caller is not None:
            self._door.count(self._way, method, status, self.loop.time() - self._since, self._caller.key)
        self._rest()
        self._end_when_idle()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        headers = [*self.server_state.default_headers, *with_security(headers)]
        return STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"

    def _check_reader(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if not unread or self._unread is None:
            self._unread = (unread, now) if unread else None
            return
        before, since = self._unread
        if now - since > BODY_S:
            self._unread = unread, now
            if before - unread < (now - since) * MIN_BYTES_PER_S:
                self.end("slow-reader")

    def _refuse(self, fault: ConnectionFaultError) -> None:
        """Answer with a problem where none is owed before it; then read on a little, so that it is seen."""
        if self.transport.is_closing():
            return
        receiving = self._phase == _BODY and self.cycle is not None and not self.cycle.response_started
        owes_none = self.cycle is None or self.cycle.response_complete or receiving
        if self.pipeline or not owes_none:
            self.end(fault.reason)
            return
        self._open.count(fault.reason)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._unset_keepalive_if_required()
        self.transport.write(self._raw(fault))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._phase, self._since = _REFUSED, self.loop.time()
        self._loose_bytes = 0
        self.flow.resume_reading()

    def _raw(self, fault: ConnectionFaultError) -> bytes:
        scope = {"state": {"request_id": os.urandom(16).hex()}}
        response = response_to(fault, scope, {"connection": "close"})
        return self._head(response.status_code, response.raw_headers) + bytes(response.body)

    def _throw_away(self, size: int) -> None:
        self._loose_bytes += size
        if self._loose_bytes > _LINGER_BYTES:
            self._open.discard(self)
            self.transport.abort()


def affordable(max_connections: int) -> int:
    """As many as open files allow; their soft limit is raised first, as far as the hard one lets it."""
    needed = max_connections + RESERVED_CONNECTIONS + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return max_connections
    return max(1, min(max_connections, soft - RESERVED_CONNECTIONS - RESERVED_DESCRIPTORS))
