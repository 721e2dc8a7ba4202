"""Counts with a half-life, in this process.

An event's weight never changes: it's 2^(its time − a landmark, in half-lives), and a count at a later moment
is the sum of these, scaled once (forward decay). The landmark moves with time, so that no weight overflows.
"""

from collections.abc import Iterator, Mapping
from operator import itemgetter

MAX_ITEMS = 2_000
"""Items counted, those with the greatest counts. Chosen: four times the longest answer; 300 KB in Redis, and
reading them keeps it from others for some ms."""
SLACK = 1.25
"""Part of these up to which more are counted. Chosen: a new one has time until the least are dropped."""
MIN_COUNT = 2.0**-20
"""Count below which an item is dropped: that of an event 20 half-lives ago. Chosen: it decides nothing."""
GRAIN = 1_024
"""Part of a half-life by which moments are told apart: processes that look a moment apart see the same."""


def coarse(moment_ms: int, half_life_ms: float) -> int:
    """The last moment until this one of those that are told apart."""
    return moment_ms - moment_ms % max(1, int(half_life_ms / GRAIN))


class DecayedCounts:
    """Counts of `max_items` and a few more at most; an event counts half after `half_life_ms`."""

    def __init__(self, half_life_ms: float, max_items: int = MAX_ITEMS) -> None:
        self._half_life_ms = half_life_ms
        self._max_items = max_items
        self._landmark_ms = 0
        self._weights: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._weights)

    def add(self, item_id: str, at_ms: int, now_ms: int, times: float = 1.0) -> None:
        """Count an event of an item, `times` −1: take one back.

        `at_ms` is the event's time; one of the future counts as one of now. Where the clock was set back, now
        is the newest moment, and the event as old as the clock says.
        """
        self._move_landmark(now_ms)
        set_back_ms = max(0, self._landmark_ms - now_ms)
        weight = times * 2.0 ** ((min(at_ms, now_ms) + set_back_ms - self._landmark_ms) / self._half_life_ms)
        self._weights[item_id] = self._weights.get(item_id, 0.0) + weight
        if len(self._weights) > SLACK * self._max_items:
            self._weights = dict(_greatest(self._weights, self._max_items))

    def at(self, moment_ms: int) -> dict[str, float]:
        """The counts at a moment, greatest first; below 0 where more was taken back than is counted here.

        A moment of long ago counts as the newest, since the clock was set back.
        """
        ahead = (self._landmark_ms - moment_ms) / self._half_life_ms
        scale = 2.0 ** (ahead if ahead < 1 else 0.0)
        counts = {item_id: weight * scale for item_id, weight in self._weights.items()}
        counted = {item_id: count for item_id, count in counts.items() if abs(count) >= MIN_COUNT}
        return dict(_greatest(counted, self._max_items))

    def _move_landmark(self, now_ms: int) -> None:
        passed = (now_ms - self._landmark_ms) / self._half_life_ms
        if passed > 1:
            scale = 2.0**-passed
            scaled = {item_id: weight * scale for item_id, weight in self._weights.items()}
            self._weights = {item_id: one for item_id, one in scaled.items() if abs(one) >= MIN_COUNT}
            self._landmark_ms = now_ms


def _greatest(counts: Mapping[str, float], most: int) -> Iterator[tuple[str, float]]:
    """The `most` greatest, by absolute value, the first by id of equal ones."""
    ordered = sorted(counts.items(), key=itemgetter(0))
    ordered.sort(key=lambda pair: -abs(pair[1]))
    yield from ordered[:most]
