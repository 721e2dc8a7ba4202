"""Items that users did not like, and the answers: read as watches, left out, or held against neighbours.

    python -m benchmarks.quality.negatives --events EVENTS --data DATA --bundles BUNDLES

for the ratings, the prepared data and the bundle of `dimerec demo` (in `.demo/`). Ratings of 3 to 5 are
watches, those of 1 and 2 negative events. Each user's last two events, which the bundle did not learn from,
are looked for among the best 10: the watches among them should be found, the negative ones should not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from bundle.read import read_bundle
from engine.contract import EngineRequest
from engine.engine import Engine
from index.vector_index import Vectors
from training.data.dataset import Dataset, read_dataset
from training.evaluation.bootstrap import resampled
from training.evaluation.trained import refuse_refitted

K = 10
"""Of HR@k: that by which the demo's epoch was chosen."""
CANDIDATES = 500
"""Items whose scores are changed: of as many the change of the best 10 can be seen."""
BATCH = 64
"""Requests at once: the service's largest batch by default (`max_batch`)."""
MAX_NEGATIVE = 2
"""Highest rating that counts as negative."""
HELD_OUT = 2
"""Events of a user that leave-one-out learns nothing from."""
PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Strengths of a rule, to choose from."""

Rule = Callable[[NDArray[np.float64], Vectors, Vectors], NDArray[np.float64]]
"""New scores (items,), from scores (items,), vectors (items, dim) and those disliked (negatives, dim)."""


@dataclass(frozen=True)
class Case:
    """An event to find: its user, its item, all items before it, those watched, and those not liked."""

    user: int
    item: str
    is_negative: bool
    before: list[str]
    watched: list[str]
    negative: list[str]


def read_cases(events: Path, dataset: Dataset) -> list[Case]:
    """The last events of users who had disliked something before."""
    frame = pl.read_csv(events).select(pl.col("user_id", "item_id").cast(pl.String), "weight")
    low = {(user, item) for user, item, rating in frame.iter_rows() if rating <= MAX_NEGATIVE}
    cases = []
    for user, user_id in enumerate(dataset.user_ids):
        items = [dataset.catalogue.item_id(row) for row in dataset.history(user).tolist()]
        before = items[:-HELD_OUT]
        negative = [item for item in before if (user_id, item) in low]
        watched = [item for item in before if (user_id, item) not in low]
        if negative and watched:
            cases += [
                Case(user, item, (user_id, item) in low, before, watched, negative)
                for item in items[-HELD_OUT:]
            ]
    return cases


def lowered(part: float) -> Rule:
    """Scores that are lowered by `part` of the greatest cosine with a disliked item."""
    return lambda scores, items, disliked: (
        scores * (1 - part * np.maximum((items @ disliked.T).max(axis=1), 0))
    )


def subtracted(part: float, temperature: float) -> Rule:
    """Scores without `part` of what disliked items would give as interests."""

    def rule(scores: NDArray[np.float64], items: Vectors, disliked: Vectors) -> NDArray[np.float64]:
        gives = np.exp((items @ disliked.T) / temperature)
        less: NDArray[np.float64] = scores - part * scores.sum() * (gives / gives.sum(axis=0)).mean(axis=1)
        return less

    return rule


class Answers:
    """Answers of an engine to the users of cases."""

    def __init__(self, engine: Engine, vectors: Vectors, item_ids: tuple[str, ...]) -> None:
        self._engine = engine
        self._vectors = vectors
        self._index = {item_id: index for index, item_id in enumerate(item_ids)}

    def hits(self, cases: list[Case], *, reads_all: bool, rule: Rule | None = None) -> NDArray[np.float64]:
        """1 for each case whose item is among the best K, else 0."""
        return np.concatenate(
            [self._of(cases[first : first + BATCH], reads_all, rule) for first in range(0, len(cases), BATCH)]
        )

    def _of(self, cases: list[Case], reads_all: bool, rule: Rule | None) -> NDArray[np.float64]:
        requests = [
            EngineRequest(
                case.before if reads_all else case.watched, CANDIDATES, excluded=case.before, seed=case.user
            )
            for case in cases
        ]
        found = []
        for case, answer in zip(cases, self._engine.recommend(requests), strict=True):
            items = [item.item_id for item in answer.items]
            if rule is not None:
                scores = np.array([item.score for item in answer.items])
                changed = rule(scores, self._of_items(items), self._of_items(case.negative))
                items = [items[index] for index in np.argsort(-changed, kind="stable").tolist()]
            found.append(float(case.item in items[:K]))
        return np.array(found)

    def _of_items(self, items: list[str]) -> Vectors:
        return self._vectors[[self._index[item] for item in items]]


def main(
    events: Annotated[Path, typer.Option(help="The demo's ratings.")],
    data: Annotated[Path, typer.Option(help="Its prepared data.")],
    bundles: Annotated[Path, typer.Option(help="Directory of its bundle.")],
) -> None:
    """Print HR@10 of watches and of negative events for each rule, and what it adds to leaving them out."""
    bundle = read_bundle(bundles)
    refuse_refitted(bundle.manifest)
    cases = read_cases(events, read_dataset(data))
    answers = Answers(Engine(bundle, max_steps=8), bundle.table.all, bundle.catalogue.item_ids)
    rules: dict[str, Rule] = {}
    for part in PARTS:
        rules[f"lowered by {part} of the cosine"] = lowered(part)
        rules[f"less {part} of their interest"] = subtracted(part, bundle.manifest.serving.temperature)
    left_out = answers.hits(cases, reads_all=False)
    found = {"read as watches": answers.hits(cases, reads_all=True), "left out": left_out}
    found |= {name: answers.hits(cases, reads_all=False, rule=rule) for name, rule in rules.items()}
    negative, users = np.array([case.is_negative for case in cases]), np.array([case.user for case in cases])
    print(f"HR@{K} of {np.count_nonzero(~negative)} watches, of {np.count_nonzero(negative)} negative events")
    for name, hits in found.items():
        row = [name]
        for kind in (~negative, negative):
            gain = resampled(hits[kind] - left_out[kind], users[kind], generator=np.random.default_rng(0))
            row.append(f"{hits[kind].mean():.4f} ({gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}])")
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    typer.run(main)
