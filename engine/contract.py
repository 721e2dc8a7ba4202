"""Requests to the engine and its answers, in the caller's ids.

Answers are `msgspec.Struct`s, because there are many of them: one is made in .13 µs, a frozen dataclass of as
many fields in 1.9 µs, and they are encoded as they are. Fields stand in the order in which callers read them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from index.filters import Filter
from model.interests import InterestKind, InterestMode

Source = Literal["personal", "trending", "popularity"]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request; None is what the bundle says."""

    history: Sequence[str]
    """Items that the model reads, oldest first; where it knows none of them, popularity answers."""
    k: int
    user_id: str | None = None
    """Whose request it is: decides the draws where no seed is given."""
    excluded: Sequence[str] = ()
    """Items not to answer with."""
    categories: Sequence[str] | None = None
    """Answer with items of any of them; None: of all."""
    where: Filter | None = None
    """Answer with items that it lets through."""
    fresh: float | None = None
    """Part of the `k` that is of items new or changed since the bundle, where so many are eligible."""
    diversity: float | None = None
    novelty: float = 0.0
    """Rarer items at the price of hits, 0 … 1; above 0 only of an engine that `offers_novelty`."""
    draws: int | None = None
    interest_mode: InterestMode | None = None
    steps: int | None = None
    """At most the engine's `max_steps`."""
    seed: int | None = None
    explain: bool = True
    """Say what the interests are about and where they come from."""

    def mode(self, default: InterestMode) -> InterestMode:
        """The interests that search: who names draws or steps has draws where guidance is the default."""
        if self.interest_mode is not None:
            return self.interest_mode
        names_draws = self.draws is not None or self.steps is not None
        return "both" if default == "guidance" and names_draws else default


NO_NOVELTY = (
    "the bundle in service does not say what it would cost: leave it out, or publish a bundle whose"
    " manifest has `novelty`"
)
"""The reason why a request for novelty is refused."""


def fresh_items(fresh: float | None, k: int, default: float) -> int:
    """The whole number of items that are the part `fresh` of `k`, as decimals have it: .29 of 100 are 29.

    `default`: the part where none is asked for.
    """
    return math.floor((default if fresh is None else fresh) * k + 1e-9)


class DescribedItem(Struct, frozen=True, gc=False):
    """An item as the catalogue describes it."""

    item_id: str
    title: str | None
    categories: tuple[str, ...]


class ScoredItem(DescribedItem, frozen=True, gc=False):
    """An item that was found."""

    score: float


class WatchedItem(Struct, frozen=True, gc=False):
    """An item of a history."""

    item_id: str
    title: str | None


class RecommendedItem(Struct, frozen=True, gc=False):
    """An item of an answer."""

    item_id: str
    score: float
    interest: int | None
    """Index of the interest that brought it; None: popularity."""
    because: tuple[WatchedItem, ...] | None
    """Watched items nearest to that interest, nearest first; None: not asked for."""
    categories: tuple[str, ...]
    title: str | None
    new: bool
    """Put since the bundle, whose log has no event of it."""


class AnsweredInterest(Struct, frozen=True, gc=False):
    """One interest; near-duplicates of one kind count as one."""

    kind: InterestKind
    weight: float
    """Its part in the answer; all sum to 1."""
    item_count: int
    """Items of the answer that it brought."""
    top_categories: tuple[str, ...] | None
    """Categories that set it apart, best first; None: not asked for."""


class EngineAnswer(Struct, frozen=True, gc=False):
    """The answer to one request; the times are those of its whole batch."""

    items: list[RecommendedItem]
    interests: list[AnsweredInterest]
    """Empty: answered by popularity."""
    source: Source
    unknown_categories: list[str]
    """Those of the request that no item has."""
    fresh_missing: int
    """New or changed items that are fewer than the request asks for: no more are eligible."""
    model_ms: float
    search_ms: float
