"""A process among others: it says what it serves and knows, and waits for what they say."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from msgspec.structs import replace

from bundle.read import versions
from service.catalogue.following import Follower
from service.engines import Engines
from service.history.errors import HistoryError
from service.outage import Outage
from service.replicas.board import Board, Process, by_host
from service.replicas.orders import Orders
from service.shared_call import SharedCall

log = structlog.get_logger("dimerec.replicas")

LIST_EVERY_S = 1.0
"""Between two looks at the bundles that are there. Chosen: nobody waits for it."""
TELL_EVERY_S = 1.0
"""Between two words of a process where nothing is new. Chosen: a few are lost before it no longer counts."""
MIN_PAUSE_S = 0.05
"""Between two words where much is new. Chosen: no caller notices it, and a burst is told of seldom."""
RETRY_S = 0.2
"""Until a Redis that is away is tried again. Chosen: as for the log of changes."""
WAIT_S = 4.5
"""Longest wait of a call for other processes. Chosen: with a last look, an answer takes 5 s at most."""
LAST_LOOK_S = 0.5
"""Longest wait for what Redis tells of processes. Chosen: it takes a millisecond."""
LOOK_EVERY_S = 0.03
"""Between two looks at what others say while a call waits for them. Chosen: shorter than their pauses."""


class Spread(NamedTuple):
    """Words of other processes after a wait for changes; `others`: None where Redis does not tell."""

    epoch: str
    others: Sequence[Process] | None

    def missing(self, sequence: int) -> list[str] | None:
        """Names of the processes in which changes up to `sequence` do not count yet."""
        if self.others is None:
            return None
        return [one.name for one in self.others if not _has(one, self.epoch, sequence)]


class Presence(Protocol):
    """Knowledge of all processes that share a log of changes, this one among them."""

    async def begin(self) -> None:
        """Be among them from now on: before the changes are read that are to count here."""
        ...

    async def processes(self) -> list[Process] | None:
        """All of them; None where that is not known."""
        ...

    async def spread(self, sequence: int) -> Spread:
        """Wait until changes up to `sequence`, which count here, count in all of them, or for a while."""
        ...

    async def obeyed(self, moment_ms: int) -> None:
        """Wait until all of them obey the order of this moment, or cannot, or for a while."""
        ...

    async def close(self) -> None:
        """Be among them no longer."""
        ...


class Alone:
    """The presence of a process that shares its log with no other."""

    def __init__(self, describe: Callable[[], Process]) -> None:
        self._describe = describe

    async def begin(self) -> None:
        """As `Presence.begin`."""

    async def processes(self) -> list[Process]:
        """As `Presence.processes`."""
        return [self._describe()]

    async def spread(self, sequence: int) -> Spread:  # noqa: ARG002
        """As `Presence.spread`; `sequence` is everywhere once it is here."""
        return Spread("", ())

    async def obeyed(self, moment_ms: int) -> None:
        """As `Presence.obeyed`."""

    async def close(self) -> None:
        """As `Presence.close`."""


class Present:
    """The presence of a process on a board, which `run` keeps."""

    def __init__(
        self,
        board: Board,
        itself: Process,
        engines: Engines,
        follower: Follower,
        orders: Orders,
        root: Path,
    ) -> None:
        self._board = board
        self._itself = itself
        self._engines = engines
        self._follower = follower
        self._orders = orders
        self._root = root
        self._kept: tuple[str, ...] = ()
        self._unlisted = Outage(log, "bundles cannot be listed")
        self._news = follower.news
        self._look = SharedCall(board.read)
        self._away = Outage(log, "other processes do not hear of this one")

    async def begin(self) -> None:
        """As `Presence.begin`."""
        await self._list_kept()
        await self._tell()

    async def run(self) -> None:
        """Say what this process serves and knows, and hear of orders; never returns."""
        while True:
            self._news.clear()
            await self._tell()
            await asyncio.sleep(RETRY_S if self._away.lasts else MIN_PAUSE_S)
            if not self._away.lasts:
                with suppress(TimeoutError):
                    async with asyncio.timeout(TELL_EVERY_S):
                        await self._news.wait()

    async def keep_listed(self) -> None:
        """Look which bundles are there, again and again; never returns."""
        while True:
            await asyncio.sleep(LIST_EVERY_S)
            await self._list_kept()

    async def processes(self) -> list[Process] | None:
        """As `Presence.processes`."""
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                others = await self._others()
        except (HistoryError, TimeoutError):
            return None
        return sorted([*others, self._described()], key=by_host)

    async def spread(self, sequence: int) -> Spread:
        """As `Presence.spread`."""
        epoch = self._follower.known.epoch
        return Spread(epoch, await self._wait(lambda other: _has(other, epoch, sequence)))

    async def obeyed(self, moment_ms: int) -> None:
        """As `Presence.obeyed`."""
        await self._wait(lambda other: other.obeyed_ms >= moment_ms)

    async def close(self) -> None:
        """Take this process off the board."""
        try:
            await self._board.leave(self._itself)
        except HistoryError as error:
            log.info("other processes do not hear that this one ends", reason=str(error))
        await self._board.close()

    async def _wait(self, is_done: Callable[[Process], bool]) -> list[Process] | None:
        """The other processes once all are done, or when the time is over."""
        others: list[Process] | None = None
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    try:
                        others = await self._others()
                    except HistoryError:
                        others = None
                    if others is not None and all(map(is_done, others)):
                        return others
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return others

    async def _tell(self) -> None:
        try:
            self._orders.hear(await self._board.tell(self._described(), self._orders.newest))
        except HistoryError as error:
            self._away.note(reason=str(error))
        else:
            self._away.end()

    async def _list_kept(self) -> None:
        try:
            kept = tuple(await asyncio.to_thread(versions, self._root))
        except OSError as error:  # as where no file can be opened any more
            self._unlisted.note(root=str(self._root), reason=error.strerror)
        else:
            self._unlisted.end()
            if kept != self._kept:
                self._kept = kept
                self._news.set()

    async def _others(self) -> list[Process]:
        """Words of the others, looked up from now on; callers that ask at once look together."""
        return [one for one in await self._look.outcome() if one.id != self._itself.id]

    def _described(self) -> Process:
        known, orders = self._follower.known, self._orders
        return replace(
            self._itself,
            version=self._engines.version,
            epoch=known.epoch,
            sequence=known.sequence,
            obeyed_ms=orders.obeyed_ms,
            missing=orders.missing,
            kept=self._kept,
        )


def _has(process: Process, epoch: str, sequence: int) -> bool:
    return process.epoch == epoch and process.sequence >= sequence
