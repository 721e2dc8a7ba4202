"""`dimerec prepare`: event log in, sequences and a data card out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.log_options import (
    COLUMNS,
    DEFAULTS,
    FILTERS,
    EventsFile,
    EventTypeColumn,
    EventTypes,
    ItemColumn,
    MinWeight,
    TimestampColumn,
    TimeUnit,
    UserColumn,
    WeightColumn,
    prepare_options,
)
from files.ids import MAX_ID_LENGTH
from training.data_card import DataCard, ItemsFileCard
from training.dataset import TimestampUnit
from training.events import prepare
from training.prepare_options import CategorySeparator


def command(
    events: EventsFile,
    out: Annotated[Path, typer.Option(help="Directory to write to; made if need be.")] = Path("data"),
    items: Annotated[
        Path | None,
        typer.Option(
            help="The items file, of the same formats and with the same item column: titles and categories."
        ),
    ] = None,
    user_column: UserColumn = DEFAULTS.user_column,
    item_column: ItemColumn = DEFAULTS.item_column,
    timestamp_column: TimestampColumn = DEFAULTS.timestamp_column,
    event_type_column: EventTypeColumn = DEFAULTS.event_type_column,
    weight_column: WeightColumn = DEFAULTS.weight_column,
    window_column: Annotated[
        str | None,
        typer.Option(
            help="Holds train, validation or test for each event; kept for `--split window`.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    title_column: Annotated[str, typer.Option(rich_help_panel=COLUMNS)] = DEFAULTS.title_column,
    category_column: Annotated[
        str, typer.Option(help="A list, or text that holds several.", rich_help_panel=COLUMNS)
    ] = DEFAULTS.category_column,
    category_separator: Annotated[
        CategorySeparator,
        typer.Option(help="Between categories in text; auto: | or else , where there is one."),
    ] = "auto",
    timestamp_unit: TimeUnit = DEFAULTS.timestamp_unit,
    event_types: EventTypes = None,
    min_weight: MinWeight = None,
    min_events: Annotated[
        int, typer.Option(min=3, help="Leave out users with fewer events.", rich_help_panel=FILTERS)
    ] = DEFAULTS.min_events,
    min_item_events: Annotated[
        int, typer.Option(min=1, help="Leave out items with fewer events.", rich_help_panel=FILTERS)
    ] = DEFAULTS.min_item_events,
) -> None:
    """Turn an event log into sequences, an item table and a data card.

    The log needs a user, an item and a timestamp a row. Rows that cannot be used are left out, counted and
    reported; a file that cannot be used is refused with the column's name and the remedy. The order of the
    rows does not matter.

    - `dimerec prepare --events watches.parquet --items videos.csv --out data`

    - `dimerec prepare --events ratings.csv --user-column userId --item-column movieId --weight-column rating
      --min-weight 4`

    - `dimerec prepare --events log.csv.gz --event-type watch --event-type like --min-item-events 5`

    Items that no event names stay out of the catalogue, for a model knows nothing of them.
    """
    card = prepare(
        events,
        items,
        out,
        prepare_options(
            user_column=user_column,
            item_column=item_column,
            timestamp_column=timestamp_column,
            timestamp_unit=timestamp_unit,
            event_type_column=event_type_column,
            event_types=event_types,
            weight_column=weight_column,
            min_weight=min_weight,
            window_column=window_column,
            title_column=title_column,
            category_column=category_column,
            category_separator=category_separator,
            min_events=min_events,
            min_item_events=min_item_events,
        ),
    )
    show_card(card, Console())
    typer.echo(f"Written to {out}; next: dimerec train --data {out}")


def show_card(card: DataCard, console: Console) -> None:
    """Print a data card as tables: what there is, what was dropped and why."""
    table = _table(f"{card.events_file}: {card.rows:,} rows")
    for name in ("users", "items", "events"):
        table.add_row(name, f"{getattr(card, name):,}")
    table.add_row("density", f"{card.events / (card.users * card.items):.3%}")
    table.add_row("seen before", f"{card.repeats:,} events on an item the user had met")
    table.add_row("events per user", _spelled(card.lengths))
    table.add_row("events per item", _spelled(card.popularity))
    table.add_row("from … to", _period(card))
    if card.categories:
        table.add_row("categories", f"{card.categories:,}; none for {card.items_without_category:,} items")
    if card.items_without_title < card.items:
        table.add_row("titles", f"for all but {card.items_without_title:,} items")
    if card.items_file is not None:
        _add_items_file(table, card.items_file)
    _add_columns(table, card)
    console.print(table)
    _show_dropped(card, console)


def _add_items_file(table: Table, card: ItemsFileCard) -> None:
    table.add_row("items file", Text(f"{card.file}: {card.listed:,} items"))
    notes = {
        "without events, left out of the catalogue": card.without_events,
        "with events but not listed, kept without title": card.unlisted,
        "rows repeat an id and were left out": card.repeated,
        f"rows without an id of 1–{MAX_ID_LENGTH} printable characters were left out": card.without_id,
    }
    for note, count in notes.items():
        if count:
            table.add_row("", f"{count:,} {note}")


def _add_columns(table: Table, card: DataCard) -> None:
    ignored = [*card.ignored_columns, *(card.items_file.ignored_columns if card.items_file else [])]
    if ignored:
        table.add_row("columns ignored", Text(", ".join(ignored)))
    table.add_row("fingerprint", card.fingerprint[:16])


def _show_dropped(card: DataCard, console: Console) -> None:
    if not card.dropped:
        console.print("Nothing was dropped.")
        return
    table = Table("dropped because", "events", "users", "items", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for drop in card.dropped:
        counts = (drop.events, drop.users, drop.items)
        table.add_row(Text(drop.reason), *("" if count is None else f"{count:,}" for count in counts))
    console.print(table)


def _table(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    return table


def _spelled(quantiles: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in quantiles.items())


def _period(card: DataCard) -> str:
    first, last = (
        _spelled_time(time, card.timestamp_unit) for time in (card.first_timestamp, card.last_timestamp)
    )
    return f"{first} … {last} ({card.timestamp_unit})"


def _spelled_time(timestamp: int, unit: TimestampUnit) -> str:
    """A date where the timestamp is one that a calendar can hold, else the number."""
    if unit == "order" or not 0 <= timestamp < 253_402_300_800_000:
        return f"{timestamp:,}"
    return datetime.fromtimestamp(timestamp / 1000, UTC).date().isoformat()
