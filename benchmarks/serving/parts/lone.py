"""A lone request: one connection, histories kept by the service, beside the floor and a batch of one."""

from contextlib import ExitStack
from random import Random
from statistics import median

from benchmarks.serving import sides
from benchmarks.serving.bare_engine import BareEngine
from benchmarks.serving.bodies import Body, stored_bodies
from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.results import Findings
from benchmarks.serving.stage import Stage

K = 10
"""As the first target says."""


def measure(stage: Stage) -> Findings:
    """Latencies over one connection, in turns with batches of one."""
    findings = Findings("lone")
    stored = stored_bodies(stage.dataset.user_ids, K)
    asked = stage.body_file("stored", stored)
    computed = stage.body_file("computed", [_inline(stage, body) for body in stored])
    with ExitStack() as stack:
        servers = []
        for code in (stage.ours, *stage.before[:1]):
            history = ("--history", str(stage.data))
            side = sides.ours(code, stage.bundles(code), stage.device, *history)
            servers.append(stack.enter_context(sides.serving(side, stage.work, stored[0])))
        canned = sides.can_answers(servers[0], {K: Random(0).choice(stored)}, stage.work / "canned")
        floor = stack.enter_context(sides.serving(sides.floor(canned), stage.work, stored[0]))
        engines = [
            stack.enter_context(BareEngine(code, stage.bundles(code), stage.device, stage.work))
            for code in (stage.ours, *stage.before[:1])
        ]
        for server in (*servers, floor):
            closed_loop(server.url, asked, connections=1, seconds=1)
        for _ in range(stage.rounds):
            for server in (*servers, floor):
                load = closed_loop(server.url, asked, connections=1, seconds=stage.seconds)
                findings.add(f"{server.side.name} p50 ms", load.p50_ms)
                findings.add(f"{server.side.name} p99 ms", load.p99_ms)
            for engine in engines:
                took = engine.batches(computed, 1, 1.0)
                findings.add(f"bare {engine.name} ms, batch of one", 1000 * median(took))
    findings.notes |= {"k": K, "histories": "in process, all events of a user of the demo's data"}
    _report(findings, stage)
    return findings


def _inline(stage: Stage, body: Body) -> Body:
    """The same request with the user's history inside: what the service asks the engine."""
    user = stage.dataset.user_ids.index(body["user_id"])
    rest = {name: value for name, value in body.items() if name != "user_id"}
    return {"history": stage.histories[user], **rest}


def _report(findings: Findings, stage: Stage) -> None:
    rounds = findings.rounds
    least = [
        floor + compute
        for floor, compute in zip(rounds["floor p50 ms"], rounds["bare ours ms, batch of one"], strict=True)
    ]
    findings.compare(
        "p50, of floor + batch of one", "ms", rounds["ours p50 ms"], "floor + batch of one", least
    )
    findings.report("p99", "ms", rounds["ours p99 ms"])
    for code in stage.before[:1]:
        for row, quantity in (
            ("batch of one, of before", "bare {} ms, batch of one"),
            ("p50, of before", "{} p50 ms"),
            ("p99, of before", "{} p99 ms"),
        ):
            findings.compare(
                row, "ms", rounds[quantity.format("ours")], code.name, rounds[quantity.format(code.name)]
            )
