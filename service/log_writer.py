"""Log lines on their way to stderr: nobody who logs waits for whoever reads them, or does not."""

import logging
import math
import sys
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

import structlog

MAX_QUEUED = 4 * 1024 * 1024
"""Characters that wait to be written; lines beyond are dropped, and counted."""

GATHER_S = 0.02
"""Lines of this long are written together: a thread that woke for each would cost the requests more."""

MAX_PIECE = 4096
"""Characters written at once: so many a pipe takes whole, even where several processes write into it."""

_MAX_KINDS = 1000
"""A bound on memory: kinds of faults whose last line is remembered."""

log = structlog.get_logger("dimerec.log")


class LogWriter:
    """Writes lines to stderr in a thread of its own, which starts with the first line.

    Where nobody reads, lines are dropped; once there is a reader again, a line says how many.
    """

    def __init__(self) -> None:
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each line that is dropped."""
        self._lock = Lock()
        self._lines: list[str] = []
        self._queued = 0
        self._dropped = 0
        self._thread: Thread | None = None
        self._wake = Event()
        self._written = Event()

    def write(self, line: str) -> None:
        """Write a line soon, or drop it; never waits."""
        with self._lock:
            full = self._queued + len(line) > MAX_QUEUED
            if full:
                self._dropped += 1
            else:
                self._lines.append(line + "\n")
                self._queued += len(line) + 1
                self._written.clear()
            if self._thread is None:
                self._thread = Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if full:
            self.on_drop()
        elif not self._wake.is_set():
            self._wake.set()

    debug = info = warning = error = critical = write  # a logger for structlog, which has rendered the line

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until all lines are written, but no longer than `timeout_s`."""
        if self._thread is not None:
            self._written.wait(timeout_s)

    def _run(self) -> None:
        said = -math.inf
        while True:
            self._wake.wait(1.0 if self._dropped else None)
            time.sleep(GATHER_S)
            self._wake.clear()
            with self._lock:
                lines, self._lines, self._queued = self._lines, [], 0
                dropped = self._dropped if time.monotonic() - said > 1 else 0
                self._dropped -= dropped
            if dropped:
                said = time.monotonic()
                log.warning("log lines dropped", count=dropped)  # into the queue, where there is room now
            for piece in _pieces(lines):
                _write(piece)
            with self._lock:
                if not (self._lines or self._dropped):
                    self._written.set()


def _pieces(lines: list[str]) -> list[str]:
    """The lines in as few pieces as their size allows, none of them split."""
    pieces: list[list[str]] = []
    room = 0
    for line in lines:
        if len(line) > room:
            pieces.append([])
            room = MAX_PIECE
        pieces[-1].append(line)
        room -= len(line)
    return ["".join(piece) for piece in pieces]


def _write(piece: str) -> None:
    try:
        sys.stderr.write(piece)
        sys.stderr.flush()
    except (OSError, ValueError):  # the reader has gone, or stderr was closed: there is nobody to tell
        return


STDERR = LogWriter()
"""This process's writer."""


class WriterHandler(logging.Handler):
    """Gives the lines of the `logging` module to a writer."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write."""
        self._writer.write(self.format(record))


class Recurring:
    """Something that may happen by the thousand, and is told of once a second at most.

    It counts in a tenth of a microsecond; `OnceASecond` is for what may cost a line of the log each time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._untold = 0
        self._told_at = -math.inf

    def count(self) -> int | None:
        """Count it once more; number of times since it was last told of, None where that was just now."""
        self._untold += 1
        now = self._clock()
        if now - self._told_at < 1:
            return None
        untold, self._untold, self._told_at = self._untold, 0, now
        return untold


class OnceASecond:
    """Lets one line a second of each kind of fault through; the next one's `left_out` counts those between.

    A kind is a level above info, an event and the type of its exception. A processor for structlog, and with
    `filter` a filter for `logging`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[object, ...], Recurring] = {}

    def __call__(
        self, _logger: Any, level: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Raise DropEvent unless the line is let through."""
        if level not in ("debug", "info"):
            left_out = self._left_out(level, event["event"], _kind_of(event.get("exc_info")))
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                event["left_out"] = left_out
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """False unless the record is let through."""
        if record.levelno <= logging.INFO:
            return True
        left_out = self._left_out(record.levelname, record.msg, _kind_of(record.exc_info))
        if left_out:
            record.msg = f"{record.msg} (left out: {left_out})"
        return left_out is not None

    def _left_out(self, *kind: object) -> int | None:
        """Number of lines since the last one that was let through, None where this one is not."""
        if kind not in self._kinds:
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            self._kinds[kind] = Recurring(self._clock)
        lines = self._kinds[kind].count()
        return None if lines is None else lines - 1


def _kind_of(exc_info: object) -> object:
    if isinstance(exc_info, BaseException):
        return type(exc_info)
    return (exc_info[0] if isinstance(exc_info, tuple) else sys.exc_info()[0]) if exc_info else None
