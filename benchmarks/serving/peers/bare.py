"""The engine without HTTP: `python bare.py BUNDLES DEVICE` answers each line with a line.

In: a file of bodies, the size of a batch, seconds. Out: the seconds of each batch. It imports nothing of the
benchmark, so that it measures whatever code PYTHONPATH names.
"""

import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from bundle.read import read_bundle
from engine.contract import EngineRequest
from engine.engine import Engine

_MAX_STEPS = 50
"""As the service allows."""


def engine_request(body: dict[str, Any]) -> EngineRequest:
    """A request of the service as it asks the engine."""
    fields = {name: value for name, value in body.items() if name not in ("history", "user_id", "k")}
    history = body["history"]
    return EngineRequest(history=history, k=body["k"], excluded=history, **fields)


def timed(engine: Engine, requests: Sequence[EngineRequest], batch: int, seconds: float) -> list[float]:
    """Seconds of each batch, of requests in turn, until the time is over."""
    source = cycle(requests)
    took: list[float] = []
    until = time.perf_counter() + seconds
    while not took or time.perf_counter() < until:
        taken = list(islice(source, batch))
        started = time.perf_counter()
        engine.recommend(taken)
        took.append(time.perf_counter() - started)
    return took


def main() -> None:
    """Read the bundle, say so, and measure as the lines of standard input ask."""
    torch.set_num_threads(1)
    engine = Engine(read_bundle(Path(sys.argv[1]), device=sys.argv[2]), max_steps=_MAX_STEPS)
    engine.warm_up()
    print(json.dumps({"version": engine.version, "items": len(engine)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        lines = Path(asked["bodies"]).read_text(encoding="utf-8").splitlines()
        requests = [engine_request(json.loads(body)) for body in lines]
        print(json.dumps(timed(engine, requests, asked["batch"], asked["seconds"])), flush=True)


if __name__ == "__main__":
    main()
