"""Both directions between this project and a recommender that runs in an environment of its own.

A split goes out as plain arrays; each epoch is asked for by a line and answered by its record in JSON; lists
of items come back, and rank as the scores of any recommender do.
"""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from training.data.splits import Histories, Positions, Split, Targets
from training.errors import BenchmarkError
from training.evaluation.metrics import Scores
from training.run import EpochRecord

ENVIRONMENT = Path(".quality/rectools-env")
"""The environment that `make external` makes."""
SPLIT_FILE = "split.npz"
SETTINGS_FILE = "settings.json"
ANSWERS_FILE = "answers.npz"
ERRORS_FILE = "errors.log"

Arrays = dict[str, npt.NDArray[Any]]
Lists = npt.NDArray[np.int32]
"""`(rows, k)` item rows, best first; 0 where there are no more."""

_SCRIPT = Path(__file__).with_name("rectools_sasrec.py")


class ExternalRecord(EpochRecord):
    """An epoch of the other process."""

    examples: int
    """The number of examples it learned from: positions whose next item it predicted."""


def exported(split: Split) -> Arrays:
    """The split as flat arrays.

    `train_items` and `train_offsets`; of `validation` and `test` the items and offsets of the histories, and
    `…_targets`.
    """
    arrays: Arrays = {"train_items": split.train.items, "train_offsets": split.train.offsets}
    for name, targets in parts(split).items():
        _, positions = targets.histories.flattened()
        lengths = targets.histories.ends - targets.histories.starts
        arrays[f"{name}_items"] = targets.histories.items[positions]
        arrays[f"{name}_offsets"] = np.concatenate([[0], np.cumsum(lengths)])
        arrays[f"{name}_targets"] = targets.items
    return arrays


def parts(split: Split) -> dict[str, Targets]:
    """Those for whose histories lists are wanted."""
    return {"validation": split.validation, "test": split.test}


class ExternalProcess:
    """The other process, in a `with` block: it trains one epoch at a time."""

    def __init__(self, split: Split, settings: dict[str, Any], directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / SPLIT_FILE, allow_pickle=False, **exported(split))
        (directory / SETTINGS_FILE).write_text(json.dumps(settings), encoding="utf-8")

    def __enter__(self) -> Self:
        python = ENVIRONMENT / "bin" / "python"
        files = [self.directory / name for name in (SPLIT_FILE, SETTINGS_FILE, ANSWERS_FILE)]
        with (self.directory / ERRORS_FILE).open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    [python, _SCRIPT, *files],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    bufsize=1,
                )
            except FileNotFoundError as error:
                raise BenchmarkError(f"{python} is not there; `make external` lays it there") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(BrokenPipeError), self._process:
            self._process.kill()

    def epoch(self) -> ExternalRecord:
        """Have it train and validate one more epoch. Raises BenchmarkError where it came to its end."""
        try:
            self._input.write("\n")
            line = next(line for line in self._output if line.startswith("{"))
        except (BrokenPipeError, StopIteration) as error:
            raise self._failure() from error
        return ExternalRecord.model_validate_json(line)

    def finish(self) -> None:
        """Have it write its lists and end. Raises BenchmarkError where it fails at that."""
        self._input.close()
        if self._process.wait():
            raise self._failure()

    @property
    def _input(self) -> Any:
        return self._process.stdin

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def _failure(self) -> BenchmarkError:
        path = self.directory / ERRORS_FILE
        last = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return BenchmarkError(f"{_SCRIPT.name} failed: {' '.join(last) or 'without a word'} (all: {path})")


class ListScorer:
    """A recommender that answered beforehand: an item's score follows from its rank in its history's list.

    What is not on the list is out of the ranking.
    """

    def __init__(self, items: int, histories: Histories, lists: Lists) -> None:
        self.items = items
        order = np.argsort(histories.ends)
        self._ends: Positions = histories.ends[order]
        self._lists = lists[order]

    def score(self, histories: Histories) -> Scores:
        """Scores `(rows, items)` of histories that were asked for; -inf: not on the list."""
        lists = self._lists[np.searchsorted(self._ends, histories.ends)]
        scores = np.full((len(lists), 1 + self.items), -np.inf, np.float32)
        values = np.arange(lists.shape[1], 0, -1, dtype=np.float32)
        np.put_along_axis(scores, lists.astype(np.int64), np.broadcast_to(values, lists.shape), axis=1)
        return scores[:, 1:]


def list_scorer(split: Split, items: int, answers: Arrays) -> ListScorer:
    """One scorer of all the lists that came back, of both parts."""
    lists = [merged(answers[f"{name}_kept"], answers[f"{name}_removed"]) for name in parts(split)]
    by_part = [targets.histories for targets in parts(split).values()]
    together = Histories(
        by_part[0].items,
        np.concatenate([histories.starts for histories in by_part]),
        np.concatenate([histories.ends for histories in by_part]),
    )
    return ListScorer(items, together, np.concatenate(lists))


def merged(kept: Lists, removed: Lists) -> Lists:
    """The first `(rows, k)` of rankings with seen items, then what is new in those without them `(rows, 2k)`.

    Its first k are `kept`, and the first k of it without seen items are `removed`: one ranking for both.
    """
    old = np.stack([np.isin(of_row, other) for of_row, other in zip(removed, kept, strict=True)])
    return np.concatenate([kept, np.where(old, 0, removed)], axis=1)
