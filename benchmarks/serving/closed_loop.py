"""Closed-loop load: so many connections, each of which asks again as soon as it has its answer, by wrk."""

import json
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.serving.open_loop import closed_loop as generate_closed
from benchmarks.serving.processes import GENERATOR_CORE, BenchmarkError, pinned

_SCRIPT = Path(__file__).with_name("wrk.lua")
MISSING = (
    "wrk is not installed (apt-get install wrk, or sh tests/provide.sh): generator.py loads instead of it"
)


@dataclass(frozen=True)
class Load:
    """Answers of one round of load, and how long they took."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int = 0
    """Answers of a status above 399; they count among `answers`."""
    bytes: int = 0
    generator_busy: float = 0.0
    """Part of its core that the generator used, 0 … 1."""

    @property
    def rate(self) -> float:
        """Answers a second; a refusal is none."""
        return (self.answers - self.refused) / self.seconds


def have_wrk() -> bool:
    """True where wrk is installed."""
    return shutil.which("wrk") is not None


def closed_loop(
    url: str, bodies: Path, *, connections: int, seconds: float, core: int | None = GENERATOR_CORE
) -> Load:
    """One round of load by wrk, on a core of its own; or by `generator.py` where it is missing.

    Raises BenchmarkError where a connection broke or no answer came.
    """
    if not have_wrk():
        return _generated(url, bodies, connections, seconds, core)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s"]
    command += ["-s", str(_SCRIPT), url, "--", str(bodies)]
    used, began = _children_s(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=pinned(core))
    busy = (_children_s() - used) / (time.perf_counter() - began)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise BenchmarkError(f"wrk failed on {url}: {(done.stderr or done.stdout).strip()[-300:]}")
    found = json.loads(lines[-1])
    if found["broken"] or not found["requests"]:
        raise BenchmarkError(f"{url}: {found['broken']} connections broke, {found['requests']} answers came")
    return Load(
        answers=found["requests"],
        seconds=found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        refused=found["refused"],
        bytes=found["bytes"],
        generator_busy=busy,
    )


def _generated(url: str, bodies: Path, connections: int, seconds: float, core: int | None) -> Load:
    port = urlsplit(url).port or 80
    used, began = _children_s(), time.perf_counter()
    found = generate_closed(port, bodies, connections=connections, seconds=seconds, core=core)
    return Load(
        answers=found.good + found.refused + found.other,
        seconds=found.seconds,
        p50_ms=found.p50_ms or 0.0,
        p99_ms=found.p99_ms or 0.0,
        refused=found.refused + found.other,
        generator_busy=(_children_s() - used) / (time.perf_counter() - began),
    )


def _children_s() -> float:
    """Processor time of children that have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
