"""Retrieval by plain loops over every item: slow, obvious, and what the fast path is tested against."""

import math
from collections.abc import Sequence

from index.catalogue import Catalogue
from index.retrieval import Query, Retrieval, depth
from index.vector_index import Vectors

TOLERANCE = 1e-5
"""float32 against float64."""


def eligible_rows(catalogue: Catalogue, query: Query) -> list[int]:
    excluded = {int(row) for row in query.excluded}
    return [
        row
        for row in range(1, len(catalogue) + 1)
        if row not in excluded
        and (query.categories is None or query.categories & set(catalogue.category(row)))
    ]


def seen_rows(query: Query) -> set[int]:
    return set() if query.seen is None or query.seen_weight == 1 else set(query.seen.tolist())


def pool_of(cosines: Sequence[Sequence[float]], rows: Sequence[int], query: Query) -> list[int]:
    """The union of every interest's nearest eligible items; room for seen ones, or all of them."""
    seen = seen_rows(query) & set(rows)
    union: set[int] = seen if query.seen_weight > 1 else set()
    count = depth(query.k) + (len(seen) if query.seen_weight < 1 else 0)
    for line in cosines:
        union |= set(sorted(rows, key=lambda row: (-line[row - 1], row))[:count])
    return sorted(union)


def contributions(
    cosines: Sequence[Sequence[float]], pool: Sequence[int], query: Query
) -> dict[int, list[float]]:
    """What each interest gives to each item: its part of the softmax over the pool, or its cosine.

    A part counts as often as the query says of a seen item.
    """
    if query.merge == "max":
        return {row: [line[row - 1] for line in cosines] for row in pool}
    given: dict[int, list[float]] = {row: [] for row in pool}
    weights = [1 / len(cosines)] * len(cosines) if query.weights is None else query.weights.tolist()
    for weight, line in zip(weights, cosines, strict=True):
        total = sum(math.exp(line[row - 1] / query.temperature) for row in pool)
        for row in pool:
            times = query.seen_weight if row in seen_rows(query) else 1
            given[row].append(times * weight * math.exp(line[row - 1] / query.temperature) / total)
    return given


def jaccard(left: Sequence[str], right: Sequence[str]) -> float:
    union = set(left) | set(right)
    return len(set(left) & set(right)) / len(union) if union else 0.0


def objective(
    row: int, chosen: Sequence[int], relevance: float, catalogue: Catalogue, diversity: float
) -> float:
    overlaps = [jaccard(catalogue.category(row), catalogue.category(other)) for other in chosen]
    mean = sum(overlaps) / len(overlaps) if overlaps else 0.0
    return (1 - diversity) * relevance - diversity * mean


def assert_answers(found: Retrieval, query: Query, vectors: Vectors, catalogue: Catalogue) -> None:
    """Every choice of ``found`` is the best that the loops know, given the choices before it."""
    rows = eligible_rows(catalogue, query)
    cosines = (query.interests.astype(float) @ vectors.astype(float).T).tolist()
    given = contributions(cosines, pool_of(cosines, rows, query), query)
    merge = max if query.merge == "max" else sum
    scores = {row: merge(values) for row, values in given.items()}
    best = sorted(scores, key=lambda row: (-scores[row], row))
    remaining = best[: depth(query.k)] if query.diversity else best
    greatest = max(scores.values(), default=0.0)

    assert len(found.candidates) == min(query.k, len(rows))
    chosen: list[int] = []
    for candidate in found.candidates:
        objectives = {
            row: objective(row, chosen, max(scores[row], 0.0) / greatest, catalogue, query.diversity)
            if query.diversity
            else scores[row]
            for row in remaining
        }
        assert objectives[candidate.row] >= max(objectives.values()) - TOLERANCE
        assert abs(candidate.score - scores[candidate.row]) < TOLERANCE
        assert given[candidate.row][candidate.interest] >= max(given[candidate.row]) - TOLERANCE
        chosen.append(candidate.row)
        remaining.remove(candidate.row)
    if query.merge == "mean" and chosen:
        totals = [sum(given[row][line] for row in chosen) for line in range(len(cosines))]
        for weight, total in zip(found.interest_weights, totals, strict=True):
            assert abs(weight - total / sum(totals)) < TOLERANCE
