"""Retrieval by plain loops over every item: slow, obvious, and what the fast path is tested against."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from index.catalogue import Catalogue
from index.filters import Combined, Filter
from index.pooling import SOFTMAX_HITS, candidates_per_interest
from index.query import Query, Retrieval
from index.vector_index import Vectors

TOLERANCE = 1e-5
"""float32 against float64, of scores that sum to 1."""


def holds(where: Filter, values: Mapping[str, Any]) -> bool:
    """True for an item of these attributes, as they are shown."""
    if isinstance(where, Combined):
        parts = [holds(part, values) for part in where.parts]
        return {"all_of": all(parts), "any_of": any(parts), "none_of": not any(parts)}[where.how]
    if where.attribute not in values:
        return False
    value = values[where.attribute]
    if where.among is not None:
        return bool(set(value if isinstance(value, list) else [value]) & set(where.among))
    return (
        (where.at_least is None or value >= where.at_least)
        and (where.above is None or value > where.above)
        and (where.at_most is None or value <= where.at_most)
        and (where.below is None or value < where.below)
    )


def eligible_rows(catalogue: Catalogue, query: Query) -> list[int]:
    """Those of the categories and the filter asked for, excluded ones among them."""
    return [
        row
        for row in range(1, len(catalogue) + 1)
        if (query.categories is None or query.categories & set(catalogue.category(row)))
        and (query.where is None or holds(query.where, catalogue.attributes_of(row)))
    ]


def pool_of(cosines: Sequence[Sequence[float]], rows: Sequence[int], query: Query) -> list[int]:
    """What a searched catalogue chooses from: the union of every interest's nearest.

    And of what was counted as many. With room for seen items that count less, and with all of those that
    count more.
    """
    seen = set(query.seen.tolist()) & set(rows)
    union: set[int] = seen if query.repeat_weight > 1 else set()
    count = candidates_per_interest(query.k) + (
        len(set(query.seen.tolist())) if query.repeat_weight < 1 else 0
    )
    counted = counted_of(rows, query)
    union |= set(sorted(counted, key=lambda row: (-counted[row], row))[:count])
    for line in cosines:
        union |= set(sorted(rows, key=lambda row: (-line[row - 1], row))[:count])
    return sorted(union)


def times_of(row: int, query: Query, catalogue: Catalogue) -> float:
    """The times that an item counts: by how often users come back, and by how common it is."""
    times = query.repeat_weight if row in query.seen else 1.0
    events = int(catalogue.popularity[row - 1])
    if row > catalogue.base_rows and not events:
        known = [math.log(1 + own) for own in catalogue.popularity[: catalogue.base_rows].tolist()]
        return times * math.exp(-query.novelty * sum(known) / len(known))
    return float(times / (1 + events) ** query.novelty)


def contributions(
    cosines: Sequence[Sequence[float]],
    rows: Sequence[int],
    query: Query,
    softmax_hits: int,
    catalogue: Catalogue,
) -> dict[int, list[float]]:
    """The part of each interest in each item: of the softmax over its nearest eligible items, or its cosine.

    A part counts as often as the query says of a seen item, and of one that is so common.
    """
    if query.merge == "max":
        return {row: [line[row - 1] for line in cosines] for row in rows}
    given: dict[int, list[float]] = {row: [] for row in rows}
    times = {row: times_of(row, query, catalogue) for row in rows}
    weights = [1 / len(cosines)] * len(cosines) if query.weights is None else query.weights.tolist()
    for weight, line in zip(weights, cosines, strict=True):
        nearest = sorted((line[row - 1] for row in rows), reverse=True)[:softmax_hits]
        total = sum(math.exp(cosine / query.temperature) for cosine in nearest)
        for row in rows:
            given[row].append(times[row] * weight * math.exp(line[row - 1] / query.temperature) / total)
    counted = counted_of(rows, query)
    for row in rows if counted else ():
        part = query.counted_weight * counted.get(row, 0.0) / sum(counted.values())
        given[row] = [(1 - query.counted_weight) * own for own in given[row]] + [times[row] * part]
    return given


def counted_of(rows: Sequence[int], query: Query) -> dict[int, float]:
    """The scores of those `rows` that counting knows for the query."""
    if query.counted is None or not query.counted_weight:
        return {}
    known = dict(zip(query.counted.rows.tolist(), query.counted.scores.tolist(), strict=True))
    return {row: known[row] for row in rows if row in known}


def jaccard(left: Collection[object], right: Collection[object]) -> float:
    union = set(left) | set(right)
    return len(set(left) & set(right)) / len(union) if union else 0.0


def objective(
    row: int, chosen: Sequence[int], relevance: float, catalogue: Catalogue, diversity: float
) -> float:
    overlaps = [jaccard(catalogue.category(row), catalogue.category(other)) for other in chosen]
    mean = sum(overlaps) / len(overlaps) if overlaps else 0.0
    return (1 - diversity) * relevance - diversity * mean


def assert_answers(
    found: Retrieval, query: Query, vectors: Vectors, catalogue: Catalogue, *, searched: bool = False
) -> None:
    """Every choice of ``found`` is the best that the loops know, given the choices before it.

    ``searched``: the catalogue is so large that it was searched, else all of it was scored.
    """
    excluded = set(query.excluded.tolist())
    eligible = eligible_rows(catalogue, query)
    rows = [row for row in eligible if row not in excluded]
    cosines = (query.interests.astype(float) @ vectors.astype(float).T).tolist()
    given = contributions(cosines, eligible, query, SOFTMAX_HITS if searched else len(eligible), catalogue)
    if searched:
        rows = pool_of(cosines, rows, query)
    merge = max if query.merge == "max" else sum
    scores = {row: merge(given[row]) for row in rows}
    best = sorted(scores, key=lambda row: (-scores[row], row))
    remaining = best[: candidates_per_interest(query.k)] if query.diversity else best
    greatest = max(scores.values(), default=0.0)
    tolerance = TOLERANCE * max(1.0, query.repeat_weight)

    assert len(found.candidates) == min(query.k, len(rows))
    chosen: list[int] = []
    for candidate in found.candidates:
        objectives = {
            row: objective(row, chosen, max(scores[row], 0.0) / greatest, catalogue, query.diversity)
            if query.diversity
            else scores[row]
            for row in remaining
        }
        assert objectives[candidate.row] >= max(objectives.values()) - tolerance
        assert abs(candidate.score - scores[candidate.row]) < tolerance
        assert given[candidate.row][candidate.interest] >= max(given[candidate.row]) - tolerance
        chosen.append(candidate.row)
        remaining.remove(candidate.row)
    if query.merge == "mean" and chosen:
        totals = [sum(given[row][line] for row in chosen) for line in range(len(given[chosen[0]]))]
        for weight, total in zip(found.interest_weights, totals, strict=True):
            assert abs(weight - total / sum(totals)) < TOLERANCE
