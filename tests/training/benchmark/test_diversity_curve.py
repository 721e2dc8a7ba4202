from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.catalogue import Catalogue
from index.merging import diversify
from index.vector_index import Vectors
from tests.factories import make_catalogue
from tests.training.random_logs import random_dataset
from training.benchmark.diversity_curve import (
    AtRecall,
    Curve,
    Point,
    at_equal_recall,
    diversity_curve,
    references,
)
from training.data.splits import Histories, Targets, leave_one_out
from training.evaluation.diversity import memberships
from training.evaluation.metrics import Scores
from training.evaluation.ranking import evaluate
from training.evaluation.reranking import category_overlaps, diversified, rank_values

CURVE = Curve(data="toy", split="leave-one-out", model="any", seed=0, run="r", variant=0)


@dataclass
class SmoothScorer:
    """A score for each item and length of history, without ties, times a scale, plus an offset."""

    items: int
    scale: float = 1.0
    offset: float = 0.0

    def score(self, histories: Histories) -> Scores:
        lengths = (histories.ends - histories.starts).tolist()
        rows = [np.random.default_rng(length).permutation(self.items) for length in lengths]
        return (np.array(rows) / self.items * self.scale + self.offset).astype(np.float32)


def toy(items: int = 60) -> tuple[Targets, Catalogue]:
    generator = np.random.default_rng(3)
    dataset = random_dataset(generator, generator.integers(3, 12, size=300), items)
    return leave_one_out(dataset).test, dataset.catalogue


def points(model: str, recalls: list[float], categories: list[float] | None = None) -> list[Point]:
    """A curve with these HR@20; its categories@20 are 10 · δ where nothing else is said."""
    deltas = np.linspace(0, 1, len(recalls)).tolist()
    listed = [10 * delta for delta in deltas] if categories is None else categories
    return [
        Point.model_validate(
            {
                **dict(CURVE),
                "model": model,
                "delta": delta,
                "hr@10": 0,
                "hr@20": recall,
                "ndcg@10": 0,
                "ndcg@20": 0,
                "categories@20": count,
                "ild@20": delta / 2,
                "coverage@20": 0,
            }
        )
        for delta, recall, count in zip(deltas, recalls, listed, strict=True)
    ]


def only(found: list[AtRecall]) -> AtRecall:
    assert len(found) == 1
    return found[0]


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 50), st.sampled_from([0, 0.1, 0.5, 0.93, 1]))
def test_lists_are_those_of_the_re_ranker_that_serves(seed: int, pool: int, k: int, delta: float) -> None:
    generator, catalogue = np.random.default_rng(seed), make_catalogue(40, seed)
    pools = np.array([generator.permutation(40)[:pool] + 1 for _ in range(5)])
    lists = diversified(pools, category_overlaps(memberships(pools, catalogue)), k, delta)
    assert lists.shape == (5, k)
    scores = cast(Vectors, rank_values(pool))  # float64, as in `diversified`: near ties fall alike
    for rows, found in zip(pools, lists, strict=True):
        chosen = diversify(scores, catalogue.category_matrix(rows), k, delta)
        expected = rows[chosen].tolist()
        assert found.tolist() == [*expected, *[0] * (k - len(expected))]


def test_places_without_an_item_are_never_chosen() -> None:
    pools = np.array([[3, 1, 0, 0], [0, 0, 0, 0]])
    overlaps = category_overlaps(memberships(pools, make_catalogue(5)))
    for delta in (0.0, 0.5, 1.0):
        lists = diversified(pools, overlaps, 3, delta)
        assert sorted(lists[0].tolist()) == [0, 1, 3]
        assert lists[0, 2] == 0
        assert lists[1].tolist() == [0, 0, 0]


def test_a_place_is_worth_what_ndcg_says() -> None:
    assert rank_values(3).tolist() == pytest.approx([1, 0.6309, 0.5], abs=1e-4)


def test_without_diversity_the_metrics_are_those_of_the_plain_ranking() -> None:
    targets, catalogue = toy()
    scorer = SmoothScorer(len(catalogue))
    point = diversity_curve(scorer, targets, catalogue, CURVE, deltas=(0.0,))[0].model_dump(by_alias=True)
    plain = evaluate(scorer, targets, catalogue, ks=(10, 20), exclude_seen=True).metrics
    renamed = {"categories@20": "distinct_categories@20", "ild@20": "intra_list_distance@20"}
    for name in ("hr@10", "hr@20", "ndcg@10", "ndcg@20", "categories@20", "ild@20", "coverage@20"):
        assert point[name] == pytest.approx(plain[renamed.get(name, name)], abs=1e-6), name


def test_a_curve_trades_relevance_for_distance() -> None:
    targets, catalogue = toy()
    curve = diversity_curve(SmoothScorer(len(catalogue)), targets, catalogue, CURVE)
    assert [point.delta for point in curve] == [tenth / 10 for tenth in range(11)]
    distances = [point.ild_20 for point in curve if point.ild_20 is not None]
    assert len(distances) == len(curve)
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


def test_no_recommender_gains_from_the_scale_of_its_scores() -> None:
    targets, catalogue = toy()
    plain, loud = SmoothScorer(len(catalogue)), SmoothScorer(len(catalogue), scale=50, offset=-80)
    assert diversity_curve(plain, targets, catalogue, CURVE) == diversity_curve(
        loud, targets, catalogue, CURVE
    )


def test_a_catalogue_smaller_than_the_list_or_without_categories_has_a_curve() -> None:
    targets, _ = toy(items=15)
    bare = Catalogue([str(row) for row in range(15)], [None] * 15, [()] * 15, [0] * 15)
    first, *_, last = diversity_curve(SmoothScorer(15), targets, bare, CURVE)
    assert (first.categories_20, first.ild_20) == (None, None)
    assert last == first.model_copy(update={"delta": 1.0})


def test_a_point_is_written_and_read_by_the_names_of_its_metrics() -> None:
    point = points("any", [0.5])[0]
    text = point.model_dump_json(by_alias=True)
    assert '"ild@20"' in text
    assert Point.model_validate_json(text) == point


def test_values_are_interpolated_where_the_recall_is_met() -> None:
    found = only(at_equal_recall(points("any", [0.4, 0.3, 0.1]), 0.25))
    assert found.reference == 0.25
    assert found.hr_20 == pytest.approx(0.25)
    assert (found.delta, found.categories_20, found.ild_20) == pytest.approx((0.625, 6.25, 0.3125))


def test_the_last_place_with_the_recall_counts() -> None:
    found = only(at_equal_recall(points("any", [0.4, 0.2, 0.3, 0.2, 0.1]), 0.3))
    assert found.delta == pytest.approx(0.5)


def test_a_curve_that_keeps_the_recall_counts_from_its_end() -> None:
    found = only(at_equal_recall(points("any", [0.4, 0.35, 0.3]), 0.2))
    assert (found.delta, found.hr_20, found.categories_20) == (1.0, 0.3, 10.0)


@pytest.mark.parametrize(("best", "reached"), [(0.298, True), (0.296, False)])
def test_a_curve_below_the_recall_counts_only_within_the_tolerance(best: float, reached: bool) -> None:
    found = only(at_equal_recall(points("any", [0.2, best, 0.1]), 0.3))
    told = (found.delta, found.hr_20, found.categories_20, found.ild_20)
    assert told == ((0.5, best, 5.0, 0.25) if reached else (None, None, None, None))


def test_each_curve_has_a_row_in_whatever_order_its_points_come() -> None:
    first, second = points("first", [0.4, 0.2]), points("second", [0.5, 0.1], categories=[3, 9])
    mixed = [second[1], first[1], second[0], first[0]]
    found = {row.model: row for row in at_equal_recall(mixed, 0.3)}
    assert found["first"].categories_20 == pytest.approx(5)
    assert found["second"].categories_20 == pytest.approx(6)


def test_the_recall_to_compare_at_is_the_lowest_of_those_that_must_reach_it() -> None:
    compared = points("dimerec", [0.4, 0.1]) + points("sasrec", [0.3, 0.2])
    asked_otherwise = [point.model_copy(update={"variant": 1}) for point in points("dimerec", [0.2, 0.2])]
    weakest = points("popularity", [0.05, 0.01])
    strongest = (0.3, ["dimerec", "sasrec"])
    assert references([*compared, *asked_otherwise, *weakest]) == [strongest]
    assert references(weakest + points("itemknn", [0.2, 0.1])) == [(0.05, ["popularity", "itemknn"])]
    assert references([]) == []


def test_a_weak_recommender_adds_a_comparison_and_spoils_none() -> None:
    compared = points("sasrec", [0.3, 0.2]) + points("dimerec", [0.4, 0.1])
    first = (0.3, ["dimerec", "sasrec"])
    weaker = points("comirec-sa", [0.1, 0.05])
    assert references(compared + weaker) == [first, (0.1, ["dimerec", "sasrec", "comirec-sa"])]
    assert references(compared + points("comirec-sa", [0.5, 0.2])) == [first]
    assert references(weaker) == [(0.1, ["comirec-sa"])]


def test_ways_of_asking_and_fits_are_curves_of_their_own() -> None:
    mine = points("any", [0.4, 0.2])
    others = [point.model_copy(update=other) for point in mine for other in ({"variant": 1}, {"run": "s"})]
    assert len(at_equal_recall([*mine, *others], 0.3)) == 3
