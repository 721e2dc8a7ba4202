"""The cost of a request (`engine.costs`) beside the processor time that the service takes, over a grid.

The coefficients that fit best stand in the notes of the run: they are what belongs into `engine.costs`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.client import HTTPConnection
from itertools import count, product, repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks.serving import sides
from benchmarks.serving.parts.computing import synthetic
from benchmarks.serving.processes import BenchmarkError
from benchmarks.serving.results import Findings
from benchmarks.serving.sides import Server
from benchmarks.serving.stage import Stage
from bundle.read import read_bundle
from engine.contract import EngineRequest
from engine.costs import COEFFICIENTS, Costs
from engine.engine import Engine
from service.filter_text import filter_of
from service.requests import MAX_STEPS

KS = (1, 10, 100, 500)
DRAWS = (1, 8, 32)
STEPS = (1, 4, 16)
MODES = ("draws", "both")
DIVERSE_KS = (10, 100, 500)
SEARCHED_ITEMS = 100_000
"""Chosen: a catalogue that is searched by an index; the others are scored whole."""
_REQUESTS = 32
"""Of a batch, all of one kind; as many similar items are asked for one after the other."""
_UNBOUNDED = {"DIMEREC_MAX_REQUEST_COST": "1000000", "DIMEREC_MAX_BATCH_COST": "1000000"}
_CPU_CLOCK = 2
"""Linux's CPUCLOCK_SCHED, as `pthread_getcpuclockid` makes a clock of a process' id."""


FILTERS: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "most": lambda own: {"attribute": "length", "at_least": 0.2 - own},
    "two fifths": lambda own: {"attribute": "length", "at_least": 0.6 - own},
    "a tenth": lambda own: {"attribute": "length", "at_least": 0.9 - own},
    "100 numbers": lambda own: {"attribute": "length", "in": [own + number for number in range(100)]},
    "words": lambda own: {"attribute": "tags", "in": ["tag-1", "tag-2", f"tag-{own}"]},
    "32 ranges": lambda own: {"all_of": [{"attribute": "length", "at_least": 0.2 - own}] * 32},
    "32 of words": lambda own: {"any_of": [{"attribute": "tags", "in": ["tag-1", f"tag-{own}"]}] * 32},
}
"""Filters of requests by name; `own` makes one of its own of each, and changes nothing else."""
FILTERED_KS = (10, 100)
_OWN = 1e-12
"""Between the numbers that tell filters apart: far below the share of one item."""


class Point(NamedTuple):
    """One kind of request."""

    name: str
    quantities: Mapping[str, float]
    fields: Mapping[str, Any] | None
    """Of a recommendation; None: `k` similar items."""
    k: int
    filters: Iterator[dict[str, Any]] | None = None
    """Of its requests, one after the other."""


def measure(stage: Stage) -> Findings:
    """The demo's model with its own catalogue and a searched one, and the default model."""
    findings = Findings("costs")
    bundles = {
        "demo": stage.bundles(stage.ours),
        "default model": synthetic(stage, len(stage.dataset.catalogue), "default"),
        f"{SEARCHED_ITEMS:,} items": synthetic(stage, SEARCHED_ITEMS),
    }
    points: dict[str, Point] = {}
    for name, root in bundles.items():
        own = {f"{name}, {point.name}": point for point in _grid(_engine(root).costs)}
        _measure_bundle(findings, stage, name, root, own)
        points |= own
    for items in (len(stage.dataset.catalogue), SEARCHED_ITEMS):
        name, root = f"{items:,} filtered items", synthetic(stage, items, attributes=True)
        own = {f"{name}, {point.name}": point for point in _filtered(_engine(root))}
        _measure_bundle(findings, stage, name, root, own)
        points |= own
    _report(findings, points)
    return findings


def _engine(root: Path) -> Engine:
    return Engine(read_bundle(root), max_steps=MAX_STEPS)


def _filtered(engine: Engine) -> Iterator[Point]:
    """Requests with a filter, each with the same, which is kept, or each with one of its own."""
    own = (_OWN * number for number in count(1))
    for (name, filter_by), k in product(FILTERS.items(), FILTERED_KS):
        asked, other = (
            EngineRequest((), k=k, where=filter_of(json.dumps(filter_by(own)))) for own in (0.0, k * _OWN)
        )
        new = engine.costs.quantities(other)
        engine.recommend([asked])
        known = engine.costs.quantities(asked)
        yield Point(f"k {k}, {name}, kept", known, {"k": k}, k, repeat(filter_by(0.0)))
        yield Point(f"k {k}, {name}", new, {"k": k}, k, map(filter_by, own))


def _grid(costs: Costs) -> Iterator[Point]:
    kinds: list[dict[str, Any]] = [
        {"k": k, "draws": draws, "steps": steps, "interest_mode": mode}
        for k, draws, steps, mode in product(KS, DRAWS, STEPS, MODES)
    ]
    kinds += [{"k": k, "interest_mode": "guidance"} for k in KS]
    kinds += [{"k": k, "diversity": 0.5} for k in DIVERSE_KS]
    for fields in kinds:
        name = ", ".join(f"{field} {value}" for field, value in fields.items())
        yield Point(name, costs.quantities(EngineRequest((), **fields)), fields, fields["k"])
    for k in KS:
        yield Point(f"k {k} similar", costs.similar_quantities(k), None, k)


def _measure_bundle(
    findings: Findings, stage: Stage, name: str, root: Path, points: Mapping[str, Point]
) -> None:
    bodies = stage.bodies(KS[0])
    side = sides.ours(stage.ours, root, stage.device)
    side = replace(side, name=name.replace(" ", "-"), environment={**side.environment, **_UNBOUNDED})
    with sides.serving(side, stage.work, bodies[0]) as server:
        for number in range(stage.rounds + 1):
            own = [bodies[(number * _REQUESTS + row) % len(bodies)] for row in range(_REQUESTS)]
            for quantity, point in points.items():
                took = _cpu_ms(server, _calls(stage, point, own))
                if number:  # the first one warms up
                    findings.add(quantity, took / _REQUESTS)


def _calls(stage: Stage, point: Point, bodies: list[Any]) -> list[tuple[str, str, bytes | None]]:
    """Method, path and body of calls that are `_REQUESTS` requests together."""
    if point.fields is None:
        ids = stage.dataset.catalogue.item_ids[:_REQUESTS]
        return [("GET", f"/items/{item_id}/similar?k={point.k}", None) for item_id in ids]
    fields = {**point.fields, "deadline_ms": 60_000}
    requests = [
        {**body, **fields, **({} if point.filters is None else {"where": next(point.filters)})}
        for body in bodies
    ]
    return [("POST", "/recommend/batch", json.dumps({"requests": requests}).encode())]


def _cpu_ms(server: Server, calls: list[tuple[str, str, bytes | None]]) -> float:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    clock = (~server.process.pid) << 3 | _CPU_CLOCK
    began = time.clock_gettime(clock)
    for method, path, body in calls:
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200 or b'"status":' in content:
            raise BenchmarkError(f"{method} {path}: {response.status} {content[:300]!r}")
    took = time.clock_gettime(clock) - began
    connection.close()
    return 1000 * took


def _report(findings: Findings, points: Mapping[str, Point]) -> None:
    names = list(COEFFICIENTS)
    counts = np.array([[point.quantities.get(name, 0) for name in names] for point in points.values()])
    measured = np.array([median(findings.rounds[quantity]) for quantity in points])
    fitted, _ = nnls(counts / measured[:, None], np.ones(len(measured)))
    for name, coefficients in (("cost", np.array(list(COEFFICIENTS.values()))), ("refitted cost", fitted)):
        ratios = counts @ coefficients / measured
        findings.report(f"{name} ÷ measured, smallest", "", [float(ratios.min())])
        findings.report(f"{name} ÷ measured, greatest", "", [float(ratios.max())])
    findings.notes |= {
        "requests": _REQUESTS,
        "time": "processor ms of the whole process, HTTP and JSON included, in batches of one kind",
        "coefficients": ", ".join(f"{name} {value:.3g}" for name, value in COEFFICIENTS.items()),
        "refitted": ", ".join(f"{name} {value:.3g}" for name, value in zip(names, fitted, strict=True)),
    }
