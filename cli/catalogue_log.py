"""The log of changes that a command means: of a running service, or of a directory that none serves."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import quote

import msgspec
import typer

from cli.service_calls import called, encoded, pages
from files.ids import fault
from service.catalogue.compacting import droppable, kept_bundles
from service.catalogue.protocol import Contents, Entry, Write
from service.catalogue.requests import MAX_ITEMS
from service.catalogue.sqlite import SqliteLog
from service.catalogue.view import FILE as VIEW_FILE
from service.catalogue.view import read_view
from service.errors import CatalogueUnavailableError, ServiceError

Bundles = Annotated[
    Path | None,
    typer.Option(
        metavar="ROOT",
        help="Instead of a service: the changes in this directory of bundles, which no service holds now.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8000"
PAGE = 200
"""Entries of a call, each up to some 80 kB. Chosen: such a page is read within seconds."""
MAX_BLOCK_BYTES = 512 * 1024
"""Of the items of a call, unless it is one: half of what a service reads unless told otherwise."""


class CatalogueFileError(ServiceError):
    """The changes of a directory of bundles cannot be used by file."""


class ChangesLog(Protocol):
    """A log of changes as commands use it. Methods raise ServiceError."""

    def read(self) -> Contents:
        """All of it."""
        ...

    def restore(self, contents: Contents) -> None:
        """Store entries, each where the log has no newer one of its item."""
        ...

    def remove(self, item_id: str) -> bool:
        """Let an item be in no answer from now on; False where other processes follow later."""
        ...

    def compact(self) -> tuple[list[str], int]:
        """Drop entries from which nothing follows; their items, and the number of bundles looked into."""
        ...


@contextmanager
def opened_log(url: str | None, bundles: Path | None) -> Iterator[ChangesLog]:
    """The log of the service at `url`, or of the directory `bundles`; raises ServiceError."""
    if bundles is None:
        yield _LogByUrl(DEFAULT_URL if url is None else url)
        return
    if url is not None:
        raise CatalogueFileError("--url asks a service and --bundles reads its files: leave out one of them")
    in_file = _held(bundles)
    try:
        in_file.check()
        yield _LogInFile(in_file, bundles)
    finally:
        in_file.release()


def _held(bundles: Path) -> SqliteLog:
    if not bundles.is_dir():
        raise CatalogueFileError(f"{bundles} is no directory of bundles")
    if read_view(bundles) is not None:
        raise CatalogueFileError(
            f"the changes of {bundles} are kept in Redis ({VIEW_FILE} is there): ask a service, with --url"
        )
    in_file = SqliteLog(bundles)
    try:
        in_file.hold()
    except CatalogueUnavailableError as error:
        raise CatalogueFileError(f"{bundles}: {error}; --url asks a running service") from error
    return in_file


class _LogByUrl:
    def __init__(self, url: str) -> None:
        self._url = url

    def read(self) -> Contents:
        """Read page by page; the sequence is that of the first, as later changes may be on none."""
        entries: list[Entry] = []
        passed_ms, sequence = 0, None
        for page in pages(self._url, "/catalogue", limit=PAGE):
            entries += msgspec.convert(page["entries"], list[Entry])
            passed_ms = page["passed_ms"]
            sequence = page["sequence"] if sequence is None else sequence
        return Contents(entries, passed_ms, sequence or 0)

    def restore(self, contents: Contents) -> None:
        facts = {"sequence": contents.sequence, "passed_ms": contents.passed_ms}
        sent = map(msgspec.to_builtins, contents.entries)
        for block in blocks_of(enumerate(sent)):
            called(self._url, "POST", "/catalogue", {"entries": [entry for _, entry in block], **facts})

    def remove(self, item_id: str) -> bool:
        answer = called(self._url, "DELETE", f"/items/{quote(item_id, safe='')}")
        return answer["sequence"] is not None

    def compact(self) -> tuple[list[str], int]:
        answer = called(self._url, "POST", "/catalogue/compact")
        return answer["dropped"], len(answer["kept"])


class _LogInFile:
    def __init__(self, in_file: SqliteLog, bundles: Path) -> None:
        self._log = in_file
        self._bundles = bundles

    def read(self) -> Contents:
        return self._log.read()

    def restore(self, contents: Contents) -> None:
        asyncio.run(self._log.restore(contents))

    def remove(self, item_id: str) -> bool:
        reason = fault(item_id)
        if reason is not None:
            raise CatalogueFileError(f"{item_id!r:.80}: {reason}")
        asyncio.run(self._log.write([Write(item_id)]))
        return True

    def compact(self) -> tuple[list[str], int]:
        kept = kept_bundles(self._bundles)
        spent = droppable(self._log.read().entries, kept)
        dropped = asyncio.run(self._log.drop(spent))
        return [entry.item_id for entry in dropped], len(kept)


def blocks_of(items: Iterable[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    """Numbered items, as many together as one call takes."""
    block: list[tuple[int, Any]] = []
    size = 0
    for number, item in items:
        length = len(encoded(item))
        if block and (len(block) == MAX_ITEMS or size + length > MAX_BLOCK_BYTES):
            yield block
            block, size = [], 0
        block.append((number, item))
        size += length
    if block:
        yield block
