"""Entries by pages, in the order of their ids."""

import heapq
from collections.abc import Iterable
from operator import attrgetter

from service.catalogue.protocol import Entry


def first_after(entries: Iterable[Entry], limit: int, after: str | None) -> tuple[list[Entry], str | None]:
    """The first `limit` entries whose ids come after `after`; and the `after` of the next ones, None where
    there are none.
    """
    left = (entry for entry in entries if after is None or entry.item_id > after)
    found = heapq.nsmallest(limit + 1, left, key=attrgetter("item_id"))
    return found[:limit], found[limit - 1].item_id if len(found) > limit else None
