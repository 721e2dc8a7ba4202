"""An index is given the least effort that finds what it should."""

from typing import get_args

import numpy as np
import pytest

from index.building import build_index
from index.measuring import measure, tuned_index
from index.tuning import IndexKind
from tests.factories import make_unit_vectors

VECTORS = make_unit_vectors(6000, 16, seed=1)
QUERIES = make_unit_vectors(90, 16, seed=2)
NEAREST = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :100] + 1


def found(kind: IndexKind, effort: int) -> float:
    rows = build_index(VECTORS, kind).with_effort(effort).search(QUERIES, 128).rows[:, :100]
    pairs = zip(rows.tolist(), NEAREST.tolist(), strict=True)
    return float(np.mean([len(set(own) & set(best)) / 100 for own, best in pairs]))


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_the_least_effort_that_reaches_the_target_is_chosen(target: float) -> None:
    index, measurement = tuned_index(VECTORS, "ivf", QUERIES, target)
    assert index.effort is not None
    assert measurement.recall == pytest.approx(found("ivf", index.effort))
    assert measurement.recall >= target
    assert index.effort == 1 or found("ivf", index.effort - 1) < target


def test_a_graph_reaches_its_target() -> None:
    index, measurement = tuned_index(VECTORS, "hnsw", QUERIES, 0.95)
    assert measurement.recall >= 0.95
    assert index.kind == "hnsw"


def test_a_flat_index_is_exact_and_has_no_effort_to_choose() -> None:
    index, measurement = tuned_index(VECTORS, "auto", QUERIES, 0.95)
    assert (index.kind, index.effort) == ("flat", None)
    assert measurement.recall == 1
    assert measure(index, QUERIES, NEAREST).recall == 1


def test_a_catalogue_of_fewer_items_than_are_measured() -> None:
    for kind in get_args(IndexKind):
        _, measurement = tuned_index(VECTORS[:7], kind, QUERIES, 0.95)
        assert measurement.recall == 1
