"""The findings of a measurement: means with their intervals, a line of text, and the file that keeps them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from files.atomic import replacing
from training.evaluation.bootstrap import resampled


def interval(values: NDArray[np.float64], users: NDArray[np.int64]) -> dict[str, float]:
    """The mean with a 95 % bootstrap interval over users."""
    found = resampled(values, users, generator=np.random.default_rng(0))
    return {name: round(value, 5) for name, value in asdict(found).items()}


def show(name: str, intervals: Mapping[str, Mapping[str, float]]) -> None:
    """Print a line of metrics with their intervals."""
    shown = (f"{of} {one['mean']:.4f} [{one['low']:.4f}, {one['high']:.4f}]" for of, one in intervals.items())
    print(name, *shown, sep=" | ")


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write a file of results, whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def put(name: str, result: Mapping[str, Any], out: Path) -> None:
    """Put a result beside those of other names, in place of an earlier one of its own."""
    results = json.loads(out.read_bytes()) if out.exists() else {}
    write(results | {name: result}, out)
