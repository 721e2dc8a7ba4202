"""Measurements behind constants that no configuration sets; what they gave stands beside each constant.

    python -m benchmarks.quality.constants cooccurrence --data .demo/data
    python -m benchmarks.quality.constants neighbours --data .demo/data
    python -m benchmarks.quality.constants explanations --bundles .demo/bundles --data .demo/data
    python -m benchmarks.quality.constants probe --bundles .demo/bundles --data .demo/data

`--data` is what `dimerec prepare` wrote, of any log; bundles belong to their data. Nothing is trained: each
takes seconds on MovieLens-100K and minutes on a log of half a million events.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bundle.read import read_bundle
from engine.explain import COMMON_PART, NEAREST, Explainer, merge_duplicates
from model.batch import collate
from model.interests import InterestFinder, InterestSettings, history_seeds
from training.baselines.item_knn import NEIGHBOURS, ItemKNN
from training.benchmark.probing import REGULARISATION, probe
from training.cooccurrence import TOGETHER, item_directions
from training.data.dataset import read_dataset
from training.data.splits import Histories, leave_one_out
from training.evaluation.metrics import Scores
from training.evaluation.ranking import evaluate
from training.evaluation.trained import refuse_refitted

DataOption = Annotated[Path, typer.Option(help="Prepared data.")]
BundlesOption = Annotated[Path, typer.Option(help="Directory of bundles.")]

WINDOWS, DECAYS, SMOOTHINGS = (1, 2, 4, 8, 16), (0.5, 0.65, 0.8, 0.9, 1.0), (0.5, 0.75, 1.0)
COUNTS = (20, 50, 100, 200, 500, 1_000)
NEARESTS, PARTS = (10, 20, 50, 100, 200), (0.0, 0.5, 0.8, 1.0)
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
USERS = 943
"""Test users whose interests are explained; all of the demo's."""

application = typer.Typer(add_completion=False, help=__doc__)


class Directions:
    """Scores items by the cosine with the mean of a history's directions, newer events counting more."""

    def __init__(self, directions: np.ndarray, decay: float = 0.8) -> None:
        self._directions = directions
        self._decay = decay

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._directions)

    def score(self, histories: Histories) -> Scores:
        """Scores `(rows, items)`."""
        queries = np.zeros((len(histories), self._directions.shape[1]), np.float32)
        rows, positions = histories.flattened()
        weights = np.power(self._decay, histories.ends[rows] - 1 - positions, dtype=np.float64)
        seen = self._directions[histories.items[positions] - 1]
        np.add.at(queries, rows, weights[:, None].astype(np.float32) * seen)
        scores: Scores = queries @ self._directions.T
        return scores


@application.command()
def cooccurrence(data: DataOption, dim: Annotated[int, typer.Option(min=1)] = 64) -> None:
    """NDCG@10 on validation of the item vectors' start alone, seen items removed."""
    dataset = read_dataset(data)
    split = leave_one_out(dataset)
    variants = [
        TOGETHER,
        *(TOGETHER._replace(window=window) for window in WINDOWS),
        *(TOGETHER._replace(decay=decay) for decay in DECAYS),
        *(TOGETHER._replace(smoothing=smoothing) for smoothing in SMOOTHINGS),
    ]
    for together in dict.fromkeys(variants):
        directions = item_directions(split.train, len(dataset.catalogue), dim, together)
        found = evaluate(Directions(directions), split.validation, ks=(10,), exclude_seen=True)
        _say(*together, ndcg=found.metrics["ndcg@10"])


@application.command()
def neighbours(data: DataOption) -> None:
    """NDCG@10 on validation of ItemKNN, by the similar items that each item keeps; seen items removed."""
    dataset = read_dataset(data)
    split = leave_one_out(dataset)
    items = len(dataset.catalogue)
    for count in sorted({*COUNTS, NEIGHBOURS, items}):
        fitted = ItemKNN.fit(split.train, items, neighbours=count)
        found = evaluate(fitted, split.validation, ks=(10,), exclude_seen=True)
        _say(count, ndcg=found.metrics["ndcg@10"])


@application.command()
def explanations(bundles: BundlesOption, data: DataOption) -> None:
    """Names of interests, by nearest videos and by common part, and whether they tell one from another.

    The event to predict belongs to the interest that is nearest to it: the share of those with a category
    among its names (own) and among those of another interest of the user (other); and the part of the pairs
    of a user's interests with equal sets of names.
    """
    bundle, dataset = read_bundle(bundles), read_dataset(data)
    refuse_refitted(bundle.manifest)
    targets = leave_one_out(dataset).test
    histories = [targets.histories[index] for index in range(min(USERS, len(targets)))]
    batch = collate([rows.tolist() for rows in histories], bundle.model.config.max_length)
    serving = bundle.manifest.serving
    settings = InterestSettings(serving.draws, serving.steps, serving.interest_mode, serving.guidance_weight)
    finder = InterestFinder(bundle.model.eval())
    found = finder.find(batch, [settings] * len(histories), history_seeds(batch, 0))
    interests = [one.vectors for one in found]
    merges = [
        merge_duplicates(vectors, own.kinds.count("draw"))
        for vectors, own in zip(interests, found, strict=True)
    ]
    merged = [vectors[own.leaders] for vectors, own in zip(interests, merges, strict=True)]
    read = [rows[-bundle.model.config.max_length :].astype(np.int64) for rows in histories]
    for nearest, part in dict.fromkeys(
        [(NEAREST, COMMON_PART), *((n, COMMON_PART) for n in NEARESTS), *((NEAREST, p) for p in PARTS)]
    ):
        explainer = Explainer(
            bundle.index,
            bundle.table,
            bundle.catalogue,
            serving.temperature,
            nearest=nearest,
            common_part=part,
        )
        names = [
            [set(one.top_categories) for one in explained] for explained in explainer.explain(merged, read)
        ]
        own, other, equal = [], [], []
        for index, (vectors, sets) in enumerate(zip(merged, names, strict=True)):
            target = int(targets.items[index])
            categories = set(bundle.catalogue.category(target))
            best = int(np.argmax(vectors @ bundle.table.vectors(np.array([target]))[0]))
            hits = [bool(categories & one) for one in sets]
            own.append(hits.pop(best))
            other += [_mean(hits)] if hits else []
            equal += [one == two for at, one in enumerate(sets) for two in sets[:at]]
        _say(nearest, part, own=_mean(own), other=_mean(other), equal=_mean(equal))


@application.command(name="probe")
def probing(bundles: BundlesOption, data: DataOption) -> None:
    """AUC and accuracy of the probe of a bundle's item vectors, by λ."""
    bundle, dataset = read_bundle(bundles), read_dataset(data)
    train = leave_one_out(dataset).train
    for strength in sorted({*STRENGTHS, REGULARISATION}):
        found = probe(bundle.table.all, dataset.catalogue, train, regularisation=strength)
        _say(strength, auc=found.auc or 0.0, accuracy=found.accuracy)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _say(*settings: float, **values: float) -> None:
    typer.echo("  ".join([*map(str, settings), *(f"{name} {value:.4f}" for name, value in values.items())]))


if __name__ == "__main__":
    application()
