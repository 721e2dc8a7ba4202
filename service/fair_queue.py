"""The queue in front of the engine: fair between callers, and newest first once it stands.

Callers take turns by what they cost, not by how many requests they send (start-time fair queuing). Within a
caller's share the oldest request is next, until one has waited for too long: then the queue stands, everybody
in it would be late, and the newest, which can still be in time, go first. Every `OLDEST_EVERY`th turn is the
oldest's even then, so that nobody starves.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

OLDEST_EVERY = 8
"""Chosen: one turn in so many goes to the oldest entry of a caller whose newest go first."""


@dataclass(slots=True, eq=False)
class Entry:
    """Something that waits: whose it is, what it costs (any unit), and since when (s)."""

    caller: str
    cost: float
    since: float
    patient_s: float = field(default=0.0, kw_only=True)
    """The wait after which it may be too late; before, it is no sign that the queue stands."""


EntryT = TypeVar("EntryT", bound=Entry)


@dataclass(slots=True, eq=False)
class _Lane(Generic[EntryT]):
    """The entries of one caller, oldest first."""

    turn_at: float
    """Virtual time of its next turn: grows by the cost of what is taken."""
    entries: OrderedDict[EntryT, None] = field(default_factory=OrderedDict)
    cost: float = 0.0
    turns: int = 0


class FairQueue(Generic[EntryT]):
    """Entries by caller; `standing_s`: wait of a caller's oldest from which its newest go first, unless that
    is patient.

    Every operation takes logarithmic time in the number of callers, but `newest_of_heaviest`.
    """

    def __init__(self, standing_s: float) -> None:
        self._standing_s = standing_s
        self._lanes: dict[str, _Lane[EntryT]] = {}
        self._turns: list[tuple[float, int, str]] = []  # a heap with each lane once, an empty one too
        self._ticket = count()
        self._virtual = 0.0
        self._length = 0
        self._callers = 0
        self.cost = 0.0
        """Of all entries."""

    def __len__(self) -> int:
        return self._length

    def cost_ahead(self, caller: str, cost: float) -> float:
        """The most that is taken before an entry of `cost` that `caller` would add now."""
        lane = self._lanes.get(caller)
        own = lane.cost if lane else 0.0
        others = self._callers - bool(lane and lane.entries)
        return min(self.cost, own + others * (own + cost))

    def add(self, entry: EntryT) -> None:
        """Let the entry wait."""
        lane = self._lanes.get(entry.caller)
        if lane is None:
            lane = self._lanes[entry.caller] = _Lane(self._virtual)
            heapq.heappush(self._turns, (lane.turn_at, next(self._ticket), entry.caller))
        self._callers += not lane.entries
        lane.entries[entry] = None
        self._count(lane, entry, 1)

    def discard(self, entry: EntryT) -> bool:
        """Take the entry out; False where it does not wait any more."""
        lane = self._lanes.get(entry.caller)
        if lane is None or entry not in lane.entries:
            return False
        del lane.entries[entry]
        self._callers -= not lane.entries
        self._count(lane, entry, -1)
        return True

    def take(self, now: float) -> EntryT | None:
        """The entry whose turn it is, no longer in the queue; None where nothing waits."""
        while self._turns:
            turn_at, _, caller = heapq.heappop(self._turns)
            lane = self._lanes[caller]
            if not lane.entries:
                del self._lanes[caller]
                continue
            self._virtual = turn_at
            entry = self._next_of(lane, now)
            self.discard(entry)
            lane.turn_at = turn_at + entry.cost
            heapq.heappush(self._turns, (lane.turn_at, next(self._ticket), caller))
            return entry
        return None

    def newest_of_heaviest(self, than: str) -> EntryT | None:
        """The newest entry of the caller with the most entries; None where `than` would have no fewer."""
        lane = max(self._lanes.values(), key=lambda lane: len(lane.entries), default=None)
        own = self._lanes.get(than)
        if lane is None or len(lane.entries) <= (len(own.entries) if own else 0) + 1:
            return None
        return next(reversed(lane.entries))

    def _next_of(self, lane: _Lane[EntryT], now: float) -> EntryT:
        oldest = next(iter(lane.entries))
        lane.turns += 1
        if now - oldest.since <= max(self._standing_s, oldest.patient_s) or lane.turns % OLDEST_EVERY == 0:
            return oldest
        return next(reversed(lane.entries))

    def _count(self, lane: _Lane[EntryT], entry: EntryT, sign: int) -> None:
        self._length += sign
        # Sums of floats that come and go keep a rest: an empty queue costs exactly nothing.
        lane.cost = lane.cost + sign * entry.cost if lane.entries else 0.0
        self.cost = self.cost + sign * entry.cost if self._length else 0.0
