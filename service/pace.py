"""The speed of recent batches, from which the time of the next ones is predicted."""

from collections import deque
from statistics import median

BATCHES = 9
MIN_BATCHES = 3
"""Fewer say nothing: the first ones of a process are slow."""


class Pace:
    """Seconds that a unit of cost takes: the median of recent batches, since one odd batch says nothing."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=BATCHES)
        self._seconds = 0.0

    def note(self, seconds: float, cost: float) -> None:
        """A batch of this cost took so long."""
        self._recent.append(seconds / cost)
        if len(self._recent) >= MIN_BATCHES:
            self._seconds = median(self._recent)

    def seconds(self, cost: float) -> float:
        """The time that work of this cost will take; 0 as long as too little was measured."""
        return cost * self._seconds
