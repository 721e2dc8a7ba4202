"""The catalogue log in a file beside the bundles, for a service of one process.

SQLite brings every write to disk before it is answered (WAL, synchronous=FULL). The process that starts first
holds a lock until it ends; another one reads the file when it starts, and can write nothing meanwhile.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

from service.catalogue.protocol import Contents, Entry, Write, decoded, encoded
from service.errors import CatalogueUnavailableError, StartupError

FILE = "catalogue.sqlite"
LOCK_FILE = ".catalogue.lock"
FORMAT = 2
"""Counted up by a change that older readers cannot read; it stands in the schema, too."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    item_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, removed INTEGER NOT NULL,
    origin_sequence INTEGER NOT NULL, description BLOB, origin BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO facts VALUES ('format', 2), ('sequence', 0), ('passed_ms', 0),
    ('compacted', 0);
"""
_NEXT = "UPDATE facts SET value = value + 1 WHERE name = 'sequence' RETURNING value"
_PUT = """
INSERT INTO entries VALUES (:item_id, :sequence, 0, :sequence, :description, :origin)
ON CONFLICT DO UPDATE SET sequence = :sequence, removed = 0, description = :description,
    origin_sequence = iif(:keep AND NOT removed AND origin NOTNULL, origin_sequence, :sequence),
    origin = iif(:keep AND NOT removed, coalesce(origin, :origin), :origin)
RETURNING *
"""
_REMOVE = """
INSERT INTO entries VALUES (:item_id, :sequence, 1, 0, NULL, NULL)
ON CONFLICT DO UPDATE SET sequence = :sequence, removed = 1
RETURNING *
"""
_RESTORE = """
INSERT INTO entries VALUES (:item_id, :sequence, :removed, :origin_sequence, :description, :origin)
ON CONFLICT DO UPDATE SET sequence = :sequence, removed = :removed, origin_sequence = :origin_sequence,
    description = :description, origin = :origin
WHERE sequence < :sequence
"""
_DROP = "DELETE FROM entries WHERE item_id = ? AND sequence = ? RETURNING 1"
_RAISE = "UPDATE facts SET value = max(value, ?) WHERE name = ?"


class SqliteLog:
    """The log in the directory `root`, which holds the bundles; no file but a lock is there before a change.

    Where there is a file already, or from `begin` on, no other process may write it, unless one did before.

    `read` raises StartupError where there is a file that cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._lock_path = root / LOCK_FILE
        self._lock_file: IO[bytes] | None = None
        self._connection: sqlite3.Connection | None = None
        self._turn = Lock()
        self._known = 0
        if self._path.exists():
            self._try_to_open()

    def hold(self) -> None:
        """Let no other process write until it is released; raises CatalogueUnavailableError."""
        with self._turn:
            self._lock()

    def read(self) -> Contents:
        """All entries, in the order of their sequences. Raises StartupError."""
        return self._found("SELECT * FROM entries ORDER BY sequence")

    def check(self) -> None:
        """Find out that the file, if there is one, is such a log; no entry is read. Raises StartupError."""
        self._found("SELECT * FROM entries LIMIT 0")

    async def begin(self) -> None:
        """As `CatalogueLog.begin`."""
        with contextlib.suppress(CatalogueUnavailableError):
            self.hold()

    async def write(self, writes: Sequence[Write], room: int | None = None) -> list[Entry]:  # noqa: ARG002
        """As `CatalogueLog.write`: no other process writes."""
        return await asyncio.to_thread(self._write, writes)

    async def restore(self, contents: Contents) -> None:
        """As `CatalogueLog.restore`."""
        await asyncio.to_thread(self._restore, contents)

    async def drop(self, entries: Sequence[Entry]) -> list[Entry]:
        """As `CatalogueLog.drop`."""
        return await asyncio.to_thread(self._drop, entries)

    async def pass_time(self, moment_ms: int) -> None:
        """As `CatalogueLog.pass_time`."""
        await asyncio.to_thread(self._pass_time, moment_ms)

    async def replicated(self) -> None:
        """As `CatalogueLog.replicated`: a file has none."""

    async def close(self) -> None:
        """As `CatalogueLog.close`."""
        self.release()

    def release(self) -> None:
        """Close the file, and let another process write it."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            if self._lock_file is not None:
                self._lock_file.close()
            self._connection = self._lock_file = None

    def _found(self, query: str) -> Contents:
        """The contents with some of the entries; none where there is no file."""
        if not self._path.exists():
            return Contents([])
        try:
            connection = self._connection or self._read_only()
            facts = dict(connection.execute("SELECT * FROM facts").fetchall())
            _check_format(facts["format"])
            entries = list(map(_entry, connection.execute(query).fetchall()))
            found = Contents(entries, facts["passed_ms"], facts["sequence"], facts.get("compacted", 0))
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise StartupError(
                f"{self._path} cannot be read ({error}): restore it, or remove it and with it all changes"
                " of the catalogue, removals included"
            ) from error
        if connection is not self._connection:
            connection.close()
        self._known = found.sequence
        return found

    def _write(self, writes: Sequence[Write]) -> list[Entry]:
        with self._turn, _Transaction(self._opened()) as connection:
            entries = [_written(connection, one) for one in writes]
        self._known += len(entries)
        return entries

    def _restore(self, contents: Contents) -> None:
        last = max([contents.sequence, *(entry.sequence for entry in contents.entries)])
        with self._turn, _Transaction(self._opened()) as connection:
            connection.executemany(_RESTORE, map(_values, contents.entries))
            for value, name in ((last, "sequence"), (contents.passed_ms, "passed_ms")):
                connection.execute(_RAISE, (value, name))
        self._known = max(self._known, last)

    def _drop(self, entries: Sequence[Entry]) -> list[Entry]:
        with self._turn, _Transaction(self._opened()) as connection:
            dropped = [
                one for one in entries if connection.execute(_DROP, (one.item_id, one.sequence)).fetchall()
            ]
            last = max((entry.sequence for entry in dropped), default=0)
            connection.execute(_RAISE, (last, "compacted"))
        return dropped

    def _pass_time(self, moment_ms: int) -> None:
        if self._connection is None and self._path.exists():
            return  # who writes the file notes it
        with self._turn, _Transaction(self._opened()) as connection:
            connection.execute(_RAISE, (moment_ms, "passed_ms"))

    def _read_only(self) -> sqlite3.Connection:
        """The file as it is; where its directory may not be written either, and all of it is in this file."""
        waiting = self._path.with_name(f"{FILE}-wal")
        complete = not waiting.exists() or not waiting.stat().st_size
        mode = (
            "mode=ro&immutable=1"
            if complete and not os.access(self._path.parent, os.W_OK, effective_ids=True)
            else "mode=ro"
        )
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?{mode}", uri=True)

    def _try_to_open(self) -> None:
        try:
            self._lock()
            if self._path.exists():
                self._connection = self._connected()
        except CatalogueUnavailableError:
            return  # another process writes, or nobody may: what is there can be read

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._lock()
            connection = self._connected()
            [(sequence,)] = connection.execute("SELECT value FROM facts WHERE name = 'sequence'")
            if sequence != self._known:
                connection.close()
                raise CatalogueUnavailableError(
                    "another process has changed the catalogue since this one started: start this one again"
                )
            self._connection = connection
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        try:
            return _connected(self._path)
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def _lock(self) -> None:
        if self._lock_file is not None:
            return
        try:
            file = self._lock_path.open("wb")
        except OSError as error:
            raise CatalogueUnavailableError(
                f"the directory of bundles cannot be written ({error.strerror}): changes are kept there"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise CatalogueUnavailableError(
                "another process keeps the changes of this directory of bundles: ask that one"
            ) from error
        self._lock_file = file


class _Transaction:
    """All of it is on disk at its end, or none of it is kept."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
        except sqlite3.Error as failure:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _unavailable(failure) from failure
        if isinstance(error, sqlite3.Error):
            raise _unavailable(error) from error


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    return connection


def _written(connection: sqlite3.Connection, write: Write) -> Entry:
    [(sequence,)] = connection.execute(_NEXT).fetchall()
    values = {
        "item_id": write.item_id,
        "sequence": sequence,
        "description": encoded(write.description),
        "origin": encoded(write.origin),
        "keep": write.keep_origin,
    }
    [row] = connection.execute(_REMOVE if write.description is None else _PUT, values).fetchall()
    return _entry(row)


def _values(entry: Entry) -> dict[str, Any]:
    """The row of an entry."""
    return {
        "item_id": entry.item_id,
        "sequence": entry.sequence,
        "removed": entry.removed,
        "origin_sequence": entry.origin_sequence,
        "description": encoded(entry.description),
        "origin": encoded(entry.origin),
    }


def _entry(row: tuple[str, int, int, int, bytes | None, bytes | None]) -> Entry:
    item_id, sequence, removed, origin_sequence, description, origin = row
    return decoded(item_id, sequence, bool(removed), origin_sequence, description, origin)


def _check_format(found: int) -> None:
    if found != FORMAT:
        raise ValueError(f"its format is {found}, this program reads {FORMAT}")


def _unavailable(error: sqlite3.Error) -> CatalogueUnavailableError:
    return CatalogueUnavailableError(f"the log of changes cannot be written ({error}): nothing was changed")
