"""The last look at an answer before it leaves: an item that was removed while it was made is in none.

A look and the sending that follows it are one step of the event loop, as are a removal and its answer. So
whoever was told of a removal gets no answer with the item after it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from engine.contract import RecommendedItem, ScoredItem
from service.answers import Answer
from service.catalogue.live import LiveCatalogue
from service.errors import RequestRefusedError

SPARE_ITEMS = 16
"""Items asked for beside the `k` where others were just removed. Chosen: as many removals between two
looks would take thousands a second.
"""
MAX_REPEATS = 3
"""Chosen: an answer that lost more than its spare items so often is short rather than late."""

List = TypeVar("List")


async def settled(
    catalogue: LiveCatalogue,
    make: Callable[[int], Awaitable[List]],
    without_gone: Callable[[List], tuple[List, int]],
) -> List:
    """The list that `make` makes, without what was removed meanwhile; made again where it is short.

    While items go it has some to spare from the first, since there may be no time to make it again.

    `make`: with so many more than were asked for; `without_gone`: the list without what is gone, cut to what
    was asked for, and the number of those struck.
    """
    generation = catalogue.generation
    spare = SPARE_ITEMS if catalogue.is_losing else 0
    found = await make(spare)
    if not spare and catalogue.generation == generation:
        return found
    kept, struck = without_gone(found)
    for _ in range(MAX_REPEATS):
        if struck <= spare:
            return kept
        spare = SPARE_ITEMS
        try:
            found = await make(spare)
        except RequestRefusedError:
            break  # there is no time for another one
        kept, struck = without_gone(found)
    return without_gone(found)[0]


def answer_without_gone(
    answer: Answer, k: int, catalogue: LiveCatalogue, fresh: int = 0
) -> tuple[Answer, int]:
    """At most `k` items of an answer, none of them gone; and the number of those struck.

    `fresh` of them are new or changed, where there are so many. Nor is any that is gone said to be why.
    """
    living = [item for item in answer.items if not catalogue.is_gone(item.item_id)]
    struck = len(answer.items) - len(living)
    kept, missing = _cut(living, k, catalogue, fresh)
    items = [_explained_by_living(item, catalogue) for item in kept]
    counts = Counter(item.interest for item in items)
    interests = [
        msgspec.structs.replace(interest, item_count=counts[index])
        for index, interest in enumerate(answer.interests)
    ]
    changed = msgspec.structs.replace(answer, items=items, interests=interests, fresh_missing=missing)
    return changed, struck


def _cut(
    items: list[RecommendedItem], k: int, catalogue: LiveCatalogue, fresh: int
) -> tuple[list[RecommendedItem], int]:
    """The first `k`, but `fresh` new or changed ones among them; and how many of these there are too few."""
    if not fresh:
        return items[:k], 0
    put = [index for index, item in enumerate(items) if catalogue.is_added(item.item_id)][:fresh]
    others = [index for index in range(len(items)) if index not in put]
    kept = sorted([*put, *others[: k - len(put)]])
    return [items[index] for index in kept], fresh - len(put)


def neighbours_without_gone(
    neighbours: list[ScoredItem], k: int, catalogue: LiveCatalogue
) -> tuple[list[ScoredItem], int]:
    """The same of neighbours of an item."""
    living = [item for item in neighbours if not catalogue.is_gone(item.item_id)]
    return living[:k], len(neighbours) - len(living)


def _explained_by_living(item: RecommendedItem, catalogue: LiveCatalogue) -> RecommendedItem:
    if not item.because or not any(catalogue.is_gone(one.item_id) for one in item.because):
        return item
    because = tuple(one for one in item.because if not catalogue.is_gone(one.item_id))
    return msgspec.structs.replace(item, because=because)
