"""One table out of all the files that the caller named: every record in it, or refused."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.data_card import FileCard
from training.data.reading.batch import BLANK, Batch, TableFile
from training.data.reading.delimited import CR_INSIDE, TOO_LONG
from training.data.reading.delimited_file import DelimitedFile
from training.data.reading.json_lines import NO_OBJECT, NO_WHOLE, TWICE, JsonLinesFile
from training.data.reading.parquet import ParquetFile
from training.data.reading.quoting import Quote
from training.data.reading.signatures import PARQUET, refuse_others
from training.data.reading.sources import Paths, Source, explaining, explaining_scratch, find_sources
from training.data.reading.text import open_text
from training.data.tables import refuse_repeated, require_columns
from training.errors import DataError

ORIGIN = "\x1forigin"
"""A column of every table: where a record begins, as a number. No file has columns of such names."""
FAULT = "\x1ffault"
"""Why a record cannot be read, else null."""

MAX_FAULTS = 1e-3
"""The share of a file's records that may have a fault; beyond it the file is not what it is taken for."""

_FILE_BIT = 40
"""An origin has the line below this bit, for 10¹² lines, and the file above it, for 8 million."""
_LINE = (1 << _FILE_BIT) - 1
_REMEDIES = {
    TOO_LONG: "quote fields that hold the separator, or name it with --separator",
    CR_INSIDE: "some of its lines end by CR alone, convert it: tr -s '\\r' '\\n' < FILE",
    NO_OBJECT: "write one object a line, as jq -c does",
    TWICE: "name it once",
    NO_WHOLE: "7.0 is not the id 7; cast it before it is written, with pandas by .astype('Int64')",
}


@dataclass(frozen=True)
class Wanted:
    """The columns that are read; of the others nothing is, and they cannot cost a record."""

    required: Mapping[str, str]
    """The option that names each."""
    optional: Sequence[str] = ()
    ids: Sequence[str] = ()
    """Those that hold ids."""
    lists: Sequence[str] = ()
    """Those that may hold lists."""
    booleans: Sequence[str] = ()
    """Those that may hold true and false."""
    spare: Sequence[str] = ()
    """Those of `optional` that nobody asked for: one that cannot be read is left out."""

    @property
    def columns(self) -> list[str]:
        """All of them, once each."""
        return list(dict.fromkeys([*self.required, *self.optional]))


@dataclass(frozen=True)
class Table:
    """The records of one or more files; valid within `read_table`."""

    name: str
    """For messages."""
    rows: pl.LazyFrame
    """A row a record, faulty ones too: the wanted columns that there are, ORIGIN and FAULT."""
    names: list[str]
    """All columns of the files."""
    files: list[FileCard]
    _opened: list[TableFile]
    _sources: list[Source]

    def digest(self) -> str:
        """A SHA-256 of the content of all files, byte for byte."""
        digests = []
        for source in self._sources:
            with explaining(source.name), source.path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        return hashlib.sha256(b"".join(digests)).hexdigest()

    def balance(self, kept: int, dropped: int) -> None:
        """Raise DataError unless every record was either kept or dropped."""
        if kept + dropped != self.records:
            raise DataError(
                f"{self.name}: of {self.records:,} records {kept:,} were kept and {dropped:,} dropped, "
                "which does not add up; this is a defect, report it with the file"
            )

    def reads(self, path: Path) -> bool:
        """True where `path` is one of the files."""
        return path.exists() and any(path.samefile(source.path) for source in self._sources)

    @property
    def records(self) -> int:
        """The records of all files, by the second count."""
        return sum(file.records for file in self.files)

    def texts(self, origins: npt.NDArray[np.int64]) -> pl.DataFrame:
        """Read the records of these origins again: `origin`, `file`, `line` and `record`.

        The line is where a record begins, in Parquet the row; the record is as it stands there, of Parquet
        as JSON.
        """
        parts = []
        for at, file in enumerate(self._opened):
            lines = origins[origins >> _FILE_BIT == at] & _LINE
            for batch in file.batches([], texts=True) if len(lines) else ():
                asked = np.isin(batch.lines, lines)
                if batch.texts is not None and asked.any():
                    parts.append(
                        _texts(file.name, at, batch.lines[asked], batch.texts.filter(pa.array(asked)))
                    )
        return pl.concat(parts) if parts else _texts("", 0, np.zeros(0, np.int64), pa.array([], pa.binary()))


@contextmanager
def read_table(
    paths: Paths, wanted: Wanted, *, separator: str | None = None, quote: Quote = "auto"
) -> Iterator[Table]:
    """Read the `wanted` columns of all records of the files, by way of a temporary file.

    `separator` and `quote` are for delimited text; None: guess it. Raises DataError where a file cannot be
    read, lacks a column, has too many faulty records, or where fewer or more records were read than counted.
    """
    with TemporaryDirectory(prefix="dimerec-") as directory:
        scratch = Path(directory)
        sources = find_sources(paths, scratch)
        files = [_open(source, wanted, separator, quote) for source in sources]
        kinds = _kinds(files, wanted)
        spool = scratch / "table.parquet"
        with explaining_scratch(), spool.open("wb") as out:
            _spool(files, kinds, wanted, out)
        names = list(dict.fromkeys(name for file in files for name in file.names))
        rows = pl.scan_parquet(spool, glob=False).drop(set(kinds).difference(names))
        cards = [file.card() for file in files]
        if len(cards) == 1:
            cards = [cards[0].model_copy(update={"file": Path(cards[0].file).name})]
        yield Table(_name(files), rows, names, cards, files, sources)


def _open(source: Source, wanted: Wanted, separator: str | None, quote: Quote) -> TableFile:
    with explaining(source.name), source.path.open("rb") as file:
        head = file.read(4096)
    opened: TableFile
    if head.startswith(PARQUET):
        opened = ParquetFile(source)
    else:
        if Path(source.name).suffix == ".parquet":
            refuse_others(source.name, head)
            raise DataError(f"{source.name} is not a Parquet file; write it as Parquet or name a CSV file")
        text = open_text(source, head)
        if text.head().lstrip().startswith(b"{"):
            return JsonLinesFile(text, wanted.ids, wanted.lists, wanted.spare, wanted.booleans)
        opened = DelimitedFile(text, wanted.columns, wanted.spare, separator, quote)
    refuse_repeated(opened.name, opened.names)
    require_columns(opened.name, opened.names, wanted.required)
    return opened


def _kinds(files: Sequence[TableFile], wanted: Wanted) -> dict[str, pa.DataType]:
    """The type of each wanted column that there is or may be: one that holds what all files have."""
    kinds = {}
    for column in wanted.columns:
        having = [file for file in files if column in file.names or isinstance(file, JsonLinesFile)]
        try:
            kind = _common(column, {file.name: file.kind(column) for file in having})
        except DataError:
            if column not in wanted.spare:
                raise
            continue
        if having and not (column in wanted.spare and pa.types.is_nested(kind)):
            kinds[column] = kind
    return kinds


def _common(column: str, found: Mapping[str, pa.DataType]) -> pa.DataType:
    by_kind = {kind: name for name, kind in found.items() if not pa.types.is_null(kind)}
    kinds = list(by_kind)
    if len(kinds) < 2:
        return kinds[0] if kinds else pa.null()
    if all(pa.types.is_integer(kind) or pa.types.is_string(kind) for kind in kinds):
        return pa.string()
    one, other = kinds[:2]
    raise DataError(
        f"column {column!r} is {one} in {by_kind[one]} and {other} in {by_kind[other]}; write both alike"
    )


def _spool(
    files: Sequence[TableFile], kinds: Mapping[str, pa.DataType], wanted: Wanted, out: BinaryIO
) -> None:
    schema = pa.schema([*kinds.items(), (ORIGIN, pa.int64()), (FAULT, pa.string())])
    with pq.ParquetWriter(out, schema, compression="lz4") as writer:
        for at, file in enumerate(files):
            for batch in _checked(file, kinds, wanted):
                columns = dict(zip(_present(file, kinds), batch.columns, strict=True))
                arrays = [
                    columns[name].cast(kind) if name in columns else pa.nulls(len(batch.lines), kind)
                    for name, kind in kinds.items()
                ]
                origins = pa.array(batch.lines + (at << _FILE_BIT))
                writer.write_batch(pa.record_batch([*arrays, origins, batch.faults], schema=schema))


def _present(file: TableFile, kinds: Mapping[str, pa.DataType]) -> list[str]:
    return list(kinds) if isinstance(file, JsonLinesFile) else [name for name in kinds if name in file.names]


def _checked(file: TableFile, kinds: Mapping[str, pa.DataType], wanted: Wanted) -> Iterator[Batch]:
    """The batches of a file; at its end it is known to be as it should."""
    read = faulty = last = 0
    first = ""
    for batch in file.batches(_present(file, kinds), texts=False):
        read += len(batch.lines)
        last = int(batch.lines[-1]) if len(batch.lines) else last
        faults = np.flatnonzero(pc.fill_null(pc.not_equal(batch.faults, BLANK), fill_value=False))
        if len(faults) and not first:
            first = _described(file, int(batch.lines[faults[0]]), batch.faults[faults[0]].as_py())
        faulty += len(faults)
        yield batch
    if faulty > read * MAX_FAULTS:
        more = f" (so in {faulty:,} of {read:,} records)" if faulty > 1 else ""
        raise DataError(first + more)
    counted = file.card().records
    if read != counted:
        raise DataError(
            f"{file.name}: of {counted:,} records {read:,} were read, the last in line {last:,}; "
            "if something was writing to it, read it again"
        )
    if isinstance(file, JsonLinesFile):
        require_columns(file.name, file.names, wanted.required)


def _described(file: TableFile, line: int, fault: str) -> str:
    remedy = next((text for end, text in _REMEDIES.items() if fault.endswith(end)), "write it so")
    if fault == TOO_LONG and isinstance(file, DelimitedFile) and file.misquoted is not None:
        remedy = f"quotes are literal for the one inside a field in line {file.misquoted:,}; double that one"
    return f"{file.name}: line {line:,} {fault}; {remedy}"


def _texts(name: str, at: int, lines: npt.NDArray[np.int64], texts: pa.Array) -> pl.DataFrame:
    readable = [(text or b"").decode(errors="backslashreplace") for text in texts.to_pylist()]
    return pl.DataFrame(
        {"origin": lines + (at << _FILE_BIT), "line": lines, "record": readable},
        schema={"origin": pl.Int64, "line": pl.Int64, "record": pl.String},
    ).with_columns(file=pl.lit(name))


def _name(files: Sequence[TableFile]) -> str:
    more = len(files) - 1
    return files[0].name if not more else f"{files[0].name} and {more} more"
