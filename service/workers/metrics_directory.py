"""The directory of the metrics of all workers: gone with their supervisor, or else with the next one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

_PREFIX = "dimerec-metrics-"


@contextmanager
def metrics_directory() -> Iterator[Path]:
    """A new directory; those of supervisors that were killed are removed first.

    Whoever made one holds a lock on it, which the kernel takes away from a process that is killed.
    """
    for left in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or another start removes it right now
            _remove_unless_held(left)
    with TemporaryDirectory(prefix=_PREFIX) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def _remove_unless_held(directory: Path) -> None:
    """An empty one may be about to be locked: it stays. Raises OSError for one that is held, or not ours."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.listdir(descriptor):
            rmtree(directory)
    finally:
        os.close(descriptor)
