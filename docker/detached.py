"""Runs the service in the background, for scripts and for `make demo DETACH=1`.

    detached.py start DIRECTORY PORT COMMAND…    shows the log until the service on PORT is ready
    detached.py stop DIRECTORY                   ends it with SIGTERM: requests in flight finish

DIRECTORY gets the log (demo.log) and the process id (demo.pid). Needs nothing but Python.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ready import is_ready

LOG = "demo.log"
PID = "demo.pid"
_LINES_OF_A_FAILURE = 20
_PAUSE_S = 0.2
_MAX_START_S = 1800.0
_MAX_STOP_S = 60.0


def start(directory: Path, port: int, command: list[str]) -> str:
    """Start `command` in a session of its own and wait until it is ready; returns what to tell the caller.

    Raises SystemExit when the port is taken, when the command ends, and after half an hour.
    """
    directory.mkdir(parents=True, exist_ok=True)
    running = _running(directory)
    if running is not None:
        return f"It runs already (process {running}); `make stop` ends it."
    _refuse_taken(port)
    log = directory / LOG
    process = _launch(command, log, directory / PID)
    shown = 0
    deadline = time.monotonic() + _MAX_START_S
    while not is_ready(port):
        shown = _show(log, shown)
        if process.poll() is not None:
            last = log.read_text(errors="replace").splitlines()[-_LINES_OF_A_FAILURE:]
            sys.exit("\n".join([f"It ended with exit code {process.returncode}. The end of {log}:", *last]))
        if time.monotonic() > deadline:
            sys.exit(f"It is not ready after {_MAX_START_S / 60:.0f} minutes; see {log}")
        time.sleep(_PAUSE_S)
    _show(log, shown)
    return f"It is ready (process {process.pid}, log {log}); `make stop` ends it."


def stop(directory: Path) -> str:
    """Send SIGTERM and wait for the end; returns what to tell the caller. Raises SystemExit in the end."""
    running = _running(directory)
    if running is None:
        return "Nothing is running."
    os.kill(running, signal.SIGTERM)
    deadline = time.monotonic() + _MAX_STOP_S
    while _running(directory) is not None:
        if time.monotonic() > deadline:
            sys.exit(f"Process {running} still runs {_MAX_STOP_S:.0f} s after SIGTERM.")
        time.sleep(_PAUSE_S)
    return f"Stopped process {running}."


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(f"Cannot listen on port {port}: {error.strerror}. Choose another: PORT={port + 1}")


def _launch(command: list[str], log: Path, pid: Path) -> subprocess.Popen[bytes]:
    """Start the process; it holds a lock on `pid` as long as it lives."""
    with log.open("wb") as output, pid.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[locked.fileno()],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        locked.write(f"{process.pid}\n")
    return process


def _running(directory: Path) -> int | None:
    """The id of the process that was started here, if it lives."""
    path = directory / PID
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return None


def _show(log: Path, shown: int) -> int:
    """Print the log from byte `shown` on; returns how far it was printed."""
    with log.open("rb") as file:
        file.seek(shown)
        new = file.read()
    sys.stdout.write(new.decode(errors="replace"))
    sys.stdout.flush()
    return shown + len(new)


def main(arguments: list[str]) -> str:
    """Do what the command line asks for; returns what to tell the caller."""
    match arguments:
        case ["start", directory, port, *command] if command and port.isdecimal():
            return start(Path(directory), int(port), command)
        case ["stop", directory]:
            return stop(Path(directory))
    sys.exit(f"usage:\n{__doc__}")


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. What was started goes on in the background; `make stop` ends it.")
