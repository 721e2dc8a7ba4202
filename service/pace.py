"""The speed of recent batches, from which the time of the next ones is predicted."""

from collections import deque
from statistics import median

BATCHES = 9
MIN_BATCHES = 3
"""Fewer say nothing: the first ones of a process are slow."""

BATCH_COST = 2.0
"""Cost of a batch besides that of its items, in the unit of `engine.costs`."""


LAG_DECAY = 0.995
"""An answer: after a full batch of 64 a lag counts for three quarters."""


class Pace:
    """Seconds that a unit of cost takes, and that the event loop takes to go on with answers.

    The former is the median of recent batches, since one odd batch says nothing.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=BATCHES)
        self._seconds = 0.0
        self.lag_s = 0.0
        """Time from the end of a batch until the last of its callers goes on: a maximum that fades."""

    def note(self, seconds: float, cost: float) -> None:
        """A batch of items of this cost took so long."""
        self._recent.append(seconds / (BATCH_COST + cost))
        if len(self._recent) >= MIN_BATCHES:
            self._seconds = median(self._recent)

    def note_lag(self, seconds: float) -> None:
        """A caller went on so long after its batch had ended."""
        self.lag_s = max(seconds, LAG_DECAY * self.lag_s)

    def seconds(self, cost: float, batches: float = 1.0) -> float:
        """The time that work of this cost takes in so many batches; 0 as long as too little was measured."""
        return (batches * BATCH_COST + cost) * self._seconds
