"""Recent events, counted as they come into histories, and the engine that answers by them."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from engine.popularity import Trend
from files.clock import now_ms
from service.engines import Engines
from service.history.errors import HistoryError
from service.history.meanings import Meanings
from service.history.protocol import Event
from service.outage import Outage
from service.trending.decay import DecayedCounts, coarse
from service.trending.shared import SharedCounts

log = structlog.get_logger("dimerec.trending")

EVERY_S = 5.0
"""Between two looks at the counts. Chosen: short beside any half-life, and long beside what a look costs."""


class TrendingEvents:
    """A `HistoryListener` that counts the positive events of this process, until they are taken."""

    def __init__(self, half_life_s: int, meanings: Meanings, clock: Callable[[], int] = now_ms) -> None:
        self.half_life_ms = 1000.0 * half_life_s
        self._meanings = meanings
        self.clock = clock
        self.counts = DecayedCounts(self.half_life_ms)

    def added(self, events: Sequence[Event]) -> None:
        """Count events."""
        self._count(events, 1.0)

    def removed(self, event: Event) -> None:
        """Count an event no longer."""
        self._count([event], -1.0)

    def take(self) -> dict[str, float]:
        """The counts so far, as of now; those after it begin anew."""
        taken, self.counts = self.counts, DecayedCounts(self.half_life_ms)
        return taken.at(self.clock())

    def kept(self) -> dict[str, float]:
        """The counts of now, which go on."""
        return self.counts.at(coarse(self.clock(), self.half_life_ms))

    def _count(self, events: Sequence[Event], times: float) -> None:
        now = self.clock()
        for event in events:
            if self._meanings.of(event.event_type) == "positive":
                self.counts.add(event.item_id, event.timestamp, now, times)


class Trending:
    """Lets recent events count in the engine in service: the `shared` ones, else those of this process."""

    def __init__(self, events: TrendingEvents, engines: Engines, shared: SharedCounts | None) -> None:
        self._events = events
        self._engines = engines
        self._shared = shared
        if shared is not None:
            events.clock = shared.now_ms
        self._read_s = time.monotonic()
        self._away = Outage(log, "recent events cannot be shared")
        self.items = 0
        """Items that have recent events."""

    @property
    def age_s(self) -> float:
        """Time since the shared counts were read, or since the start; 0 where none are shared."""
        return 0.0 if self._shared is None else time.monotonic() - self._read_s

    async def run(self) -> None:
        """Look at the counts again and again; never returns."""
        while True:
            await self.refresh()
            await asyncio.sleep(EVERY_S)

    async def refresh(self) -> None:
        """Let the counts of now decide answers; while the shared ones are away, the last ones do."""
        try:
            counts = await self._counts()
        except HistoryError as error:
            self._away.note(reason=str(error))
            return
        self._away.end()
        self._read_s = time.monotonic()
        positive = {item_id: count for item_id, count in counts.items() if count > 0}
        self.items = len(positive)
        self._engines.follow_trend(Trend(tuple(positive), tuple(positive.values())))

    async def close(self) -> None:
        """Share what was counted last."""
        if self._shared is not None:
            await self.refresh()
            await self._shared.close()

    async def _counts(self) -> dict[str, float]:
        if self._shared is None:
            return self._events.kept()
        # What was sent and not answered is not sent again: a count is lost rather than counted twice.
        return await self._shared.exchange(self._events.take())
