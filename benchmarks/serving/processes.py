"""Processes that are measured or that measure: on one core, awaited, ended with their children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

SERVER_CORE, GENERATOR_CORE = 0, 1
_START_S = 120.0
_GRACE_S = 8.0
"""Guards: a peer that has not started by then, or not ended, is taken for stuck."""


_REST_S = 60.0
"""A guard: the longest deadline that a server gives by default is 10 s."""
_IDLE_SHARE = 0.05
"""Of a core: less is housekeeping."""


class BenchmarkError(RuntimeError):
    """A side of the benchmark cannot be measured; the message names the remedy."""


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def one_thread(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has one core."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONUNBUFFERED": "1", **extra}


def output_of(command: Sequence[str | Path], fault: str, **options: Any) -> str:
    """The output of a command once it has ended; `options` are those of `subprocess.run`.

    Raises BenchmarkError: `fault`, and the end of what the command complained of.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise BenchmarkError(f"{fault}: {done.stderr.strip()[-400:]}")
    output: str = done.stdout
    return output


def pinned(core: int | None) -> partial[None] | None:
    """A function for a new process to run before its program: it keeps it on one core."""
    return None if core is None else partial(os.sched_setaffinity, 0, {core})


class Process:
    """A server of its own session, its output in a file; ended, with its children, by `stop`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.started = time.perf_counter()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._process.pid

    def rest(self) -> None:
        """Wait until it computes nothing any more: one that was asked too much goes on for a while.

        Raises BenchmarkError where it never ends.
        """
        ends = time.perf_counter() + _REST_S
        while self._cpu_share(0.5) > _IDLE_SHARE:
            if time.perf_counter() > ends:
                raise BenchmarkError(f"{self.name} computes on, {_REST_S:.0f} s after its last request")

    def _cpu_share(self, seconds: float) -> float:
        """Part of a core that it and its children take."""
        before = sum(self.cpu_seconds().values())
        time.sleep(seconds)
        return (sum(self.cpu_seconds().values()) - before) / seconds

    def tree(self) -> list[psutil.Process]:
        """The process and all that descend from it."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def check(self) -> None:
        """Raise BenchmarkError where it has ended."""
        if self._process.poll() is not None:
            raise BenchmarkError(f"{self.name} ended: {self.last_words()} (all: {self.log})")

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def await_ready(self, ready: Callable[[], bool], within_s: float = _START_S) -> float:
        """Seconds from the start until `ready()`. Raises BenchmarkError where it ends or takes too long."""
        while not ready():
            self.check()
            if time.perf_counter() - self.started > within_s:
                raise BenchmarkError(f"{self.name} is not ready after {within_s:.0f} s (see {self.log})")
            time.sleep(0.05)
        return time.perf_counter() - self.started

    def pin(self, core: int | None) -> None:
        """Keep all its threads, and what they start, on one core; None: wherever they are."""
        if core is None:
            return
        for process in self.tree():
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})

    def cpu_seconds(self) -> dict[int, float]:
        """Processor time of each process of the tree so far, by its id."""
        found: dict[int, float] = {}
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found

    def stop(self) -> None:
        """End it and its children, politely at first."""
        tree = self.tree()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


@contextmanager
def stopped_at_end(process: Process) -> Iterator[Process]:
    """The process, ended with the block."""
    try:
        yield process
    finally:
        process.stop()
