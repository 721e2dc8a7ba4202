"""Exports of the catalogue log: all its entries in a file, for training, for a copy, and to restore it."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from pydantic import ValidationError

from engine.recipes import Content, Given, Like
from files.atomic import replacing
from files.errors import DimeRecError, first_fault
from files.ids import fault
from service.catalogue.protocol import Contents, Entry
from service.catalogue.requests import MAX_DIM, ItemRequest

FORMAT = "dimerec-catalogue-1"
"""Counted up by a change that older readers cannot read."""
MAX_LINE_BYTES = 1 << 20
"""An entry has at most 4,096 numbers and some text; a longer line is none, and is not read into memory."""
CONTENT_BYTES = 4 * MAX_DIM
"""Of content as it is kept, float32."""
MAX_SEQUENCE = 2**50
"""Of what is restored: far above what any log gives, and far below what Redis' Lua counts exactly."""


class ExportError(DimeRecError):
    """A file is no export, or a damaged one."""


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    sequence: int
    passed_ms: int
    entries: int


_header = msgspec.json.Decoder(_Header)
_entry = msgspec.json.Decoder(Entry)


def is_export(line: bytes) -> bool:
    """True where the first line of a file is that of an export, of this format or another."""
    try:
        head = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return str(head.get("format", "")).startswith(FORMAT.rpartition("-")[0])


def fault_of(entry: Entry) -> str | None:
    """The reason why no log can have such an entry; None if one can."""
    reason = fault(entry.item_id)
    if reason is not None:
        return f"item_id: {reason}"
    if not all(0 <= number <= MAX_SEQUENCE for number in (entry.sequence, entry.origin_sequence)):
        return f"sequence: must lie in 0 … {MAX_SEQUENCE}"
    try:
        ItemRequest.model_validate(_as_put(entry))
    except ValidationError as error:
        return first_fault(error.errors(), "entry")
    given = None if entry.origin is None else entry.origin.given
    if isinstance(given, Content) and not 0 < len(given.values) <= CONTENT_BYTES:
        return f"from.content: has up to {MAX_DIM} numbers"
    return None


def _as_put(entry: Entry) -> dict[str, Any]:
    """The fields of a PUT that makes it so, but for content, which is kept as a direction."""
    fields: dict[str, Any] = {}
    if entry.description is not None:
        described = entry.description
        fields = msgspec.structs.asdict(described) | {"categories": list(described.categories)}
    if entry.origin is not None and isinstance(entry.origin.given, Like | Given):
        given = entry.origin.given
        fields["from"] = (
            {"like": list(given.item_ids)}
            if isinstance(given, Like)
            else {"vector": list(given.values), "model_version": given.model_version}
        )
    return fields


def write_export(path: Path, contents: Contents) -> None:
    """Write an export atomically: a line that says what it is, then an entry a line by their sequences.

    Raises OSError.
    """
    entries = sorted(contents.entries, key=lambda entry: (entry.sequence, entry.item_id))
    header = _Header(FORMAT, contents.sequence, contents.passed_ms, len(entries))
    with replacing(path) as temporary, temporary.open("wb") as file:
        for line in (header, *entries):
            file.write(msgspec.json.encode(line) + b"\n")


def read_export(path: Path) -> Contents:
    """The contents of an export, each item once; raises ExportError, naming the line, and OSError."""
    with path.open("rb") as file:
        lines = _lines(path, file)
        first = next(lines, b"")
        if not is_export(first):
            raise ExportError(f"{path} is no export: `dimerec catalogue export` writes one")
        try:
            header = _header.decode(first)
        except msgspec.DecodeError as error:
            raise ExportError(f"{path} line 1 cannot be read ({error}): export it again") from error
        if header.format != FORMAT or not 0 <= header.sequence <= MAX_SEQUENCE:
            raise ExportError(f"{path} has the format {header.format}, this program reads {FORMAT}")
        entries = {}
        for number, line in enumerate(lines, start=2):
            entry = _read(path, number, line)
            entries[entry.item_id] = entry
    if len(entries) != header.entries:
        raise ExportError(f"{path} has {len(entries)} of {header.entries} items: export it again")
    return Contents(list(entries.values()), header.passed_ms, header.sequence)


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise ExportError(f"{path} has a line of more than {MAX_LINE_BYTES:,} bytes: export it again")
        yield line


def _read(path: Path, number: int, line: bytes) -> Entry:
    try:
        entry = _entry.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} line {number} is no entry ({error}): export it again") from error
    reason = fault_of(entry)
    if reason is not None:
        raise ExportError(f"{path} line {number}: {reason}: export it again")
    return entry
