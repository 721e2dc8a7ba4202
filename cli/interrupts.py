"""Ctrl-C: one line that says what was kept and how to go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from files.errors import DimeRecError

NOTHING_WRITTEN = "nothing was written"


class StoppedError(DimeRecError):
    """An interrupt, with what it left; `dimerec` exits with 130."""


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Say on Ctrl-C what `kept` returns then; it is called after everything inside has cleaned up."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise StoppedError(f"interrupted; {kept()}") from stop
