"""The common part of the commands' progress bars."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress


class Bars:
    """Bars that are shown while a `with` block runs; lines for what is over go to the same console."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.console = console
        self.progress = progress

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()
