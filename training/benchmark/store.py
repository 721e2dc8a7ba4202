"""The directory of results, so that no fit is repeated and several processes may work on one directory.

```
<directory>/rows/<run>.json       the rows of one fit; there when, and only when, it is done
<directory>/ranks/<run>.npz       the rank of every target, for paired comparisons
<directory>/curves/<run>.json     its diversity curves; there once they were asked for
<directory>/probes/<run>.json     the probe of its item vectors, if it has any; there before the curves
<directory>/runs/<training>/      the training run, to resume from or to be asked otherwise
<directory>/results.json          all rows
<directory>/diversity.json        all points of the curves
<directory>/probing.json          all probes
<directory>/results.md            the same as tables
```
"""

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from files.atomic import replacing
from files.errors import first_fault
from training.benchmark.diversity_curve import Point
from training.benchmark.probing import ProbeRow
from training.benchmark.rows import Row
from training.errors import BenchmarkError

RESULTS_FILE = "results.json"
DIVERSITY_FILE = "diversity.json"
PROBING_FILE = "probing.json"
TABLES_FILE = "results.md"


class Placed(Protocol):
    """A line of a file of results: a row, a point, a probe, a difference."""

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """The key of its order among others of its kind."""

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]:
        """Its keys and values, as Pydantic gives them."""


Kept = TypeVar("Kept", bound=Placed)
"""The kind of all lines of a file."""

Ranks = dict[str, npt.NDArray[Any]]
"""`users` `(targets,)` and, named by `ranks_name`, ranks `(targets,)` float32; all of the test part."""


class Store:
    """A directory of results."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("rows", "ranks", "curves", "probes", "runs", "locks"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def training(self, key: str) -> Path:
        """The directory of a training run."""
        return self.directory / "runs" / key

    def rows(self, run: str) -> list[Row] | None:
        """The rows of a fit, None if it is not done."""
        path = self._file("rows", run)
        return read_rows(path) if path.exists() else None

    def write(self, run: str, rows: list[Row], ranks: Ranks) -> None:
        """Keep what a fit came to, and add its rows to the results."""
        with replacing(self._ranks_file(run)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **ranks)
        write_rows(self._file("rows", run), rows)
        self.collect()

    def has_curves(self, run: str) -> bool:
        """True where the curves of a fit are there, and so its probe if it has one."""
        return self._file("curves", run).exists()

    def write_curves(self, run: str, points: list[Point], probes: list[ProbeRow]) -> None:
        """Keep the curves and the probe of a fit, and add them to all others."""
        write_rows(self._file("probes", run), probes)
        write_rows(self._file("curves", run), points)
        self.collect()

    def ranks(self, run: str) -> Ranks:
        """The ranks of a fit that is done."""
        with np.load(self._ranks_file(run), allow_pickle=False) as file:
            return dict(file)

    def has_ranks(self, run: str) -> bool:
        """True where the fit was done here."""
        return self._ranks_file(run).exists()

    def points(self) -> list[Point]:
        """Of all curves that are there."""
        return self._all("curves", Point)

    def probes(self) -> list[ProbeRow]:
        """All that are there."""
        return self._all("probes", ProbeRow)

    def collect(self) -> list[Row]:
        """Write all rows, points and probes that are there to the results, and return the rows."""
        with self.locked("results"):
            rows = self._all("rows", Row)
            write_rows(self.directory / RESULTS_FILE, rows)
            write_rows(self.directory / DIVERSITY_FILE, self.points())
            write_rows(self.directory / PROBING_FILE, self.probes())
        return rows

    @contextmanager
    def locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes out of the block; without `wait`, yield False if one is in it."""
        with (self.directory / "locks" / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def _ranks_file(self, run: str) -> Path:
        return self.directory / "ranks" / f"{run}.npz"

    def _file(self, folder: str, run: str) -> Path:
        return self.directory / folder / f"{run}.json"

    def _all(self, folder: str, kind: type[Kept]) -> list[Kept]:
        files = sorted((self.directory / folder).glob("*.json"))
        return in_order(one for path in files for one in read_kept(path, kind))


def ranks_name(variant: int, exclude_seen: bool) -> str:
    """The name of the ranks of a variant of asking in a file of ranks."""
    return f"{variant}-{'seen_removed' if exclude_seen else 'seen_kept'}"


def read_rows(path: Path) -> list[Row]:
    """Read a file of rows. Raises BenchmarkError, naming the row's field, where it cannot be used."""
    return read_kept(path, Row)


def read_kept(path: Path, kind: type[Kept]) -> list[Kept]:
    """Read a file of rows, points, probes or differences. Raises BenchmarkError as `read_rows` does."""
    try:
        return TypeAdapter(list[kind]).validate_json(path.read_bytes())  # type: ignore[valid-type]
    except FileNotFoundError as error:
        raise BenchmarkError(f"{path} does not exist; `dimerec benchmark` writes it") from error
    except ValidationError as error:
        fault = first_fault(error.errors(), "the file")
        raise BenchmarkError(f"{path} holds no results: {fault}; remove it") from error


def in_order(found: Iterable[Kept]) -> list[Kept]:
    """In the order of the files, which is the same for the same results."""
    return sorted(found, key=lambda one: one.sort_key)


def write_rows(path: Path, rows: Iterable[Kept]) -> None:
    """Write rows, points, probes or differences as JSON, one a line."""
    lines = [json.dumps(row.model_dump(mode="json", by_alias=True), ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
