"""A changed catalogue of 100,000 items: its throughput beside an unchanged one, and the way of a change."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.serving import sides
from benchmarks.serving.catalogue_calls import Calls, change_many, new_item, until_found
from benchmarks.serving.closed_loop import closed_loop
from benchmarks.serving.parts.computing import synthetic
from benchmarks.serving.parts.workers import redis_running
from benchmarks.serving.processes import SERVER_CORE
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server
from benchmarks.serving.stage import Stage
from bundle.read import read_bundle
from service.access.keys import create_key
from service.access.roles import Role

K = 10
"""As everywhere where no other is named."""
ITEMS = 100_000
ADDED = (1_000, 20_000)
"""New items; the second number is the most that there may be."""
REMOVED = 5_000
PUTS = 50
"""Of a round, one after the other."""


def measure(stage: Stage) -> Findings:
    """Answers a second with changes and without, in turns; and the time until a put item is found."""
    findings = Findings("changes")
    asked = stage.body_file("changes", stage.bodies(K))
    known, key = _known(stage), _key(stage)
    with ExitStack() as stack:
        plain = stack.enter_context(_served(stage, "unchanged"))
        changed = {}
        for count in ADDED:
            changed[count] = stack.enter_context(_served(stage, f"{count:,} added"))
            to_come = PUTS * stage.rounds if count == ADDED[-1] else 0
            change_many(changed[count], key, known, count - to_come, REMOVED)
        for server in (plain, *changed.values()):
            closed_loop(server.url, asked, connections=stage.connections, seconds=1)
        for server in (plain, *changed.values()):
            server.process.rest()  # an index of what was added is made within a second or two
        for number in range(stage.rounds):
            for server in (plain, *changed.values()):
                load = closed_loop(server.url, asked, connections=stage.connections, seconds=stage.seconds)
                findings.add(f"{server.side.name}: answers/s", load.rate)
                findings.add(f"{server.side.name}: refused", load.refused)
                findings.add(f"{server.side.name}: p99 ms", load.p99_ms)
            calls = Calls(changed[ADDED[-1]], key)
            _keep(findings, "here", until_found(calls, calls, _new(known, f"seen-{number}")))
    findings.notes |= _notes() | {"connections": stage.connections, "k": K, "removed": REMOVED}
    for count, server in changed.items():
        findings.compare(
            f"{count:,} items added and 5 % removed, of unchanged",
            "answers/s",
            findings.rounds[f"{server.side.name}: answers/s"],
            "unchanged",
            findings.rounds["unchanged: answers/s"],
        )
    _report(findings)
    return findings


def measure_replicas(stage: Stage) -> Findings:
    """The time until an item that one replica was given is found by another, by way of Redis."""
    findings = Findings("changes-replicas")
    known, key = _known(stage), _key(stage)
    with ExitStack() as stack:
        url = stack.enter_context(redis_running(stage.work))
        here, there = (
            stack.enter_context(_served(stage, name, "--redis", url, core=core))
            for name, core in (("replica a", SERVER_CORE), ("replica b", None))
        )
        change_many(here, key, known, ADDED[-1] - 2 * PUTS * stage.rounds, REMOVED)
        for server in (here, there):
            server.process.rest()
        for number in range(stage.rounds):
            for where, asked in (("here", here), ("in another replica", there)):
                took = until_found(Calls(here, key), Calls(asked, key), _new(known, f"{asked.port}-{number}"))
                _keep(findings, where, took)
    findings.notes |= _notes() | {"Redis": "on the same machine", "polled": "every 2 ms"}
    _report(findings)
    return findings


def _keep(findings: Findings, where: str, took: list[float]) -> None:
    for percent in (50, 99):
        findings.add(f"PUT to found {where}, p{percent}", float(np.percentile(took, percent)))


def _report(findings: Findings) -> None:
    for name, rounds in findings.rounds.items():
        if name.startswith("PUT"):
            findings.report(name, "ms", rounds)


def _new(known: list[str], name: str) -> list[dict[str, Any]]:
    generator = Random(name)
    return [new_item(f"{name}-{number}", known, generator) for number in range(PUTS)]


def _notes() -> dict[str, Any]:
    return {
        "items": ITEMS,
        "added": f"{ADDED[-1]:,}",
        "PUTs of a round": PUTS,
        "their vectors": "of 2 others",
    }


def _known(stage: Stage) -> list[str]:
    """The items that others may be like: those with events."""
    catalogue = read_bundle(synthetic(stage, ITEMS)).catalogue
    counts = zip(catalogue.item_ids, catalogue.popularity.tolist(), strict=True)
    return [item_id for item_id, count in counts if count]


@contextmanager
def _served(stage: Stage, name: str, *options: str, core: int | None = SERVER_CORE) -> Iterator[Server]:
    """A service of its own copy of the synthetic bundle, beside which its changes lie."""
    root = stage.work / name.replace(" ", "-").replace(",", "")
    shutil.copytree(synthetic(stage, ITEMS), root)
    side = sides.ours(stage.ours, root, stage.device, *options)
    environment = {**side.environment, "DIMEREC_KEYS_FILE": str(_keys_file(stage))}
    side = replace(side, name=name, environment=environment)
    with sides.serving(side, stage.work, stage.bodies(K)[0], core=core) as server:
        yield server


def _keys_file(stage: Stage) -> Path:
    return stage.work / "keys.json"


def _key(stage: Stage) -> str:
    """A new key of that file."""
    kept = stage.work / "key"
    if not kept.exists():
        kept.write_text(create_key(_keys_file(stage), "bench", [Role.READ, Role.CATALOGUE]))
    return kept.read_text()
