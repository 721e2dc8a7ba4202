"""The files that the caller named: plain files, directories, patterns, pipes."""

import glob
import os
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from training.errors import DataError

Paths = Path | Sequence[Path]
"""One path or several: of files, directories of files, or patterns with `*`, `?`, `[…]`, `**`."""

_PATTERN = frozenset("*?[")
_UNREAD = (".", "_")
"""Names that begin so lie beside the data, as `_SUCCESS` does: no directory or pattern means them."""
_OTHER_TABLES = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}


@dataclass(frozen=True)
class Source:
    """A file to read."""

    name: str
    """As the caller named it; for messages."""
    path: Path
    """The path of its content: a copy for a pipe, which can be read only once."""


def find_sources(paths: Paths, scratch: Path) -> list[Source]:
    """List the files that `paths` name, those of directories and patterns sorted; copy pipes to `scratch`.

    A path that exists is that file whatever characters it has; only one that does not exist is a pattern.
    Raises DataError where there is no file, or one is named twice.
    """
    named = [paths] if isinstance(paths, Path) else list(paths)
    found = [path for one in named for path in _expanded(one)]
    seen: dict[tuple[int, int], Path] = {}
    for path in found:
        with explaining(str(path)):
            status = path.stat()
        file = (status.st_dev, status.st_ino)
        if file in seen:
            raise DataError(f"{path} is named twice (as {seen[file]} too); name each file once")
        seen[file] = path
    return [Source(_named(path), _readable(path, scratch / f"pipe-{at}")) for at, path in enumerate(found)]


@contextmanager
def explaining(name: str, kind: str = "text") -> Iterator[None]:
    """Turn what reading the file `name` of some `kind` raises into a DataError: one line with a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is damaged {error.encoding.upper()} text; write it again as UTF-8"
        ) from error
    except (EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{name} is a damaged {kind} file; fetch or write it again") from error
    except OSError as error:
        if error.strerror is None:  # of a decompressor, not of the system
            raise DataError(f"{name} is a damaged {kind} file; fetch or write it again") from error
        raise DataError(f"{name} cannot be read: {error.strerror}") from error


def _named(path: Path) -> str:
    """The path as text, also where its bytes are none."""
    return os.fsencode(path).decode(errors="replace")


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        return _within(path)
    if path.exists() or not _PATTERN.intersection(str(path)):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if not path.name.startswith(_UNREAD):
        matches = [match for match in matches if not match.name.startswith(_UNREAD)]
    if not matches:
        raise DataError(f"{path}: no such file, and none that matches it as a pattern; check the path")
    files = [file for match in matches for file in (_within(match) if match.is_dir() else [match])]
    return list(dict.fromkeys(files))  # ** finds directories and what is in them


def _within(directory: Path) -> list[Path]:
    """The files under a directory, by name; hidden ones and those that begin with `_` are no data."""
    for name, what in _OTHER_TABLES.items():
        if (directory / name).exists():
            raise DataError(
                f"{directory} is {what}, whose files also hold rows that were deleted; export it as Parquet"
            )
    files = [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not any(part.startswith(_UNREAD) for part in path.relative_to(directory).parts)
    ]
    if not files:
        raise DataError(f"{directory} is a directory without files; name one that has some, or a file")
    return files


def _readable(path: Path, copy: Path) -> Path:
    """`path`, or for what can be read only once the `copy` that is made of it."""
    with explaining(str(path)):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path
        with path.open("rb") as pipe:
            if os.isatty(pipe.fileno()):
                raise DataError(f"{path} is a terminal; name a file or send one through a pipe")
            with explaining_scratch(), copy.open("wb") as file:
                shutil.copyfileobj(pipe, file)
    return copy


@contextmanager
def explaining_scratch() -> Iterator[None]:
    """Turn a failure to write temporary files into a DataError that names the remedy."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"temporary files cannot be written: {error.strerror}; set TMPDIR to a directory with room"
        ) from error
