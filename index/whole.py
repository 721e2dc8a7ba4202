"""Small catalogues: the queries of a batch that look alike are answered together, in arrays over all items.

`answer` is the plain way, one query at a time, which `index.retrieval` also goes for large catalogues and far
from all interests; `answer_together` gives the same for many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.counts import Counted
from index.exact import best_first, best_positions
from index.merging import Merged, diversify, merge_interests
from index.pooling import choice_size
from index.query import Query, Retrieval, union
from index.ties import best_by_keys
from index.vector_index import Hits, Rows, Vectors

MIN_SCORE = 1e-30
"""Scores below this are made in float64: far from all interests float32 loses digits, and soon the order.

Arithmetic: float32 is exact to 7 digits down to 1.2e-38, and a sum that is 1e-30 has terms of 1e-37 in it.
"""


class Scored(NamedTuple):
    """The items that a query may be answered with, and how near they are."""

    rows: Rows | None
    """Ascending; None for the whole catalogue."""
    cosines: Vectors
    """(interests, rows)."""
    nearest: Vectors | None = None
    """(interests, hits): what a softmax is over, where that is not all of `rows`."""


def answer(query: Query, scored: Scored, catalogue: Catalogue) -> Retrieval:
    """The answer to one query from the items that were scored for it."""
    if not scored.cosines.size:
        return Retrieval.of_nothing(query.lines)
    merged, chosen = _best(query, scored, catalogue)
    if query.merge == "mean" and len(chosen) and merged.scores[chosen].min() < MIN_SCORE:
        exact = scored._replace(cosines=scored.cosines.astype(np.float64))
        merged, chosen = _best(query, exact, catalogue)
    rows = chosen + 1 if scored.rows is None else scored.rows[chosen]
    return _retrieval(query, rows, merged.scores[chosen], merged.shares[:, chosen], catalogue)


def answer_together(
    queries: Sequence[Query], rows: Rows | None, cosines: NDArray[np.float32], catalogue: Catalogue
) -> list[Retrieval]:
    """`answer` of each query, all with as many interests, one `k`, merge, temperature, use of diversity and
    of added rows.

    `rows`: ascending, those that all may be answered with; None for the whole catalogue; `cosines` (queries,
    interests, rows).
    """
    first = queries[0]
    if first.fresh:
        pairs = zip(queries, cosines, strict=True)
        return [answer(query, Scored(rows, own), catalogue) for query, own in pairs]
    if not cosines.size:
        return [Retrieval.of_nothing(query.lines) for query in queries]
    keys = _keys(rows, catalogue)
    parts, factors, scores = _scored_together(queries, cosines, alike=keys is not None)
    times = _counted(queries, rows, scores, catalogue)
    if rows is None and len(catalogue.dead_rows):
        scores[:, catalogue.dead_rows - 1] = -np.inf
    excluded = _cells([query.excluded for query in queries], rows)
    scores[excluded] = -np.inf
    count = min(choice_size(first.k, first.diversity), scores.shape[1])
    chosen = best_columns(scores, count, keys)
    values = np.take_along_axis(scores, chosen, axis=1)
    shares = np.take_along_axis(parts, chosen[:, None], axis=2)
    shares *= factors[:, :, None] * np.take_along_axis(times, chosen, axis=1)[:, None]
    if first.merge == "max":
        shares = _winners(shares)
    found = np.count_nonzero(values > -np.inf, axis=1).tolist()
    answers = []
    for index, (query, have) in enumerate(zip(queries, found, strict=True)):
        if first.merge == "mean" and have and values[index, have - 1] < MIN_SCORE:
            answers.append(answer(query, Scored(rows, cosines[index]), catalogue))
            continue
        positions = chosen[index, :have]
        own = positions + 1 if rows is None else rows[positions]
        answers.append(_retrieval(query, own, values[index, :have], shares[index, :, :have], catalogue))
    return answers


def with_counted(query: Query, scored: Scored) -> Scored:
    """The items with one more line of cosines: what was counted of them.

    Its softmax is over all that was counted, of which not all need be among `rows`: where `nearest` says what
    a softmax is over, one hit of their sum stands for them.
    """
    if query.counted is None:
        return scored
    counted = query.counted if scored.rows is None else query.counted.among_rows(scored.rows)
    line = np.full((1, scored.cosines.shape[1]), -np.inf, dtype=np.float32)
    line[0, positions_of(counted.rows, scored.rows)] = counted.as_cosines(query.temperature)
    nearest = scored.nearest
    if nearest is not None:
        total = np.full((1, nearest.shape[1]), -np.inf, dtype=np.float32)
        total[0, 0] = query.temperature * np.log(query.counted.scores.sum(dtype=np.float64))
        nearest = np.concatenate([nearest, total])
    return Scored(scored.rows, np.concatenate([scored.cosines, line]), nearest)


def together_with_counted(
    queries: Sequence[Query], rows: Rows | None, cosines: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`with_counted` of the cosines (queries, interests, rows) of queries that all have counted items."""
    count, interests, width = cosines.shape
    lines = np.empty((count, interests + 1, width), dtype=np.float32)
    lines[:, :-1] = cosines
    lines[:, -1] = -np.inf
    found = [query.counted for query in queries if query.counted is not None]
    owners, columns = _cells([one.rows for one in found], rows)
    scores = Counted(columns, np.concatenate([one.scores for one in found]))
    lines[owners, -1, columns] = scores.as_cosines(queries[0].temperature)
    return lines


def nearest_hits(cosines: Vectors, count: int, keys: Rows | None = None) -> Hits:
    """The `count` nearest of all items by `cosines` (interests, items), equal ones as `best_columns`."""
    columns = best_columns(cosines, min(count, cosines.shape[1]), keys)
    found = np.take_along_axis(cosines, columns, axis=1)
    rows = columns + 1
    if np.isneginf(found[:, -1]).any():
        rows[np.isneginf(found)] = -1
    return Hits(found, rows)


def best_columns(values: Vectors, k: int, keys: Rows | None = None) -> Rows:
    """The columns of the `k` greatest of each line (lines, k), best first, equal ones by column.

    `keys` (columns,) or (lines, columns): by which equal ones are ordered instead.
    """
    width = values.shape[1]
    if keys is not None:
        return best_by_keys(values, min(k, width), keys)
    if k >= width:
        return _order(values)
    reached = values >= np.partition(values, width - k, axis=1)[:, width - k, None]
    cells = np.flatnonzero(reached)
    if len(cells) == k * len(values):  # no line has equal ones on both sides of its margin
        columns = (cells % width).reshape(-1, k)
        order = _order(values.ravel()[cells].reshape(columns.shape))
        best: Rows = np.take_along_axis(columns, order, axis=1)
        return best
    best = np.empty((len(values), k), dtype=np.int64)
    clear = np.count_nonzero(reached, axis=1) == k
    if clear.any():
        best[clear] = best_columns(values[clear], k)
    for line in np.flatnonzero(~clear):
        best[line] = best_positions(values[line], k)
    return best


def _order(values: Vectors) -> Rows:
    """The columns of each line, the greatest value first, equal ones by column.

    Value and column are sorted as one integer: of two floats of one sign the bits are in order, or just the
    other way round.
    """
    bits = (values + np.float32(0)).view(np.int32)  # there is no −0 left
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys <<= 32
    last = values.shape[1] - 1
    keys += np.arange(last, -1, -1)
    keys.sort(axis=1)
    columns: Rows = last - (keys[:, ::-1] & 0xFFFFFFFF)
    return columns


def _scored_together(
    queries: Sequence[Query], cosines: Vectors, *, alike: bool = False
) -> tuple[Vectors, Vectors, Vectors]:
    """Parts (queries, interests, items), their factors (queries, interests), and the scores made of them.

    `alike`: items of the same parts have the same score, which a product does not see to.
    """
    first = queries[0]
    interests = cosines.shape[1]
    if first.merge == "max":
        return cosines, np.ones(cosines.shape[:2], dtype=np.float32), cosines.max(axis=1)
    parts = cosines - cosines.max(axis=2, keepdims=True)
    parts /= np.float32(first.temperature)
    np.exp(parts, out=parts)
    equal = np.full(interests, 1 / interests, dtype=np.float32)
    weights = np.stack([equal if own is None else own for own in (query.line_weights for query in queries)])
    factors = weights / parts.sum(axis=2)
    if alike:
        scores = factors[:, :1] * parts[:, 0]
        for interest in range(1, interests):
            scores += factors[:, interest, None] * parts[:, interest]
        return parts, factors, scores
    return parts, factors, (factors[:, None] @ parts)[:, 0]


def _counted(queries: Sequence[Query], rows: Rows | None, scores: Vectors, catalogue: Catalogue) -> Vectors:
    """The times that each item counts for each query, like `scores`, which are counted as often."""
    times = np.ones_like(scores)
    for index, query in enumerate(queries):
        if query.novelty:
            times[index] = rarity(query.novelty, rows, catalogue)
        if query.repeat_weight != 1:
            times[index, positions_of(query.seen, rows)] *= np.float32(query.repeat_weight)
    scores *= times
    return times


def rarity(novelty: float, rows: Rows | None, catalogue: Catalogue) -> Vectors:
    """The times that items count where common ones are to count less (rows,); None: the whole catalogue."""
    common = catalogue.log_commonness
    times: Vectors = np.exp(np.float32(-novelty) * (common if rows is None else common[rows - 1]))
    return times


def _cells(wanted: Sequence[Rows], rows: Rows | None) -> tuple[Rows, Rows]:
    """Lines and columns of the rows `wanted` of each query."""
    columns = [positions_of(own, rows) for own in wanted]
    lines = np.repeat(np.arange(len(columns)), [len(own) for own in columns])
    return lines, np.concatenate(columns)


def _winners(cosines: Vectors) -> Vectors:
    """1 for the interest with the greatest cosine (queries, interests, items), 0 for the others."""
    best = cosines.argmax(axis=1)
    won: Vectors = (best[:, None] == np.arange(cosines.shape[1])[:, None]).astype(np.float32)
    return won


def _best(query: Query, scored: Scored, catalogue: Catalogue) -> tuple[Merged, Rows]:
    """All scores, and the positions of those to answer with or to diversify, best first."""
    weights = query.line_weights
    merged = merge_interests(scored.cosines, query.merge, query.temperature, weights, scored.nearest)
    if query.repeat_weight != 1:
        seen = positions_of(query.seen, scored.rows)
        merged.scores[seen] *= np.float32(query.repeat_weight)
        merged.shares[:, seen] *= np.float32(query.repeat_weight)
    if query.novelty:
        times = rarity(query.novelty, scored.rows, catalogue)
        merged = Merged(merged.scores * times, merged.shares * times)
    if scored.rows is None:
        merged.scores[catalogue.dead_rows - 1] = -np.inf
    merged.scores[positions_of(query.excluded, scored.rows)] = -np.inf
    keys = _keys(scored.rows, catalogue)
    chosen = best_positions(merged.scores, choice_size(query.k, query.diversity), keys)
    if query.fresh:
        start = catalogue.base_rows
        if scored.rows is not None:
            start = int(np.searchsorted(scored.rows, start, side="right"))
        chosen = _with_added(chosen, merged.scores, query, start, keys)
    return merged, chosen[merged.scores[chosen] > -np.inf]


def _with_added(chosen: Rows, scores: Vectors, query: Query, start: int, keys: Rows | None) -> Rows:
    """The positions `chosen` with those of the best added items, which begin at `start`, best first."""
    count = choice_size(query.fresh, query.diversity)
    added = best_positions(scores[start:], count, None if keys is None else keys[start:]) + start
    together = union(chosen, added)
    order = best_first(scores[together], None if keys is None else keys[together])
    ordered: Rows = together[order]
    return ordered


def _keys(rows: Rows | None, catalogue: Catalogue) -> Rows | None:
    """By which equal ones of `rows`, None for all, are ordered, where it is not by row."""
    twins = None if catalogue.ties is None else catalogue.ties.twins
    if twins is None:
        return None
    return twins.all_keys if rows is None else twins.keys(rows)


def _retrieval(query: Query, rows: Rows, scores: Vectors, shares: Vectors, catalogue: Catalogue) -> Retrieval:
    """The answer with these items, best first; `shares` (interests, rows)."""
    if (query.diversity or query.fresh) and len(rows):
        matrix, added = catalogue.category_matrix(rows), rows > catalogue.base_rows
        kept = diversify(scores, matrix, query.k, query.diversity, query.fresh, added)
        rows, scores, shares = rows[kept], scores[kept], shares[:, kept]
    sums = shares.sum(axis=1)
    total = sums.sum()
    weights = sums / total if total > 0 else np.full(len(sums), 1 / len(sums))
    return Retrieval(
        rows, scores, shares.astype(np.float32, copy=False), weights.astype(np.float32, copy=False)
    )


def positions_of(wanted: Rows, rows: Rows | None) -> Rows:
    """The positions of those of `wanted` that are among `rows` (ascending; None: 1, 2, …)."""
    if rows is None:
        return wanted[wanted > 0] - 1
    positions = np.searchsorted(rows, wanted)
    there = positions < len(rows)
    positions = positions[there]
    found: Rows = positions[rows[positions] == wanted[there]]
    return found
