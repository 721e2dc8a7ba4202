"""The options of every command that reads an event log: `prepare`, `import-history` and `recommend`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from files.ids import MISSING_WORDS
from training.data.data_card import read_card
from training.data.prepare_options import PrepareOptions

COLUMNS = "Column names"
FILTERS = "What counts as an event"
TEXT = "How text is laid out"

DEFAULTS = PrepareOptions()

EVENTS_HELP = (
    "The event log: Parquet, CSV, TSV or JSON Lines (gzip or zstd allowed), or a pipe. Repeatable; a "
    "directory means the files in it, and so does a quoted pattern such as 'logs/*.csv'."
)
ITEMS_HELP = "The items file, of the same formats, repeatable too: titles, categories, attributes."


def _one_character(given: str | None) -> str | None:
    """The separator itself for what a shell makes hard to type."""
    separator = {"\\t": "\t", "tab": "\t", "space": " "}.get(given or "", given)
    if separator is None:
        return None
    if len(separator) != 1 or not separator.isascii() or separator in '\r\n"':
        raise typer.BadParameter("give one ASCII character, or tab or space, and no quote or line end")
    return separator


def path_of(given: str | Path) -> Path:
    """A path as it was typed, or an option's default; refuses what `Path` would take for another."""
    if given == "":
        raise typer.BadParameter("is empty, as an unset variable is; name a file")
    path = Path(given)
    if "://" in str(given) and not path.exists():
        raise typer.BadParameter(f"{given} is an address; fetch the file, and name it or send it by a pipe")
    return path


EventsFiles = Annotated[
    list[Path], typer.Option("--events", metavar="PATH", parser=path_of, help=EVENTS_HELP)
]
OptionalEventsFiles = Annotated[
    list[Path] | None, typer.Option("--events", metavar="PATH", parser=path_of, help=EVENTS_HELP)
]
ItemsFiles = Annotated[
    list[Path] | None, typer.Option("--items", metavar="PATH", parser=path_of, help=ITEMS_HELP)
]
Separator = Annotated[
    str | None,
    typer.Option(
        "--separator",
        "--delimiter",
        metavar="CHARACTER",
        callback=_one_character,
        help="Between fields of text; tab and space by name. [default: guessed from the first lines]",
        rich_help_panel=TEXT,
    ),
]
QuoteOption = Annotated[
    Literal["auto", "none", "double"],
    typer.Option(
        "--quote",
        help="double: quotes enclose fields and are doubled inside; none: they are literal. auto: double "
        "where every quote of the file is used so.",
        rich_help_panel=TEXT,
    ),
]
UserColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
ItemColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
TimestampColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
EventTypeColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
WeightColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
TimeUnit = Annotated[
    Literal["auto", "s", "ms", "us", "ns", "order"],
    typer.Option(
        help="Seconds, milli-, micro- or nanoseconds since the epoch, or just an order. auto: the unit in "
        "which the rows lie between 1995 and now; an order below 10^8. Date-times need none."
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        "--missing",
        metavar="WORD",
        help="Stands for a missing value, as the empty text always does; repeatable. "
        f"[default: {', '.join(word for word in MISSING_WORDS if word)}]",
        rich_help_panel=FILTERS,
    ),
]
EventTypes = Annotated[
    list[str] | None,
    typer.Option("--event-type", help="Keep only events of this type; repeatable.", rich_help_panel=FILTERS),
]
MinWeight = Annotated[
    float | None, typer.Option(help="Keep only events of at least this weight.", rich_help_panel=FILTERS)
]


def prepare_options(
    *, event_types: list[str] | None, missing: list[str] | None = None, **fields: object
) -> PrepareOptions:
    """Options of reading a log, from those that were given; `fields` are those of PrepareOptions."""
    if missing is not None:
        fields["missing"] = tuple(missing)
    return PrepareOptions.model_validate({"event_types": tuple(event_types or ()), **fields})


def as_prepared(data: Path, given: PrepareOptions, context: typer.Context) -> PrepareOptions:
    """The options with which `prepare` read the log of the directory `data`, but for those given here.

    The window column is left out: it divides events for evaluation and is no filter of what was watched.
    """
    card = read_card(data)
    recorded = card.options.model_copy(update={"window_column": None, "timestamp_unit": card.timestamp_unit})
    explicit = {
        name
        for name in PrepareOptions.model_fields
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    return recorded.model_copy(update=given.model_dump(include=explicit))
