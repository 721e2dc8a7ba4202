"""The computation of a request by itself, no HTTP and no queue: this checkout beside others, on one thread.

    python -m benchmarks.serving.compute                              this checkout, the demo's bundle
    python -m benchmarks.serving.compute --against before=../before   beside another checkout, in turns
    python -m benchmarks.serving.compute --untrained                  the default model, untrained
    python -m benchmarks.serving.compute --device cuda                on a GPU, beside one core

Each side is a process of its own that computes only when it is asked to, so that the sides take turns within
one run. The time is that of the thread's processor, so that neighbours on the machine count for little; with
a GPU it is the clock's.
A checkout whose bundles have another format is given its own: `--against before=CHECKOUT,BUNDLES`.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
DISTINCT = 8
"""Different batches of each case, used in turn: a cache may not know the answer."""
MAX_HISTORY = 50
"""As many events as the model reads."""


class Case(NamedTuple):
    """One kind of batch; None is what the bundle says."""

    batch: int
    k: int
    draws: int | None = None
    steps: int | None = None
    explain: bool = True
    history: int | None = None
    """Items of every history; None: 1 … `MAX_HISTORY`, evenly."""

    def __str__(self) -> str:
        parts = [f"batch {self.batch}", f"k {self.k}"]
        parts += [] if self.draws is None else [f"{self.draws} draws"]
        parts += [] if self.steps is None else [f"{self.steps} steps"]
        parts += [] if self.history is None else [f"histories of {self.history}"]
        return ", ".join(parts if self.explain else [*parts, "not explained"])


CASES = [
    *(Case(64, k) for k in (10, 100, 500)),
    *(Case(64, k, explain=False) for k in (10, 100)),
    *(Case(1, k) for k in (10, 100)),
    *(Case(32, 10, draws=draws) for draws in (1, 4, 8, 16)),
    *(Case(32, 10, draws=1, steps=steps) for steps in (1, 4)),
]
ON_A_GPU = [Case(batch, k) for batch in (1, 16, 64, 256) for k in (10, 100)]
"""Cases of a GPU, which is for large batches."""


class Side:
    """A checkout in a process of its own."""

    def __init__(self, name: str, checkout: Path, bundles: Path, device: str = "cpu", *, clock: bool) -> None:
        self.name = name
        asked = ["--side", str(bundles), "--device", device, *(["--clock"] if clock else [])]
        path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *asked],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()  # it is ready

    def measure(self, case: Case, seconds: float) -> list[float]:
        """Milliseconds a request, of each of as many batches as fit into `seconds`."""
        print(json.dumps({"case": case, "seconds": seconds}), file=self._process.stdin, flush=True)
        found: list[float] = self._line()
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _line(self) -> Any:
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: its message is above")
        return json.loads(line)


def serve_side(bundles: Path, device: str, now: Callable[[], float]) -> None:
    """Answer each line of the standard input: `{"case": […], "seconds": …}` → the times of its batches."""
    import torch  # only here: of the checkout that is measured

    from bundle.read import read_bundle
    from engine.contract import EngineRequest
    from engine.engine import Engine

    torch.set_num_threads(1)
    bundle = read_bundle(bundles, device=device)
    engine = Engine(bundle, max_steps=50)
    item_ids = [bundle.catalogue.item_id(row) for row in range(1, len(bundle.catalogue) + 1)]
    made: dict[Case, Iterator[list[EngineRequest]]] = {}

    def batches(case: Case) -> list[list[EngineRequest]]:
        generator = np.random.default_rng(case.batch)
        return [[one_request(case, generator) for _ in range(case.batch)] for _ in range(DISTINCT)]

    def one_request(case: Case, generator: np.random.Generator) -> EngineRequest:
        length = case.history or int(generator.integers(1, MAX_HISTORY + 1))
        history = [item_ids[line] for line in generator.integers(0, len(item_ids), length)]
        return EngineRequest(
            history=history,
            k=case.k,
            excluded=history,
            draws=case.draws,
            steps=case.steps,
            explain=case.explain,
        )

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        case = Case(*order["case"])
        if case not in made:
            made[case] = cycle(batches(case))
            for batch in islice(made[case], DISTINCT):
                engine.recommend(batch)
            gc.collect()
            gc.freeze()  # the requests of other cases are no part of this one's garbage
        times: list[float] = []
        until = time.perf_counter() + order["seconds"]
        while len(times) < DISTINCT or time.perf_counter() < until:
            batch = next(made[case])
            started = now()
            engine.recommend(batch)
            times.append(1000 * (now() - started) / case.batch)
        print(json.dumps(times), flush=True)


def compare(
    sides: Sequence[Side], cases: Sequence[Case], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure every case on every side, in turns; one row a case, times in ms of CPU a request."""
    rows = []
    for case in cases:
        medians: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                medians[side.name].append(median(side.measure(case, seconds)))
        rows.append({"case": str(case), "rounds": medians})
    return rows


def table(rows: Sequence[dict[str, Any]], unit: str) -> str:
    """The rows as Markdown: the median over the rounds, its range, and the ratio of ours to each other."""
    names = list(rows[0]["rounds"])
    ours, *others = names
    head = [unit, *names, *(f"{ours} / {other}" for other in others)]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        values = row["rounds"]
        cells = [
            f"{median(values[name]):.3f} ({min(values[name]):.3f}–{max(values[name]):.3f})" for name in names
        ]
        ratios = [median(a / b for a, b in zip(values[ours], values[other], strict=True)) for other in others]
        lines.append([row["case"], *cells, *(f"{ratio:.2f}" for ratio in ratios)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def untrained(bundles: Path) -> Iterator[Path]:
    """A bundle of the default architecture, untrained, for the catalogue of another bundle."""
    from bundle.manifest import ServingDefaults
    from bundle.read import read_bundle
    from bundle.write import publish
    from index.building import build_index
    from model.config import ModelConfig
    from model.dimerec import DimeRec

    catalogue = read_bundle(bundles).catalogue
    model = DimeRec(ModelConfig.model_validate({"items": len(catalogue)})).eval()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        publish(
            root,
            model,
            catalogue,
            build_index(model.item_vectors().detach().numpy()),
            serving=ServingDefaults.model_validate({"draws": 8}),
            metrics={},
            data_fingerprint="untrained",
        )
        yield root


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compute of a request, this checkout beside others.")
    parser.add_argument("--bundles", type=Path, default=Path(".demo/bundles"))
    parser.add_argument("--against", action="append", default=[], metavar="NAME=CHECKOUT[,BUNDLES]")
    parser.add_argument("--untrained", action="store_true", help="the default model instead of the bundle's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one side in one round of one case")
    parser.add_argument("--cases", type=int, nargs="+", help="their numbers, from 0; all by default")
    parser.add_argument("--json", type=Path, help="write the rounds there")
    parser.add_argument("--device", default="cpu", help="cuda: there, beside this processor")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--clock", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = arguments()
    if options.side is not None:
        now = time.perf_counter if options.clock else time.thread_time
        serve_side(options.side, options.device, now)
        return
    clock = options.device != "cpu"
    known = ON_A_GPU if clock else CASES
    cases = known if options.cases is None else [known[index] for index in options.cases]
    with untrained(options.bundles) if options.untrained else nullcontext(options.bundles) as bundles:
        sides = [Side("ours", Path.cwd(), bundles.resolve(), options.device, clock=clock)]
        if clock:
            sides.append(Side("one core", Path.cwd(), bundles.resolve(), clock=clock))
        for other in options.against:
            name, _, paths = other.partition("=")
            checkout, _, own = paths.partition(",")
            its = Path(own).resolve() if own else bundles.resolve()
            sides.append(Side(name, Path(checkout).resolve(), its, options.device, clock=clock))
        rows = compare(sides, cases, options.rounds, options.seconds)
        for side in sides:
            side.close()
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows, "ms a request" if clock else "ms of CPU a request"))


if __name__ == "__main__":
    main()
