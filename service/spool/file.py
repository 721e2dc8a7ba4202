"""The spool's file: an SQLite database of records, in order, shared by all processes that name its directory.

Every commit has reached the disk when it returns (WAL, synchronous=FULL), so that a record survives a kill
and a power cut. What is removed is overwritten by zeros. WAL needs a file system of this machine.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Literal, NamedTuple

from files.errors import DimeRecError

NAME = "spool.db"
FORM = 3
"""Version of the tables, as `user_version` of the database; a later one is refused."""
LOCKED_S = 2.0
"""Longest wait for another process's commit. Chosen: many times a disk's flush."""
_TABLES = """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a number may be noted as delivered
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    item_id TEXT,
    timestamp INTEGER,
    event_id TEXT,
    taken_ms INTEGER NOT NULL,
    event_type TEXT,
    request_id TEXT,
    call INTEGER  -- seq of the first record that came in the same call; NULL in that one
);
CREATE INDEX by_user ON records (user_id);
CREATE TABLE counts (taken INTEGER NOT NULL, delivered INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO counts VALUES (0, 0, 0);
"""

_SINCE_2 = "ALTER TABLE records ADD COLUMN call INTEGER"
_SINCE_1 = f"""
ALTER TABLE records ADD COLUMN event_type TEXT;
ALTER TABLE records ADD COLUMN request_id TEXT;
{_SINCE_2}
"""
_CHANGES = {0: _TABLES, 1: _SINCE_1, 2: _SINCE_2}
"""Statements that bring the tables of an earlier version to today's; 0: there are none yet."""

_AFTER = """
SELECT seq, coalesce(call, seq), kind, user_id, item_id, timestamp, event_id, event_type, request_id
FROM records WHERE seq > ? ORDER BY seq
"""

Kind = Literal["append", "remove", "forget"]


class SpoolFileError(DimeRecError):
    """The file cannot be opened, read or written; one line."""


class SpoolFullError(SpoolFileError):
    """The file has reached its bound, or its disk is full."""


class Record(NamedTuple):
    """One change of a user's history.

    `append` has an item, a timestamp and what else the event has, `remove` the `event_id`, and `forget` the
    moment as timestamp, ms since the epoch.
    """

    kind: Kind
    user_id: str
    item_id: str | None = None
    timestamp: int | None = None
    event_id: str | None = None
    event_type: str | None = None
    request_id: str | None = None


class Kept(NamedTuple):
    """A record in the file, its number in the order of all, and that of the first one of its call."""

    seq: int
    call: int
    record: Record


class Counts(NamedTuple):
    """Records ever taken, delivered, and removed because their user was forgotten; and the oldest waiting."""

    taken: int
    delivered: int
    forgotten: int
    oldest_ms: int | None

    @property
    def pending(self) -> int:
        """Records that wait."""
        return self.taken - self.delivered - self.forgotten


class SpoolFile:
    """The file in a directory, of at most `max_bytes`; for one thread at a time. Raises SpoolFileError."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        with _as_ours(), _alone_in(directory):
            path = directory / NAME
            # Of a file that this process has open, closing a descriptor would drop SQLite's locks.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # ids of users
            self._sql = sqlite3.connect(path, LOCKED_S, isolation_level=None, check_same_thread=False)
            try:
                self._open(max_bytes)
            except BaseException:
                self._sql.close()
                raise

    def take(self, calls: Sequence[Sequence[Record]], now_ms: int) -> list[SpoolFileError | None]:
        """Keep the records of each call, all or none of them; the error of each, None where they are kept.

        A user's earlier records go where they are forgotten.
        """
        try:
            with _as_ours(), self._transaction():
                for call in calls:
                    first = None
                    for record in call:
                        seq = self._insert(record, now_ms, first)
                        first = first or seq
        except SpoolFileError as error:
            if len(calls) > 1 and isinstance(error, SpoolFullError):  # a shorter one may fit
                return [outcome for call in calls for outcome in self.take([call], now_ms)]
            return [error] * len(calls)
        if any(record.kind == "forget" for call in calls for record in call):
            with suppress(SpoolFileError):
                self.clean()
        return [None] * len(calls)

    def holds(self, user_ids: Collection[str]) -> bool:
        """True where a record of one of the users waits."""
        with _as_ours():
            if self._sql.execute("SELECT 1 FROM records LIMIT 1").fetchone() is None:
                return False
            one = "SELECT 1 FROM records WHERE user_id = ? LIMIT 1"
            return any(self._sql.execute(one, (user_id,)).fetchone() for user_id in user_ids)

    def after(self, seq: int, limit: int) -> list[Kept]:
        """The oldest `limit` records with a higher number, in order, and the rest of the last one's call."""
        with _as_ours(), closing(self._sql.execute(_AFTER, (seq,))) as rows:  # read only as far as needed
            found = (Kept(number, call, Record(*fields)) for number, call, *fields in rows)
            kept = list(islice(found, limit))
            return kept + list(takewhile(lambda one: one.call == kept[-1].call, found))

    def settle(self, seqs: Sequence[int]) -> int:
        """Remove records that were delivered; the number of those that were still there."""
        with _as_ours(), self._transaction():
            removed = sum(
                self._sql.execute("DELETE FROM records WHERE seq = ?", (seq,)).rowcount for seq in seqs
            )
            self._sql.execute("UPDATE counts SET delivered = delivered + ?", (removed,))
        return removed

    def clean(self) -> None:
        """Leave nothing of what was removed in the write-ahead log; nothing happens where others read it."""
        with _as_ours():
            self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def counts(self) -> Counts:
        """Numbers of records."""
        with _as_ours():
            numbers = self._sql.execute("SELECT taken, delivered, forgotten FROM counts").fetchone()
            oldest = self._sql.execute("SELECT taken_ms FROM records ORDER BY seq LIMIT 1").fetchone()
        return Counts(numbers[0], numbers[1], numbers[2], None if oldest is None else oldest[0])

    def close(self) -> None:
        """Close the file."""
        with _as_ours():
            self._sql.close()

    def _open(self, max_bytes: int) -> None:
        mode, *_ = self._sql.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise SpoolFileError("it must lie on a file system of this machine, where SQLite has WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute("PRAGMA secure_delete = ON").fetchone()
        (page_bytes,) = self._sql.execute("PRAGMA page_size").fetchone()
        self._sql.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}").fetchone()
        (form,) = self._sql.execute("PRAGMA user_version").fetchone()
        if form in _CHANGES:
            with self._transaction():
                for statement in _CHANGES[form].split(";\n"):
                    self._sql.execute(statement)
                self._sql.execute(f"PRAGMA user_version = {FORM}")
        elif form != FORM:
            raise SpoolFileError(f"{NAME} is of another version of the service")

    def _insert(self, record: Record, now_ms: int, call: int | None) -> int:
        """Keep a record of a call, None: of a new one; returns its number."""
        if record.kind == "forget":
            gone = self._sql.execute("DELETE FROM records WHERE user_id = ?", (record.user_id,)).rowcount
            self._sql.execute("UPDATE counts SET forgotten = forgotten + ?", (gone,))
        kept = self._sql.execute(
            "INSERT INTO records"
            " (kind, user_id, item_id, timestamp, event_id, event_type, request_id, taken_ms, call)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*record, now_ms, call),
        )
        self._sql.execute("UPDATE counts SET taken = taken + 1")
        return int(kept.lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:  # SQLite ends it itself where the disk is full
                self._sql.execute("ROLLBACK")
            raise


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Make the directory, and keep other processes from opening at once: changing to WAL does not wait."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    locked = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        yield
    finally:
        os.close(locked)


@contextmanager
def _as_ours() -> Iterator[None]:
    """SQLite's errors, and the system's, as ours."""
    try:
        yield
    except OSError as error:
        raise SpoolFileError(error.strerror or str(error)) from error
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise (SpoolFullError if full else SpoolFileError)(" ".join(str(error).split())) from error
