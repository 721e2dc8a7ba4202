"""Memory of processes that serve a million items (`--items`), and how long one takes to be ready."""

import re
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from benchmarks.serving import sides
from benchmarks.serving.parts.computing import of_kind, synthetic
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server
from benchmarks.serving.stage import Stage
from bundle.read import read_bundle

GB = 1e9
_ASKED = 64
"""Requests before memory is looked at."""


def measure(stage: Stage) -> Findings:
    """In each round one process is started, asked, and then another beside it."""
    findings = Findings("memory")
    bodies = stage.bodies(10)
    bundles = {of_kind(kind): synthetic(stage, stage.items, kind=kind) for kind in stage.kinds}
    for _ in range(stage.rounds):
        for kind, root in bundles.items():
            side = sides.ours(stage.ours, root, stage.device)
            with ExitStack() as stack:
                for name in ("first", "second"):
                    server = stack.enter_context(sides.serving(side, stage.work, bodies[0]))
                    for body in bodies[:_ASKED]:
                        server.ask(body)
                    private = _sum(server, "Private_Clean") + _sum(server, "Private_Dirty")
                    findings.add(f"{kind}{name} start to first answer, s", server.ready_s)
                    findings.add(f"{kind}{name} RSS, GB", _sum(server, "Rss"))
                    findings.add(f"{kind}{name} private, GB", private)
    kinds = [read_bundle(root).index.kind for root in bundles.values()]
    findings.notes |= {"items": stage.items, "dim": 64, "kinds": kinds, "asked": _ASKED}
    rounds = findings.rounds
    for kind in bundles:
        findings.report(f"{kind}first process, RSS", "GB", rounds[f"{kind}first RSS, GB"])
        findings.report(f"{kind}each further process, private", "GB", rounds[f"{kind}second private, GB"])
        findings.report(f"{kind}start to ready", "s", rounds[f"{kind}first start to first answer, s"])
    return findings


def _sum(server: Server, field: str) -> float:
    """A figure of /proc/PID/smaps_rollup in GB, of all processes of a server."""
    total = 0
    for process in server.process.tree():
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(kb) for kb in re.findall(rf"^{field}: +(\d+) kB", text, re.MULTILINE))
    return 1024 * total / GB
