"""Following a log that other processes write, too, and keeping what is known on disk."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import structlog

from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Contents, Entry, Known
from service.catalogue.view import write_view
from service.errors import CatalogueUnavailableError
from service.outage import Outage

log = structlog.get_logger("dimerec.catalogue")

RETRY_S = 0.2
"""Until a log that is away is tried again. Chosen: soon enough for a promise of a second."""
VIEW_EVERY_S = 1.0
"""Between two writings of the view. Chosen: a burst of changes is written once."""
START_S = 5.0
"""Longest wait at the start for a log that is away. Chosen."""
STALE_AFTER_S = 5.0
"""Silence of a log from which answers say that what is known may be old. Chosen: longer than slow calls."""


class FollowedLog(Protocol):
    """A log that several processes write. Methods raise CatalogueUnavailableError."""

    @property
    def known(self) -> Known:
        """The changes that were read or followed."""
        ...

    async def read(self, known: Contents) -> Contents:
        """All of the log, once it has everything that is `known` here."""
        ...

    async def follow(self) -> list[Entry] | None:
        """The entries that were changed since the last call; None where all of it is to be read."""
        ...


class Follower:
    """Lets what a log has count in one process; what counts is written under `root`."""

    def __init__(self, live: LiveCatalogue, followed: FollowedLog, root: Path) -> None:
        self._live = live
        self._log = followed
        self._root = root
        self._written = -1
        self._unwritten = Outage(log, "the changes of the catalogue are not kept on disk")
        self._away = Outage(log, "the log of changes is away")
        self._heard_s = time.monotonic()
        self._has_heard = False
        self.known = Known()
        """All changes that count here because the log was followed; others may, too."""
        self.news = asyncio.Event()
        """Set whenever there are more."""

    @property
    def sequence(self) -> int:
        """The sequence up to which every change counts here."""
        return self.known.sequence

    @property
    def silence_s(self) -> float:
        """Time since the log was heard; since the start, where it never was."""
        return time.monotonic() - self._heard_s

    @property
    def is_stale(self) -> bool:
        """True where others may have changed the catalogue and this process does not know."""
        return self.is_silent(STALE_AFTER_S)

    def is_silent(self, for_s: float) -> bool:
        """True where the log was not heard for so long, or never."""
        return not self._has_heard or self.silence_s > for_s

    async def begin(self) -> None:
        """Read the log before anything is answered, if it is there; else what is known on disk counts."""
        try:
            async with asyncio.timeout(START_S):
                await self._read()
                self._note_heard(time.monotonic())
        except (TimeoutError, CatalogueUnavailableError) as error:
            self._note_away(error)

    async def follow(self) -> None:
        """Follow the log; never returns."""
        while True:
            try:
                found = await self._log.follow()
                heard_s = time.monotonic()
                if found is None:
                    await self._read()
                else:
                    await self._take(found)
            except CatalogueUnavailableError as error:
                self._note_away(error)
                await asyncio.sleep(RETRY_S)
            else:
                self._note_heard(heard_s)

    async def keep_view(self) -> None:
        """Write what counts whenever it has changed; never returns."""
        while True:
            await self.write_view()
            await asyncio.sleep(VIEW_EVERY_S)

    async def write_view(self) -> None:
        """Write what counts, unless it is written."""
        generation = self._live.generation
        if generation in (0, self._written):
            return
        try:
            await asyncio.to_thread(write_view, self._root, self._live.contents)
        except OSError as error:
            self._unwritten.note(reason=error.strerror)
        else:
            self._unwritten.end()
            self._written = generation

    async def _read(self) -> None:
        contents = await self._log.read(self._live.contents)
        self._live.pass_time(contents.passed_ms)
        await self._take(contents.entries)
        self._live.note_compacted(contents)

    async def _take(self, entries: Sequence[Entry]) -> None:
        await self._live.take_all(entries)
        if self.known != self._log.known:
            self.known = self._log.known
            self._live.note_sequence(self.known.sequence)
            self.news.set()

    def _note_heard(self, moment_s: float) -> None:
        """Note that all counts that the log had at this moment."""
        self._away.end()
        self._has_heard, self._heard_s = True, moment_s

    def _note_away(self, error: Exception) -> None:
        self._away.note(reason=str(error) or "it did not answer")
