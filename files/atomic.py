"""Writing files so that a crash at any instant leaves the old content or the new one, whole."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The content is on disk before the rename and the rename before the return, so that a reader (or a
    machine that lost power) finds either the old file or the new one. When the block raises, `path` is
    as it was and the temporary file is gone.
    """
    # Absolute, for some libraries take a path that begins with ~ or a scheme for another.
    temporary = path.absolute().with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the content of `path` is on disk."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory `path` are on disk: a rename lasts only after this."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
