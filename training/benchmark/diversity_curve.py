"""The accuracy that each recommender pays for diversity, all re-ranked by `training.evaluation.reranking`."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from index.catalogue import Catalogue
from training.benchmark.rows import METRIC_DIGITS, Fit
from training.data.splits import Targets
from training.evaluation.diversity import DiversityTally, memberships
from training.evaluation.metrics import Ranks, top_items
from training.evaluation.ranking import METRICS, without_seen
from training.evaluation.reranking import DELTAS, POOL, category_overlaps, crossing, diversified
from training.evaluation.scorer import Scorer

_STRONGEST = ("dimerec", "sasrec", "sasrec-ce")
REFERENCES = (_STRONGEST, (*_STRONGEST, "comirec-sa", "comirec-dr"))
"""Those that must all reach the recall at which recommenders are compared, for each comparison; the second
has the first in it, so that its recall is no higher.

A weak one among them lowers that recall until the lists of the strong ones differ in nothing any more: so the
strongest are compared without ComiRec first.
"""

_LISTED = 20
"""The k of every metric of a curve."""
_LISTS_AT_ONCE = 128
"""Lists that are re-ranked at once; their overlaps are `(lists, pool, pool)`, 10 MB."""


class Curve(Fit):
    """The subject of a curve: the parts that are the same for all of its points."""

    variant: int
    """Index of this variant of asking among those of the fit; 0 is how the recommender is served."""


class Point(Curve):
    """One recommender at one δ, seen items removed; metrics are means over the targets.

    The keys in JSON are those of the metrics: `hr@10`, `ild@20`. At δ = 0 they are those of the plain
    ranking, but for level scores: here they are in the order of their rows, since a list has to have one.
    """

    delta: float
    """δ in 0 … 1, the weight of the overlap."""
    hr_10: float = Field(alias="hr@10")
    hr_20: float = Field(alias="hr@20")
    ndcg_10: float = Field(alias="ndcg@10")
    ndcg_20: float = Field(alias="ndcg@20")
    categories_20: float | None = Field(alias="categories@20")
    """Distinct categories among the first 20; None where items have none."""
    ild_20: float | None = Field(alias="ild@20")
    """Mean Jaccard distance between the categories of two of the first 20; None where items have none."""
    coverage_20: float = Field(alias="coverage@20")
    """Part of the catalogue that is among anybody's first 20."""

    @property
    def sort_key(self) -> tuple[str, str, str, int, str, int, float]:
        """The key of its order among other points."""
        return (self.data, self.split, self.model, self.seed, self.run, self.variant, self.delta)


class AtRecall(Curve):
    """One recommender's lists at a given HR@20; None where it never reaches that."""

    reference: float
    """The HR@20 that was asked for."""
    delta: float | None
    hr_20: float | None = Field(alias="hr@20")
    """HR@20 there: the reference, or more where even the last δ costs no more, or within the tolerance."""
    categories_20: float | None = Field(alias="categories@20")
    ild_20: float | None = Field(alias="ild@20")


def diversity_curve(
    scorer: Scorer,
    targets: Targets,
    catalogue: Catalogue,
    curve: Curve,
    *,
    deltas: Sequence[float] = DELTAS,
    pool: int = POOL,
    on_progress: Callable[[int], object] | None = None,
) -> list[Point]:
    """Measure the lists of 20 that are chosen from the scorer's best `pool` items, for each of `deltas`.

    Items of the history never come into the pool. `curve` only names the points. `on_progress` is called with
    the number of targets of each finished batch.
    """
    tallies = [DiversityTally(catalogue, (_LISTED,)) for _ in deltas]
    ranks: list[list[Ranks]] = [[] for _ in deltas]
    for first in range(0, len(targets), _LISTS_AT_ONCE):
        histories = targets.histories.batch(first, _LISTS_AT_ONCE)
        pools = top_items(without_seen(scorer.score(histories), histories), pool)
        overlaps = category_overlaps(memberships(pools, catalogue))
        for tally, of_delta, delta in zip(tallies, ranks, deltas, strict=True):
            lists = diversified(pools, overlaps, _LISTED, delta)
            tally.add_lists(lists)
            of_delta.append(_ranks(lists, targets.items[first : first + _LISTS_AT_ONCE]))
        if on_progress is not None:
            on_progress(len(histories))
    return [
        _point(curve, delta, np.concatenate(of_delta), tally.metrics())
        for tally, of_delta, delta in zip(tallies, ranks, deltas, strict=True)
    ]


class Reference(NamedTuple):
    """At which recall recommenders are compared."""

    recall: float
    """HR@20."""
    among: Sequence[str]
    """The models of which it is the lowest."""


def references(points: Iterable[Point]) -> list[Reference]:
    """At which HR@20 recommenders of one data set are compared, highest first: once or twice.

    It is the lowest that one of a group of `REFERENCES` has with one seed, as it is served and not re-ranked
    (δ = 0). Without any of them it is the lowest of all; without points there is none.
    """
    plain = [point for point in points if point.variant == 0 and point.delta == 0]
    present = list(dict.fromkeys(point.model for point in plain))
    groups = [[name for name in group if name in present] for group in REFERENCES]
    found: dict[float, Reference] = {}
    for group in filter(None, groups if any(groups) else [present]):
        recall = min(point.hr_20 for point in plain if point.model in group)
        found.setdefault(recall, Reference(recall, group))
    return list(found.values())


def at_equal_recall(
    points: Iterable[Point], reference_recall: float, tolerance: float = 0.01
) -> list[AtRecall]:
    """Each curve among the points where its HR@20 is `reference_recall`: one row a curve.

    Between the last δ that has the recall and the next, values are interpolated; a curve that still has it at
    its last δ counts from there. One that stays below counts from its best HR@20 if that is within
    `tolerance`, a part of the reference, and else never reaches it.
    """
    curves: dict[Curve, list[Point]] = {}
    for point in points:
        curve = Curve.model_validate(point.model_dump(include=set(Curve.model_fields)))
        curves.setdefault(curve, []).append(point)
    rows = []
    for curve, of_curve in curves.items():
        of_curve.sort(key=attrgetter("delta"))
        position = crossing(np.array([point.hr_20 for point in of_curve]), reference_recall, tolerance)
        measured = {
            "delta": _between([point.delta for point in of_curve], position),
            "hr@20": _between([point.hr_20 for point in of_curve], position),
            "categories@20": _between([point.categories_20 for point in of_curve], position),
            "ild@20": _between([point.ild_20 for point in of_curve], position),
        }
        rows.append(AtRecall.model_validate({**dict(curve), "reference": reference_recall, **measured}))
    return rows


def _ranks(lists: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> Ranks:
    """Place of each row's target in its list, 1 = first; inf: not on it."""
    found = lists == items[:, None]
    return np.where(found.any(axis=1), 1.0 + found.argmax(axis=1), np.inf)


def _point(curve: Curve, delta: float, ranks: Ranks, diversity: dict[str, float]) -> Point:
    """`diversity`: of the same lists as the ranks, by the names of an evaluation."""
    accuracy = {f"{name}@{k}": float(of(ranks, k).mean()) for name, of in METRICS.items() for k in (10, 20)}
    beyond = {
        "categories@20": diversity.get("distinct_categories@20"),
        "ild@20": diversity.get("intra_list_distance@20"),
        "coverage@20": diversity["coverage@20"],
    }
    measured = {
        key: None if value is None else round(value, METRIC_DIGITS)
        for key, value in {**accuracy, **beyond}.items()
    }
    return Point.model_validate({**dict(curve), "delta": delta, **measured})


def _between(values: Sequence[float | None], position: float) -> float | None:
    """The value at a position, linear between two points; None where the position or a value is unknown."""
    value = float(np.interp(position, np.arange(len(values)), np.array(values, dtype=np.float64)))
    return None if np.isnan(value) else value
