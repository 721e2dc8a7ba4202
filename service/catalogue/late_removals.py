"""Removals that were answered while the log of changes was away: kept on disk, and told when it is back.

The process that heard one obeys at once, and so does one that starts with the same directory before all is
told. A removal counts elsewhere from when the log has it, and then as its newest change: it beats what was
put meanwhile.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from service.catalogue.following import RETRY_S
from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Entry, Write
from service.errors import CatalogueUnavailableError, StartupError

FILE = "catalogue.removals"
MAX_TOLD = 256
"""Removals that are told together. Chosen: nothing is answered while they are made, for some ms."""

SETTLE_S = 1.0
"""From when the log is there again until it is told: one that has lost all is first given back what others
know, so that a removal does not come before what it removes. Chosen: they look for it every `RETRY_S`.
"""

_SCHEMA = "CREATE TABLE IF NOT EXISTS removals (number INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE)"


class TellableLog(Protocol):
    """A log that several processes write. Methods raise CatalogueUnavailableError."""

    async def write(self, writes: Sequence[Write]) -> list[Entry]:
        """As `CatalogueLog.write`."""
        ...

    async def newest(self, item_ids: Sequence[str]) -> list[Entry]:
        """The entries of these items, of those that have one."""
        ...


def read_removals(root: Path) -> list[str]:
    """The items whose removal is not told yet. Raises StartupError for a file that cannot be read."""
    path = root / FILE
    if not path.exists():
        return []
    try:
        with _opened(path) as sql:
            begun = sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'removals'").fetchone()
            return _found(sql, -1) if begun else []
    except sqlite3.Error as error:
        raise StartupError(
            f"{path} cannot be read ({error}): restore it, or remove it and with it the removals that were"
            " answered while Redis was away"
        ) from error


class LateRemovals:
    """The removals of the directory `root`, which processes may share; no file is there before one."""

    def __init__(self, root: Path, live: LiveCatalogue, log: TellableLog) -> None:
        self._path = root / FILE
        self._live = live
        self._log = log
        self._turn = asyncio.Lock()
        self._waiting = asyncio.Event()
        self._strike(read_removals(root))

    @property
    def is_waiting(self) -> bool:
        """True while this process obeys removals that it has not seen in the log."""
        return bool(self._live.struck)

    async def keep(self, item_ids: Sequence[str]) -> None:
        """Let items be in no answer of this process, nor of one that starts here after it.

        Raises CatalogueUnavailableError where that cannot be kept on disk; then nothing is changed.
        """
        async with self._turn:
            await asyncio.to_thread(self._insert, item_ids)
            self._strike(item_ids)

    async def tell(self) -> None:
        """Tell the log of all that waits here; raises CatalogueUnavailableError."""
        if not self.is_waiting:
            return
        await self._log.newest(list(self._live.struck)[:1])  # where it is away, others can be kept meanwhile
        async with self._turn:
            struck = list(self._live.struck)
            while await self._tell_some():
                pass
            for start in range(0, len(struck), MAX_TOLD):
                await self._see(struck[start : start + MAX_TOLD])
            if not self._live.struck:
                self._waiting.clear()

    async def run(self) -> None:
        """Tell of removals once the log is there and others had time to read it; never returns."""
        while True:
            await self._waiting.wait()
            try:
                await self._log.newest(list(self._live.struck)[:1])
                await asyncio.sleep(SETTLE_S)
                await self.tell()
            except CatalogueUnavailableError:
                await asyncio.sleep(RETRY_S)

    def _strike(self, item_ids: Sequence[str]) -> None:
        if item_ids:
            self._live.strike(item_ids)
            self._waiting.set()

    def _insert(self, item_ids: Sequence[str]) -> None:
        try:
            with _opened(self._path) as sql:
                sql.execute("BEGIN IMMEDIATE")
                sql.execute(_SCHEMA)
                rows = [(item_id,) for item_id in item_ids]
                sql.executemany("INSERT OR REPLACE INTO removals (item_id) VALUES (?)", rows)
                sql.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unkept(error) from error

    async def _tell_some(self) -> bool:
        """Tell of some that are in the file, and take them out of it, whoever put them there.

        No other process tells of these meanwhile: it could undo what was put in between.
        """
        try:
            with _opened(self._path) as sql:
                item_ids = await asyncio.to_thread(_taken, sql)
                if item_ids:
                    self._live.take(await self._log.write([Write(item_id) for item_id in item_ids]))
                await asyncio.to_thread(sql.execute, "COMMIT")
        except sqlite3.Error as error:
            raise _unkept(error) from error
        return bool(item_ids)

    async def _see(self, item_ids: Sequence[str]) -> None:
        """Let count what the log has of items whose removal it was told of, maybe by another process."""
        entries = await self._log.newest(item_ids)
        lost = set(item_ids) - {entry.item_id for entry in entries}
        if lost:
            entries += await self._log.write([Write(item_id) for item_id in sorted(lost)])
        self._live.take(entries)
        self._live.release(item_ids)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file; what is not committed is undone."""
    sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        sql.execute("PRAGMA synchronous = FULL")
        yield sql
    finally:
        sql.close()


def _taken(sql: sqlite3.Connection) -> list[str]:
    """Some of the items, deleted unless it is not committed."""
    sql.execute("BEGIN IMMEDIATE")
    sql.execute(_SCHEMA)
    item_ids = _found(sql, MAX_TOLD)
    sql.executemany("DELETE FROM removals WHERE item_id = ?", [(one,) for one in item_ids])
    return item_ids


def _found(sql: sqlite3.Connection, limit: int) -> list[str]:
    rows = sql.execute("SELECT item_id FROM removals ORDER BY number LIMIT ?", (limit,)).fetchall()
    return [item_id for (item_id,) in rows]


def _unkept(error: sqlite3.Error) -> CatalogueUnavailableError:
    return CatalogueUnavailableError(
        f"the log of changes is away, and {FILE} beside the bundles cannot be written ({error})"
    )
