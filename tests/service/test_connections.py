"""Connections are bounded: in what is read before a request is whole, in time, and in number."""

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import connections
from tests.service.conftest import Serve
from tests.service.gated import until
from tests.service.processes import process
from tests.service.serving import KEY, Running

LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n"
BODY = json.dumps({"history": ["1001"], "k": 3}).encode()
POST = (
    b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer %b\r\n" % KEY.encode()
)


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(caller: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    received = bytearray()
    try:
        while piece := caller.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


def asked(server: Running, *pieces: bytes) -> bytes:
    with connect(server) as caller:
        for piece in pieces:
            caller.sendall(piece)
        return rest(caller)


def problem(answer: bytes, status: int, name: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document: dict[str, Any] = json.loads(body)
    assert document["type"] == f"urn:dimerec:problem:{name}"
    assert document["status"] == status
    assert document["request_id"].encode() in head


def ended(server: Running, reason: str) -> float:
    return server.metric("dimerec_connections_ended_total", reason=reason)


def padded(size: int) -> bytes:
    """A request of `size` bytes up to the end of its headers."""
    head = LIVE + b"connection: close\r\nx: "
    return head + b"a" * (size - len(head) - 4) + b"\r\n\r\n"


def test_headers_of_just_the_bound_are_read_and_no_more(server: Running) -> None:
    assert asked(server, padded(32 * 1024)).startswith(b"HTTP/1.1 200 ")
    problem(asked(server, padded(32 * 1024 + 2)), 431, "head-too-large")
    problem(asked(server, b"GET /" + b"a" * 33_000), 431, "head-too-large")


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"x: y\r\n" * 10_000], ids=["one", "many"])
def test_thirty_megabytes_of_headers_are_refused_and_not_kept(server: Running, piece: bytes) -> None:
    counted = ended(server, "head-too-large")
    problem(asked(server, LIVE + b"x: y", *[piece] * 480), 431, "head-too-large")
    assert ended(server, "head-too-large") == counted + 1
    server.answer(history=["1001"])


def test_a_hundred_headers_are_read_and_no_more(server: Running) -> None:
    more = b"x: y\r\n" * 98
    assert asked(server, LIVE + b"connection: close\r\n" + more + b"\r\n").startswith(b"HTTP/1.1 200 ")
    problem(asked(server, LIVE + b"x: y\r\n" + more + b"x: y\r\n\r\n"), 431, "head-too-large")


def test_what_follows_a_body_in_pieces_is_bounded_too(server: Running) -> None:
    chunked = POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    problem(asked(server, chunked, b"x: " + b"y" * 100_000), 431, "head-too-large")


def test_requests_sent_at_once_are_each_within_bounds(server: Running) -> None:
    request = POST + b"content-length: %d\r\n\r\n" % (len(BODY) + 30_000) + BODY + b" " * 30_000
    last = LIVE + b"connection: close\r\n\r\n"
    answers = asked(server, request * 6 + last)
    assert answers.count(b"HTTP/1.1 200 ") == 7


def test_what_is_no_http_is_a_problem(server: Running) -> None:
    problem(asked(server, b"\x16\x03\x01\x02\x00\x01\r\n\r\n"), 400, "malformed-http")
    problem(asked(server, LIVE + b"no header\r\n\r\n"), 400, "malformed-http")
    problem(asked(server, POST + b"content-length: x\r\n\r\n"), 400, "malformed-http")


@pytest.fixture
def hasty(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A server that waits for no caller for longer than half a second."""
    for name in ("FIRST_BYTE_S", "HEAD_S", "BODY_S"):
        monkeypatch.setattr(connections, name, 0.5)
    return serve()


def drip(caller: socket.socket, piece: bytes) -> bytes:
    """The answer to a caller that goes on sending a little at a time."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.05):
            try:
                caller.sendall(piece)
            except OSError:
                return

    sending = threading.Thread(target=send)
    sending.start()
    try:
        return rest(caller)
    finally:
        stop.set()
        sending.join()


def test_a_caller_that_says_nothing_is_not_waited_for(hasty: Running) -> None:
    assert asked(hasty) == b""
    assert ended(hasty, "first-byte") == 1


@pytest.mark.parametrize(
    "start", [b"GET /", LIVE, b"\r\n", LIVE + b"\r\nGET /"], ids=["line", "headers", "blank", "second"]
)
def test_headers_that_drip_are_not_waited_for(hasty: Running, start: bytes) -> None:
    with connect(hasty) as caller:
        caller.sendall(start)
        answer = drip(caller, b"\r\n" if start == b"\r\n" else b"X")
    first, answer = answer.split(b'{"status":"live"}') if b"\r\n\r\n" in start else (b"", answer)
    assert not first or first.startswith(b"HTTP/1.1 200 ")
    problem(answer, 408, "request-timeout")


def test_a_body_that_drips_is_not_waited_for(hasty: Running) -> None:
    with connect(hasty) as caller:
        caller.sendall(POST + b"content-length: 10000\r\n\r\n{")
        problem(drip(caller, b" "), 408, "request-timeout")
    with connect(hasty) as caller:
        caller.sendall(POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
        problem(drip(caller, b"1;name=value\r\n \r\n"), 408, "request-timeout")


def test_a_body_that_comes_after_its_answer_does_not_keep_the_connection(serve: Serve) -> None:
    """Refused by its headers alone, it is idle once the body is there."""
    server = serve(keep_alive_s=1)
    with connect(server) as caller:
        caller.sendall(b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
        assert caller.recv(65536).startswith(b"HTTP/1.1 401 ")
        caller.sendall(b"{}")
        assert rest(caller) == b""


def test_an_answer_that_nobody_reads_is_not_kept(hasty: Running) -> None:
    body = json.dumps({"requests": [{"history": ["1001"], "k": 200, "seed": seed} for seed in range(256)]})
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(20)
        caller.connect(("127.0.0.1", hasty.port))
        head = POST.replace(b"/recommend", b"/recommend/batch")
        caller.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body.encode())
        until(lambda: ended(hasty, "slow-reader") == 1)
        assert len(rest(caller)) < 4_000_000
    hasty.answer(history=["1001"])


def test_a_slow_answer_of_ours_is_waited_for(
    busy: Callable[..., Running], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_BYTE_S", "HEAD_S", "BODY_S"):
        monkeypatch.setattr(connections, name, 0.2)
    server = busy()
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(server.recommend, history=["1001"])
        seen = time.monotonic()
        until(lambda: time.monotonic() - seen > 1.5)
        gate.set()
        assert waiting.result().status_code == 200


def test_a_new_connection_takes_the_place_of_the_one_idle_for_longest(serve: Serve) -> None:
    server = serve(max_connections=16)
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(15)]
        for caller in idle:
            caller.sendall(LIVE + b"\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200 ")
        idle[0].sendall(LIVE + b"\r\n")
        assert idle[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        before = ended(server, "crowded")
        newcomers = [stack.enter_context(connect(server)) for _ in range(2)]
        for caller in newcomers:
            caller.sendall(LIVE + b"\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert ended(server, "crowded") > before
        assert rest(idle[1]) == b""
        idle[0].sendall(LIVE + b"\r\n")
        assert idle[0].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_probes_are_answered_where_every_connection_is_busy(
    busy: Callable[..., Running], gate: threading.Event
) -> None:
    server = busy(max_connections=16, max_queue=1000)
    request = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    with ExitStack() as stack:
        callers = [stack.enter_context(connect(server)) for _ in range(15)]
        for caller in callers:
            caller.sendall(request)
        until(lambda: server.metric("dimerec_queue_length") == 15)
        problem(asked(server, request), 503, "crowded")
        stack.enter_context(connect(server))  # beyond the bound, too: who takes its place is no better off
        problem(asked(server, request), 503, "crowded")
        for path in (b"/health/live", b"/health/ready?from=probe"):
            answer = asked(server, LIVE.replace(b"/health/live", path) + b"connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
        for _ in range(100):  # the places beyond the bound are not for the idle, either
            stack.enter_context(connect(server))
        assert asked(server, LIVE + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        gate.set()
        for caller in callers:
            assert rest(caller).startswith(b"HTTP/1.1 200 ")


def idle_connections(url: httpx.URL, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        yield socket.create_connection((url.host, url.port or 80), timeout=20)


def test_idle_connections_leave_room_for_others_where_open_files_are_few(
    bundle_root: Path, tmp_path: Path
) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    with (
        process(tmp_path, "--bundles", bundle_root, before=few) as served,
        ExitStack() as stack,
    ):
        for caller in idle_connections(httpx.URL(served.url), 400):
            stack.enter_context(caller)
        for _ in range(3):
            assert httpx.get(f"{served.url}/health/live").status_code == 200
            answer = httpx.post(f"{served.url}/recommend", json=json.loads(BODY))
            assert len(answer.json()["items"]) == 3
