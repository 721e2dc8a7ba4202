"""Log lines: what is in them, who waits for them, and how many there are of one fault."""

import json
import logging
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import structlog

from service.log_writer import OnceASecond
from service.outage import Outage
from tests.service.processes import REPOSITORY, command, environment

LINES = """
import logging, structlog
from service.log_writer import STDERR
from service.log_lines import configure_logging

configure_logging("info", "json")
log = structlog.get_logger("dimerec.test")
structlog.contextvars.bind_contextvars(request_id="r")
log.debug("unseen")
log.info("plain", number=1.5, text="ä", path=__import__("pathlib").Path("x"))
log.info("odd", text="\\ud800", number=2**70)
logging.getLogger("library").warning("of %s", "a library")
for number in range(3):
    log.warning("fault", number=number)
    try:
        {}[number]
    except KeyError:
        log.exception("raised")
STDERR.flush()
"""


def test_lines_are_json_with_level_time_and_context() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINES],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["plain", "odd", "of a library", "fault", "raised"]
    for line in lines:
        assert line["timestamp"].endswith("Z")
        assert line["request_id"] == "r"
    plain, odd, library, fault, raised = lines
    assert (plain["level"], plain["number"], plain["text"]) == ("info", 1.5, "ä")
    assert (odd["text"], odd["number"]) == ("\ud800", 2**70)
    assert library["level"] == "warning"
    assert fault["number"] == 0
    assert "KeyError: 0" in raised["exception"]


def test_one_line_a_second_of_one_kind_of_fault_says_how_many_were_left_out() -> None:
    now = [0.0]
    once = OnceASecond(lambda: now[0])

    def shown(level: str, event: str, **fields: object) -> dict[str, Any] | None:
        try:
            return dict(once(None, level, {"event": event, **fields}))
        except structlog.DropEvent:
            return None

    assert shown("warning", "gone") == {"event": "gone"}
    assert shown("warning", "gone") is None
    assert shown("warning", "gone", exc_info=KeyError()) is not None
    assert shown("warning", "other") == {"event": "other"}
    assert [shown("info", "request") for _ in range(3)] == [{"event": "request"}] * 3
    now[0] = 0.9
    assert shown("warning", "gone") is None
    now[0] = 1.0
    assert shown("warning", "gone") == {"event": "gone", "left_out": 2}
    now[0] = 2.5
    assert shown("warning", "gone") == {"event": "gone"}

    record = logging.makeLogRecord({"msg": "of a library", "levelno": logging.ERROR, "levelname": "ERROR"})
    assert once.filter(record)
    assert not once.filter(record)
    now[0] = 9.0
    assert once.filter(record)
    assert record.getMessage() == "of a library (left out: 1)"


def test_a_fault_that_lasts_is_logged_once_until_it_is_over() -> None:
    log = structlog.testing.CapturingLogger()
    away, other = Outage(log, "the store is away"), Outage(log, "the disk is full")
    for reason in ("refused", "slow"):
        away.note(reason=reason)
    other.note()
    assert (away.lasts, other.lasts) == (True, True)
    away.end()
    assert (away.lasts, other.lasts) == (False, True)
    away.end()
    away.note(reason="gone")
    assert [(call.method_name, call.args, call.kwargs) for call in log.calls] == [
        ("warning", ("the store is away",), {"reason": "refused"}),
        ("warning", ("the disk is full",), {}),
        ("warning", ("the store is away",), {"reason": "gone"}),
    ]


UNREAD = """
import sys, structlog
from service import log_writer
from service.log_lines import configure_logging

log_writer.MAX_QUEUED = 100_000
dropped = []
log_writer.STDERR.on_drop = lambda: dropped.append(1)
configure_logging("info", "json")
for number in range(5_000):
    structlog.get_logger("dimerec.test").info("line", number=number)
print(len(dropped), flush=True)
log_writer.STDERR.flush(30)
"""


def test_lines_that_nobody_reads_are_dropped_counted_and_told_once_somebody_does() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNREAD],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as logging_process:
        assert logging_process.stdout is not None
        assert logging_process.stderr is not None
        dropped = int(logging_process.stdout.readline())
        lines = [json.loads(line) for line in logging_process.stderr]
    assert dropped > 0
    assert sum(line["count"] for line in lines if line["event"] == "log lines dropped") == dropped
    kept = [line["number"] for line in lines if line["event"] == "line"]
    assert len(kept) == 5_000 - dropped
    assert kept == sorted(kept)


def test_requests_are_answered_though_nobody_reads_the_log(bundle_root: Path, tmp_path: Path) -> None:
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    started = command("--port", 0, "--bundles", bundle_root)
    with subprocess.Popen(
        started, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", served.stderr.readline())
            assert found is not None
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", int(found[1])), timeout=30) as caller:
                    caller.sendall(request * 99 + last)
                    answers = b"".join(iter(lambda: caller.recv(65536), b""))
                assert answers.count(b"HTTP/1.1 200 OK") == 100
            assert "dimerec_log_lines_dropped_total 0.0" in httpx.get(f"{found[0]}/metrics").text
        finally:
            served.kill()
