"""The keys in use: those of a file, which is read again when it changes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from service.access.keys import ApiKey, digest, read_keys
from service.errors import KeysError

CHECK_S = 1.0
"""A change of the file counts after at most this long."""

log = structlog.get_logger("dimerec.access")


class Keyring:
    """Finds who a key belongs to, in microseconds.

    A file that can no longer be read as keys leaves those that were read before in use, and is logged; one
    that is gone holds none. Raises KeysError where the file is unusable at the start.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._state = _state(path)
        self._keys = {key.sha256: key for key in read_keys(path)}
        self._checked = clock()

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._keys)

    def find(self, given: str) -> ApiKey | None:
        """The key that `given` is, None for a wrong one."""
        now = self._clock()
        if now - self._checked >= CHECK_S:
            self._checked = now
            self._read_again()
        return self._keys.get(digest(given))  # its time tells only of digests, which are of no use

    def _read_again(self) -> None:
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = {key.sha256: key for key in read_keys(self._path)}
        except KeysError as error:
            log.error("keys kept", reason=str(error), keys=len(self))  # noqa: TRY400 (expected)
        else:
            log.info("keys read", keys=len(self))


def _state(path: Path) -> tuple[int, ...] | None:
    """Facts that differ once the file is another."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
