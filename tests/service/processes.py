"""`dimerec serve` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 60.0


@dataclass
class Process:
    """A running `dimerec serve` and what it wrote to stderr so far, but for the line with its address."""

    popen: subprocess.Popen[str]
    url: str
    lines: list[str]

    def stop(self) -> list[str]:
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(30)
        return self.lines


def until(true: Callable[[], Any]) -> None:
    """Wait for what another process or thread is about to make true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cli.main", "serve", *map(str, arguments)]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIMEREC_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@contextmanager
def process(
    cwd: Path, *arguments: object, before: Callable[[], None] | None = None, **variables: str
) -> Iterator[Process]:
    """A process of a session of its own, so without a terminal; `before` runs in it ahead of Python.

    A hang-up ends it or is its own to handle, even where the test run itself ignores them (nohup, CI).
    """

    def prepared() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if before is not None:
            before()

    popen = subprocess.Popen(
        command("--port", 0, *arguments),
        cwd=cwd,
        env=environment() | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepared,
    )
    assert popen.stderr is not None
    assert popen.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(popen.stderr or ()), daemon=True)
    try:
        found = None
        while found is None:
            line = popen.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
            found = re.search(r"https?://127\.0\.0\.1:\d+", line)
        del lines[-1]
        reader.start()
        yield Process(popen, found[0], lines)
    finally:
        popen.kill()
        popen.wait()
        if reader.ident is not None:
            reader.join()
        popen.stderr.close()
        popen.stdout.close()
