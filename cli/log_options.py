"""The options of every command that reads an event log: `prepare`, `import-history` and `recommend`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.prepare_options import PrepareOptions

COLUMNS = "Column names"
FILTERS = "What counts as an event"

DEFAULTS = PrepareOptions()

EventsFile = Annotated[Path, typer.Option(help="The event log: Parquet, CSV or TSV, gzip allowed.")]
UserColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
ItemColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
TimestampColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
EventTypeColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
WeightColumn = Annotated[str, typer.Option(rich_help_panel=COLUMNS)]
TimeUnit = Annotated[
    Literal["auto", "s", "ms", "order"],
    typer.Option(
        help="Seconds or milliseconds since the epoch, or just an order. auto: by the median, an order "
        "below 10^8, seconds below 10^11, else milliseconds. Date-times need none."
    ),
]
EventTypes = Annotated[
    list[str] | None,
    typer.Option("--event-type", help="Keep only events of this type; repeatable.", rich_help_panel=FILTERS),
]
MinWeight = Annotated[
    float | None, typer.Option(help="Keep only events of at least this weight.", rich_help_panel=FILTERS)
]


def prepare_options(*, event_types: list[str] | None, **fields: object) -> PrepareOptions:
    """How to read a log, from what these options were given; `fields` are those of PrepareOptions."""
    return PrepareOptions.model_validate({"event_types": tuple(event_types or ()), **fields})
