"""Search alone: our indexes beside other libraries, 64 generated interests at once, one thread and two."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np

from benchmarks.serving.checkouts import ROOT
from benchmarks.serving.peer_sides import environment_python
from benchmarks.serving.processes import SERVER_CORE, BenchmarkError, one_thread, output_of, pinned
from benchmarks.serving.results import Findings
from benchmarks.serving.stage import Stage
from benchmarks.serving.synthetic import spread_vectors
from index.tuning import IndexKind
from index.vector_index import Vectors
from model.batch import collate
from model.checkpoint import read_checkpoint
from model.interests import InterestFinder, InterestSettings
from training.run import BEST_FILE, read_run_config

QUERIES = 512
_NEAREST = 100
"""Eight batches of 64; recall@100 as the targets say."""
_USERS = 64
_SECONDS = 0.3
"""Of a setting in a round."""
OTHERS = ("faiss-hnsw", "faiss-ivf", "hnswlib", "usearch", "svs")
TARGETED = ("hnswlib", "usearch", "svs")
RECALL, SMALL_RECALL, SMALL_RAW = 0.95, 0.93, 1.3
_SCRIPT = Path(__file__).parents[1] / "peers" / "searching.py"


class Library:
    """A library that searches, in a process of its own."""

    def __init__(self, name: str, python: Path, directory: Path, threads: int, stack: ExitStack) -> None:
        self.name = name
        command = [str(python), "-P", str(_SCRIPT), name, str(directory)]
        environment = one_thread({"PYTHONPATH": str(ROOT)})
        environment["OMP_NUM_THREADS"] = str(threads)
        self._process: Any = stack.enter_context(
            subprocess.Popen(
                [*command, str(threads)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                preexec_fn=pinned(SERVER_CORE if threads == 1 else None),
            )
        )
        stack.callback(self._process.kill)
        first = self._line()
        self.memory_gb = float(first["memory_gb"])
        self.recall: dict[str, float] = first["recall"]

    def rates(self) -> dict[str, float]:
        """Queries a second by setting."""
        self._process.stdin.write(f"{_SECONDS}\n")
        rates: dict[str, float] = self._line()
        return rates

    def _line(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name} ended without an answer")
        return json.loads(line)


def measure(stage: Stage) -> Findings:
    """All libraries in turns, with one thread and then with two."""
    findings = Findings("search")
    directory = prepared(stage)
    raw = np.load(directory / "vectors.npy", mmap_mode="r").nbytes / 1e9
    findings.notes |= {"items": stage.items, "k": 128, "at once": 64, "raw float32, GB": round(raw, 3)}
    for threads in (1, 2):
        with ExitStack() as stack:
            libraries = [Library(name, build(stage, name), directory, threads, stack) for name in names()]
            for _ in range(stage.rounds):
                for library in libraries:
                    for setting, rate in library.rates().items():
                        findings.add(f"{library.name} {setting}: queries/s, threads = {threads}", rate)
        findings.notes[f"threads = {threads}"] = {
            one.name: {"memory, GB": round(one.memory_gb, 3), "recall@100": one.recall} for one in libraries
        }
        _report(findings, libraries, threads, raw)
    return findings


def prepared(stage: Stage) -> Path:
    """A directory with vectors, generated interests, and the nearest of each by a full product."""
    directory = stage.cache / "search" / str(stage.items)
    if not (directory / "exact.npy").exists():
        directory.mkdir(parents=True, exist_ok=True)
        trained = read_checkpoint(stage.run / BEST_FILE)
        vectors, _ = spread_vectors(trained.item_vectors().detach().numpy(), stage.items)
        queries = _interests(stage)
        np.save(directory / "vectors.npy", vectors)
        np.save(directory / "queries.npy", queries)
        cosines = np.concatenate([queries @ block.T for block in np.array_split(vectors, 20)], axis=1)
        nearest = np.argpartition(-cosines, _NEAREST, axis=1)[:, :_NEAREST]
        np.save(directory / "exact.npy", nearest)
    return directory


def _interests(stage: Stage) -> Vectors:
    """Interests that the demo's model draws for some users of its data."""
    model, serving = read_checkpoint(stage.run / BEST_FILE), read_run_config(stage.run).training.serving
    settings = InterestSettings(8, serving.steps, "draws", serving.guidance_weight)
    histories = [stage.dataset.history(user).tolist() for user in range(_USERS)]
    batch = collate(histories, model.config.max_length, "cpu")
    found = InterestFinder(model).find(batch, [settings] * len(histories), list(range(len(histories))))
    vectors: Vectors = np.concatenate([one.vectors for one in found])[:QUERIES]
    return np.ascontiguousarray(vectors)


def names() -> list[str]:
    """Ours of each kind, and the others."""
    return [*(f"ours-{kind}" for kind in get_args(IndexKind)), *OTHERS]


def build(stage: Stage, name: str) -> Path:
    """Build the index of a library where the cache has none; the interpreter that searches it."""
    ours = name.startswith("ours-")
    python = Path(sys.executable) if ours else environment_python("search", stage.cache)
    directory = prepared(stage)
    if not (directory / f"{name}.index").exists():
        output_of(
            [python, "-P", _SCRIPT, name, directory, "build"],
            f"{name} cannot build its index",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    return python


def _best(findings: Findings, library: Library, threads: int) -> list[float] | None:
    """Rates at the fastest setting with enough recall."""
    rates = [
        findings.rounds[f"{library.name} {setting}: queries/s, threads = {threads}"]
        for setting, recall in library.recall.items()
        if recall >= RECALL
    ]
    return max(rates, key=median) if rates else None


def _small(libraries: list[Library], findings: Findings, threads: int, raw: float) -> tuple[Library, str]:
    """Our fastest index and setting of enough recall, among the small ones where there is any."""
    small = [one for one in libraries if one.memory_gb <= SMALL_RAW * raw] or libraries
    found = [
        (one, setting) for one in small for setting, recall in one.recall.items() if recall >= SMALL_RECALL
    ]
    return max(
        found,
        key=lambda one: median(findings.rounds[f"{one[0].name} {one[1]}: queries/s, threads = {threads}"]),
    )


def _report(findings: Findings, libraries: list[Library], threads: int, raw: float) -> None:
    best = {one.name: rates for one in libraries if (rates := _best(findings, one, threads)) is not None}
    own = {name: rates for name, rates in best.items() if name.startswith("ours-")}
    others = {name: rates for name, rates in best.items() if name in TARGETED}
    suffix = "" if threads == 1 else f", threads = {threads}"
    for name, rates in best.items():
        findings.report(f"{name}: recall@100 ≥ .95{suffix}", "queries/s", rates)
    if not own or not others:
        return
    memory = {one.name: one.memory_gb for one in libraries}
    ours, peer = (max(rates, key=lambda name: median(rates[name])) for rates in (own, others))
    name = f"queries/s at recall@100 ≥ .95, of the best peer{suffix}"
    findings.compare(name, f"queries/s ({ours})", own[ours], peer, others[peer])
    findings.compare(f"memory at that, of the same peer{suffix}", "GB", [memory[ours]], peer, [memory[peer]])
    small, setting = _small([one for one in libraries if one.name in own], findings, threads, raw)
    findings.report(f"small kind: recall@100{suffix}", f"{small.name} {setting}", [small.recall[setting]])
    findings.compare(
        f"small kind: memory, of raw float32{suffix}", f"GB ({small.name})", [small.memory_gb], "raw", [raw]
    )
    rates = findings.rounds[f"{small.name} {setting}: queries/s, threads = {threads}"]
    findings.compare(
        f"small kind: queries/s, of the best peer{suffix}", "queries/s", rates, peer, others[peer]
    )
