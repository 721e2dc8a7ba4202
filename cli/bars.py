"""The common part of the commands' progress bars."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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


@contextmanager
def stages() -> Iterator[Callable[[str], object]]:
    """A line that says what is done now, where somebody looks; the caller gets what changes it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield status.update


@contextmanager
def measuring(names: Iterable[str], total: int) -> Iterator[Callable[[str, int], object]]:
    """A bar for each of `names`, of `total` steps; the caller gets what advances one by some steps."""
    columns = [TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks = {name: progress.add_task(name, total=total) for name in names}
        yield lambda name, steps: progress.advance(tasks[name], steps)
