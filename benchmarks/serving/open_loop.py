"""Load that does not wait for answers, by `generator.py`: latency against the rate of requests.

`h2load --rps` is not used: it sends one body only, and counts from the moment that a connection was free, so
that the wait of requests behind a slow answer is left out. wrk has no rate.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.serving.processes import GENERATOR_CORE, BenchmarkError, one_thread, output_of, pinned

_SCRIPT = Path(__file__).with_name("generator.py")
MAX_CONNECTIONS = 2048
"""Chosen: more than requests can wait at three times saturation within a deadline of 300 ms."""


class Answered(BaseModel):
    """One round of load, latencies from the intended start of each request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: int
    seconds: float
    good: int
    """Answers of status 200."""
    in_time: int
    """Those of them within the deadline."""
    refused: int
    """Answers of status 503."""
    other: int
    unanswered: int
    p50_ms: float | None
    p99_ms: float | None
    refused_p99_ms: float | None
    lag_p99_ms: float
    """Lateness of the generator itself."""


def open_loop(
    port: int,
    bodies: Path,
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    deadline_ms: float | None = None,
    headers: Mapping[str, str] | None = None,
    core: int | None = GENERATOR_CORE,
) -> Answered:
    """Ask `rate` times a second, at moments of a Poisson process."""
    plan = {"rate": rate, "connections": MAX_CONNECTIONS, "seed": seed, "deadline_ms": deadline_ms}
    return _run(
        {**plan, "port": port, "bodies": str(bodies), "seconds": seconds, "headers": dict(headers or {})},
        core,
    )


def closed_loop(
    port: int, bodies: Path, *, connections: int, seconds: float, core: int | None = GENERATOR_CORE
) -> Answered:
    """Ask again with each answer, on so many connections: where wrk is missing, and to show the ceiling."""
    plan = {"rate": 0, "connections": connections, "seed": 0, "seconds": seconds}
    return _run({**plan, "port": port, "bodies": str(bodies)}, core)


def _run(plan: Mapping[str, object], core: int | None) -> Answered:
    output = output_of(
        [sys.executable, "-P", _SCRIPT],
        "the generator failed",
        input=json.dumps(plan),
        env=one_thread({}),
        preexec_fn=pinned(core),
    )
    answered = Answered.model_validate_json(output)
    if not answered.good:
        raise BenchmarkError(f"port {plan['port']}: {answered.asked} requests, no answer of status 200")
    return answered
