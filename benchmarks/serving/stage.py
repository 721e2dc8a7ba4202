"""The means of an invocation: the bundle, its data, the sides, for how long."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.serving.bodies import Body, inline_bodies, write_bodies
from benchmarks.serving.checkouts import Code, published
from index.tuning import IndexChoice
from training.data.dataset import Dataset, read_dataset

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dimerec-bench"
"""Environments, earlier commits and synthetic bundles, kept from run to run."""


@dataclass(frozen=True)
class Stage:
    """Everything that a part needs to be measured."""

    ours: Code
    before: tuple[Code, ...]
    """Earlier states of the code; the first is the one that the targets speak of."""
    run: Path
    data: Path
    cache: Path
    work: Path
    """For logs and files of requests; new for each invocation."""
    sides: frozenset[str]
    """Names of the sides to measure, ours among them always."""
    rounds: int
    seconds: float
    """Of one round of one side."""
    connections: int
    device: str
    items: int = 1_000_000
    """Vectors that are searched alone."""
    kinds: tuple[IndexChoice, ...] = ("auto", "hnsw")
    """Indexes of a million items: the one that a catalogue of this size is given, and the graph."""

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data that the model learned from."""
        return read_dataset(self.data)

    @cached_property
    def histories(self) -> list[list[str]]:
        """Every user's items, oldest first, newest 1,000."""
        ids = self.dataset.catalogue.item_ids
        return [
            [ids[row - 1] for row in self.dataset.history(user)[-1000:].tolist()]
            for user in range(len(self.dataset))
        ]

    def bundles(self, code: Code) -> Path:
        """The demo's bundle in the format of that code."""
        return published(code, self.run, self.data, self.cache)

    def bodies(self, k: int) -> list[Body]:
        """Requests with histories of 1 to 50 items inside."""
        return inline_bodies(self.histories, k)

    def body_file(self, name: str, bodies: Sequence[Body], *, batched: bool = False) -> Path:
        """Those bodies in a file for a generator."""
        return write_bodies(
            self.work / f"{name}{'-batched' if batched else ''}.jsonl", bodies, batched=batched
        )
