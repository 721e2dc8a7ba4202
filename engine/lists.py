"""The items of an answer, with what is said of each."""

from collections.abc import Sequence

import numpy as np

from engine.contract import AnsweredInterest, RecommendedItem, Source, WatchedItem
from engine.descriptions import Descriptions
from engine.explain import Explanation, MergedInterests
from engine.popularity import PopularItem
from index.query import Retrieval

Part = tuple[list[RecommendedItem], list[AnsweredInterest], Source]


def personal_list(
    found: Retrieval,
    merged: MergedInterests,
    explained: list[Explanation] | None,
    descriptions: Descriptions,
) -> Part:
    """The items found, each by the interest with the greatest part in it."""
    brought = merged.together(found.shares).argmax(axis=0)
    because: Sequence[tuple[WatchedItem, ...] | None] = [None] * len(merged.kinds)
    labels: Sequence[tuple[str, ...] | None] = [None] * len(merged.kinds)
    if explained is not None:
        because = [tuple(map(descriptions.watched, one.because)) for one in explained]
        labels = [one.top_categories for one in explained]
    described = map(descriptions.of, found.rows.tolist())
    columns = described, found.scores.tolist(), brought.tolist(), descriptions.new(found.rows)
    items = [
        RecommendedItem(item.item_id, score, interest, because[interest], item.categories, item.title, new)
        for item, score, interest, new in zip(*columns, strict=True)
    ]
    weights = merged.together(found.interest_weights).tolist()
    counts = np.bincount(brought, minlength=len(merged.kinds)).tolist()
    return items, list(map(AnsweredInterest, merged.kinds, weights, counts, labels)), "personal"


def popular_list(best: Sequence[PopularItem], descriptions: Descriptions, *, explain: bool) -> Part:
    """The most popular items, of no interest."""
    because = () if explain else None
    rows = np.array([one.row for one in best], dtype=np.int64)
    columns = map(descriptions.of, rows.tolist()), [one.score for one in best], descriptions.new(rows)
    items = [
        RecommendedItem(item.item_id, score, None, because, item.categories, item.title, new)
        for item, score, new in zip(*columns, strict=True)
    ]
    return items, [], "trending" if any(one.trending for one in best) else "popularity"
