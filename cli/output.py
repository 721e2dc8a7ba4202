"""Results on stdout: tables and lines for people or, with `--json`, one JSON document and nothing else.

A terminal's width bounds a table there, long cells going on in the next line. In a pipe or a file a table is
as wide as its cells, so that nothing is cut or wrapped. Progress and notes go to stderr.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # a start of the command needs no training
    from training.evaluation.bootstrap import Compared

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for machines, instead of text and tables.")
]

_UNBOUNDED = 1_000_000
"""Characters, the width of a console that is no terminal."""


def print_table(
    headings: Sequence[str],
    *sections: Iterable[Sequence[str | Text]],
    title: str = "",
    right_from: int | None = None,
    compact: bool = False,
) -> None:
    """Print rows under their headings (none: no heading row), a line between sections.

    Columns from number `right_from` (0-based) on hold numbers and stand to the right. `compact` leaves out
    the frame, for tables with many columns. Cells are printed as they are, but for control characters.
    """
    console = result_console()
    table = Table(box=SIMPLE_HEAD if compact else HEAVY_HEAD, show_header=any(headings))
    if compact:
        table.padding = (0, 1, 0, 0)
    for number, heading in enumerate(headings):
        right = right_from is not None and number >= right_from
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for section in sections:
        for cells in section:
            table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))
        table.add_section()
    if title:
        typer.echo(printable(title))
    console.print(table, highlight=False)


def print_comparisons(comparisons: Iterable["Compared"], width: int = 8) -> None:
    """Print differences that the data can or cannot tell from none; `width` of the metrics' names."""
    for found in comparisons:
        typer.echo(
            f"{found.metric:<{width}} {found.first} − {found.second}: {found.mean:+.4f}"
            f" [{found.low:+.4f}, {found.high:+.4f}] {found.verdict}"
        )


def print_json(document: object) -> None:
    """Print models, structs, dataclasses, mappings, sequences and plain values as one JSON document."""
    from msgspec import to_builtins  # both here, for a start of the command without them
    from pydantic_core import to_json

    text = to_json(document, indent=2, inf_nan_mode="null", by_alias=True, fallback=to_builtins)
    typer.echo(text.decode())


def result_console() -> Console:
    """A console on stdout, without a bound on the width where that is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_UNBOUNDED)


def printable(text: str) -> str:
    """The text in one line, without control characters: a name cannot move the cursor or end the line."""
    return "".join(character if character.isprintable() else " " for character in text)
