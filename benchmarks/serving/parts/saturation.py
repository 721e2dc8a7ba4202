"""Saturated: answers a second over many connections, every side on one core."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from statistics import median

from benchmarks.serving import sides
from benchmarks.serving.bare_engine import BareEngine
from benchmarks.serving.checkouts import HERE, Code
from benchmarks.serving.closed_loop import Load, closed_loop
from benchmarks.serving.peer_sides import FASTAPI, PEERS, peer
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server, Side
from benchmarks.serving.stage import Stage

BATCH = 64
"""The service's largest batch by default."""
_WARM_S = 1.0
"""Before anything counts, until threads and caches are there."""


def measure(stage: Stage, k: int) -> Findings:
    """Rates of all sides, in turns, with `k` items an answer."""
    findings = Findings("saturation" if k == 10 else f"saturation-{k}")
    bodies = stage.bodies(k)
    files = {batched: stage.body_file(f"k{k}", bodies, batched=batched) for batched in (False, True)}
    with ExitStack() as stack:
        servers = start(stage, stack, k)
        engines = [
            stack.enter_context(BareEngine(code, stage.bundles(code), stage.device, stage.work))
            for code in bare_codes(stage)
        ]
        sides.check_agreement([one for one in servers if one.side.name != "floor"], bodies)
        for server in servers:
            closed_loop(server.url, files[server.side.batched], connections=8, seconds=_WARM_S)
        for _ in range(stage.rounds):
            for server in servers:
                load = closed_loop(
                    server.url,
                    files[server.side.batched],
                    connections=stage.connections,
                    seconds=stage.seconds,
                )
                _keep(findings, server.side.name, load)
            for engine in engines:
                for batch in (BATCH, 1):
                    _keep_batches(findings, engine, engine.batches(files[False], batch, 1.0), batch)
        findings.notes["configurations"] = {one.side.name: one.side.configuration for one in servers}
    findings.notes |= {"k": k, "connections": stage.connections, "seconds": stage.seconds}
    _report(findings, stage)
    return findings


def start(stage: Stage, stack: ExitStack, k: int) -> list[Server]:
    """The sides that the stage asks for, started; ours is the first, the floor (if asked for) the second."""
    bodies = stage.bodies(k)

    def started(side: Side) -> Server:
        return stack.enter_context(sides.serving(side, stage.work, bodies[0]))

    servers = [started(sides.ours(stage.ours, stage.bundles(stage.ours), stage.device))]
    if "floor" in stage.sides:
        typical = sorted(bodies, key=lambda body: len(body["history"]))[len(bodies) // 2]
        servers.append(
            started(sides.floor(sides.can_answers(servers[0], {k: typical}, stage.work / "canned")))
        )
    servers += [started(sides.ours(code, stage.bundles(code), stage.device)) for code in stage.before]
    names = [name for name in (FASTAPI, *PEERS) if name in stage.sides]
    return servers + [started(peer(name, stage, stage.bundles(HERE))) for name in names]


def bare_codes(stage: Stage) -> list[Code]:
    """Ours, and the first earlier one, where engines without HTTP are asked for."""
    return [stage.ours, *stage.before[:1]] if "bare" in stage.sides else []


def ideal(floor: Sequence[float], compute_ms: Sequence[float]) -> list[float]:
    """Answers a second if HTTP took the floor's time, computing the bare engine's, and nothing else any."""
    return [1 / (1 / rate + ms / 1000) for rate, ms in zip(floor, compute_ms, strict=True)]


def _keep(findings: Findings, name: str, load: Load) -> None:
    for quantity, value in asdict(load).items():
        if quantity in ("p50_ms", "p99_ms", "refused", "generator_busy"):
            findings.add(f"{name} {quantity}", value)
    findings.add(f"{name} answers/s", load.rate)


def _keep_batches(findings: Findings, engine: BareEngine, took: Sequence[float], batch: int) -> None:
    findings.add(f"bare {engine.name} ms a request, batch of {batch}", 1000 * median(took) / batch)


def _report(findings: Findings, stage: Stage) -> None:
    rounds = findings.rounds
    own = rounds["ours answers/s"]
    compute = rounds.get(f"bare ours ms a request, batch of {BATCH}")
    if compute and "floor answers/s" in rounds:
        best = ideal(rounds["floor answers/s"], compute)
        findings.compare("of the ideal", "answers/s", own, "1 / (floor + compute)", best)
    if stage.before and compute:
        name = stage.before[0].name
        for batch, called in ((BATCH, "batch of 64"), (1, "batch of one")):
            quantity = "bare {} ms a request, batch of " + str(batch)
            earlier = rounds[quantity.format(name)]
            findings.compare(
                f"{called}, of before", "ms a request", rounds[quantity.format("ours")], name, earlier
            )
    if "floor answers/s" in rounds:
        busy = rounds["floor generator_busy"]
        ceilings = [rate / part for rate, part in zip(rounds["floor answers/s"], busy, strict=True)]
        findings.compare("generator's ceiling ÷ ours", "answers/s", ceilings, "ours", own)
        findings.compare(
            "generator's ceiling ÷ floor", "answers/s", ceilings, "floor", rounds["floor answers/s"]
        )
    others = [name.removesuffix(" answers/s") for name in rounds if name.endswith(" answers/s")]
    for name in others[1:]:
        findings.compare(f"ours ÷ {name}", "answers/s", own, name, rounds[f"{name} answers/s"])
