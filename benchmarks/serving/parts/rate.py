"""Latency against the rate of requests, which come at moments of a Poisson process (open loop)."""

from contextlib import ExitStack
from pathlib import Path

from benchmarks.serving import sides
from benchmarks.serving.checkouts import HERE
from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.open_loop import closed_loop as generate_closed
from benchmarks.serving.open_loop import open_loop
from benchmarks.serving.peer_sides import FASTAPI, PEERS, peer
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server
from benchmarks.serving.stage import Stage

K = 10
"""As the targets say."""
PARTS_OF_SATURATION = (0.3, 0.5, 0.7, 0.9)
COMPARED_AT = 0.7
"""As the targets say."""


def measure(stage: Stage) -> Findings:
    """Ours at parts of its own saturation, beside its lone request."""
    findings = Findings("rate")
    bodies = stage.bodies(K)
    asked = stage.body_file("rate", bodies)
    with ExitStack() as stack:
        side = sides.ours(stage.ours, stage.bundles(stage.ours), stage.device)
        server = stack.enter_context(sides.serving(side, stage.work, bodies[0]))
        closed_loop(server.url, asked, connections=8, seconds=1)
        for number in range(stage.rounds):
            saturated = closed_loop(
                server.url, asked, connections=stage.connections, seconds=stage.seconds
            ).rate
            findings.add("ours answers/s, saturated", saturated)
            lone = generate_closed(server.port, asked, connections=1, seconds=1)
            findings.add("ours lone p50 ms", lone.p50_ms or 0)
            for part in PARTS_OF_SATURATION:
                found = open_loop(
                    server.port, asked, rate=part * saturated, seconds=stage.seconds, seed=number
                )
                findings.add(f"ours p50 ms at {part:.0%}", found.p50_ms or 0)
                findings.add(f"ours p99 ms at {part:.0%}", found.p99_ms or 0)
                findings.add(f"generator's lag p99 ms at {part:.0%}", found.lag_p99_ms)
    findings.notes |= {"k": K, "arrivals": "Poisson", "latency": "from the intended start"}
    lone_ms = findings.rounds["ours lone p50 ms"]
    for part in PARTS_OF_SATURATION:
        p99 = findings.rounds[f"ours p99 ms at {part:.0%}"]
        name = f"p99 at {100 * part:.0f} % of saturation, of lone p50"
        findings.compare(name, "ms", p99, "lone p50", lone_ms)
    return findings


def measure_peers(stage: Stage) -> Findings:
    """Ours and each peer at one rate, 70 % of what saturates the peer."""
    findings = Findings("rate-peers")
    bodies = stage.bodies(K)
    files = {batched: stage.body_file("rate", bodies, batched=batched) for batched in (False, True)}
    with ExitStack() as stack:
        own = stack.enter_context(
            sides.serving(
                sides.ours(stage.ours, stage.bundles(stage.ours), stage.device), stage.work, bodies[0]
            )
        )
        for name in [name for name in (FASTAPI, *PEERS) if name in stage.sides]:
            with sides.serving(peer(name, stage, stage.bundles(HERE)), stage.work, bodies[0]) as other:
                _compare(findings, stage, own, other, files)
    findings.notes |= {"k": K, "arrivals": "Poisson", "latency": "from the intended start"}
    return findings


def _compare(findings: Findings, stage: Stage, own: Server, other: Server, files: dict[bool, Path]) -> None:
    name = other.side.name
    asked = {server.side.name: files[server.side.batched] for server in (own, other)}
    for number in range(stage.rounds):
        rate = (
            COMPARED_AT
            * closed_loop(other.url, asked[name], connections=stage.connections, seconds=stage.seconds).rate
        )
        findings.add(f"{name} rate", rate)
        for server in (own, other):
            found = open_loop(
                server.port, asked[server.side.name], rate=rate, seconds=stage.seconds, seed=number
            )
            findings.add(f"{server.side.name} p99 ms at the rate of {name}", found.p99_ms or 0)
    p99 = {one: findings.rounds[f"{one} p99 ms at the rate of {name}"] for one in ("ours", name)}
    findings.compare(f"p99 at 70 % of {name}'s saturation", "ms", p99["ours"], name, p99[name])
