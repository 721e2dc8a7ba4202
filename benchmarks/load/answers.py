"""The marks of a right answer to `POST /recommend`, as far as a caller can tell."""

from collections.abc import Mapping, Set
from typing import Any


def fault_of(
    answer: Mapping[str, Any], request: Mapping[str, Any], seen: Set[str], catalogue_size: int
) -> str | None:
    """The fault of `answer`, or None.

    `seen` are the items known to be in the user's history, or given in the request, when it was sent.
    """
    items = [item["item_id"] for item in answer["items"]]
    expected = min(request["k"], catalogue_size - len(seen))
    if answer["degraded"] is not None:
        return f"degraded: {answer['degraded']}"
    if len(items) < expected or len(items) > request["k"]:
        return f"{len(items)} items instead of {expected}"
    if len(set(items)) < len(items):
        return "an item twice"
    if not seen.isdisjoint(items):
        return "an item that was seen"
    if seen and answer["source"] != "personal":
        return f"answered by {answer['source']} in spite of a history"
    scores = [item["score"] for item in answer["items"]]
    if not request.get("diversity") and scores != sorted(scores, reverse=True):
        return "scores out of order"
    return None
