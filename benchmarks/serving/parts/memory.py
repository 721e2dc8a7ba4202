"""Memory of processes that serve a million items (`--items`), and how long one takes to be ready."""

import re
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from benchmarks.serving import sides
from benchmarks.serving.parts.computing import synthetic
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
    bundles, bodies = synthetic(stage, stage.items), stage.bodies(10)
    for _ in range(stage.rounds):
        with ExitStack() as stack:
            side = sides.ours(stage.ours, bundles, stage.device)
            for name in ("first", "second"):
                server = stack.enter_context(sides.serving(side, stage.work, bodies[0]))
                for body in bodies[:_ASKED]:
                    server.ask(body)
                findings.add(f"{name} start to first answer, s", server.ready_s)
                findings.add(f"{name} RSS, GB", _sum(server, "Rss"))
                findings.add(
                    f"{name} private, GB", _sum(server, "Private_Clean") + _sum(server, "Private_Dirty")
                )
    kind = read_bundle(bundles).index.kind
    findings.notes |= {"items": stage.items, "dim": 64, "kind": kind, "asked": _ASKED}
    rounds = findings.rounds
    findings.report("first process, RSS", "GB", rounds["first RSS, GB"])
    findings.report("each further process, private", "GB", rounds["second private, GB"])
    findings.report("start to ready", "s", rounds["first start to first answer, s"])
    return findings


def _sum(server: Server, field: str) -> float:
    """A figure of /proc/PID/smaps_rollup in GB, of all processes of a server."""
    total = 0
    for process in server.process.tree():
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(kb) for kb in re.findall(rf"^{field}: +(\d+) kB", text, re.MULTILINE))
    return 1024 * total / GB
