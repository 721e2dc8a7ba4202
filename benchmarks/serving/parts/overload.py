"""More requests than can be answered: answers in time a second, beside those of the saturated service."""

from contextlib import ExitStack

from benchmarks.serving import sides
from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.open_loop import open_loop
from benchmarks.serving.results import Findings
from benchmarks.serving.stage import Stage

K = 10
DEADLINE_MS = 300
"""Both as the targets say."""
TIMES = (2, 3)
_MIN_SECONDS = 3.0
"""Chosen: ten times the deadline, so that the start of a round weighs little."""


def measure(stage: Stage) -> Findings:
    """Ours, and the code before, at twice and three times the rate that saturates each."""
    findings = Findings("overload")
    bodies = stage.bodies(K)
    plain = stage.body_file("plain", bodies)
    urgent = stage.body_file("urgent", [{**body, "deadline_ms": DEADLINE_MS} for body in bodies])
    seconds = max(_MIN_SECONDS, stage.seconds)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                sides.serving(sides.ours(code, stage.bundles(code), stage.device), stage.work, bodies[0])
            )
            for code in (stage.ours, *stage.before[:1])
        ]
        for number in range(stage.rounds):
            for server in servers:
                name = server.side.name
                peak = closed_loop(
                    server.url, plain, connections=stage.connections, seconds=stage.seconds
                ).rate
                findings.add(f"{name} answers/s, saturated", peak)
                for times in TIMES:
                    found = open_loop(
                        server.port,
                        urgent,
                        rate=times * peak,
                        seconds=seconds,
                        seed=number,
                        deadline_ms=DEADLINE_MS,
                        headers={"X-Deadline-Ms": str(DEADLINE_MS)},
                    )
                    findings.add(f"{name} in time/s at {times} ×", found.in_time / found.seconds)
                    findings.add(f"{name} refused at {times} ×", found.refused)
                    if found.refused_p99_ms is not None:
                        findings.add(f"{name} p99 ms of a refusal at {times} ×", found.refused_p99_ms)
                    findings.add(
                        f"{name} late, broken or unanswered at {times} ×",
                        found.asked - found.in_time - found.refused,
                    )
                    findings.add(f"generator's lag p99 ms at {times} × of {name}", found.lag_p99_ms)
                server.process.rest()
    findings.notes |= {
        "k": K,
        "deadline_ms": DEADLINE_MS,
        "arrivals": "Poisson",
        "latency": "from the intended start",
    }
    _report(findings, [server.side.name for server in servers])
    return findings


def _report(findings: Findings, names: list[str]) -> None:
    rounds = findings.rounds
    for name in names:
        prefix = "" if name == "ours" else f"{name}: "
        for times in TIMES:
            findings.compare(
                f"{prefix}goodput at {times} × saturation, of the peak",
                "in time/s",
                rounds[f"{name} in time/s at {times} ×"],
                "peak",
                rounds[f"{name} answers/s, saturated"],
            )
            refusals = rounds.get(f"{name} p99 ms of a refusal at {times} ×")
            if refusals:
                findings.report(f"{prefix}p99 of a refusal at {times} × saturation", "ms", refusals)
