"""`dimerec prepare`: event log in, sequences and a data card out."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cli.attribute_option import Attributes, typed_attributes
from cli.catalogue_option import CatalogueExports, changes_of
from cli.interrupts import NOTHING_WRITTEN, interruptible
from cli.log_options import (
    COLUMNS,
    DEFAULTS,
    FILTERS,
    EventsFiles,
    EventTypeColumn,
    EventTypes,
    ItemColumn,
    ItemsFiles,
    MinWeight,
    Missing,
    QuoteOption,
    Separator,
    TimestampColumn,
    TimeUnit,
    UserColumn,
    WeightColumn,
    path_of,
    prepare_options,
)
from cli.output import Json, print_json, print_table
from files.ids import MAX_ID_LENGTH
from training.data.data_card import CatalogueCard, DataCard, EventTypesCard, FileCard, ItemsFileCard
from training.data.dataset import TimestampUnit
from training.data.prepare import prepare
from training.data.prepare_options import CategorySeparator

Fact = tuple[str, str | Text]
"""A row of the card: what it is of, and it."""

_LISTED_FILES = 12
"""Files that a card lists line by line: a year by months."""
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", " ": "space"}


def command(
    events: EventsFiles,
    out: Annotated[
        Path,
        typer.Option(metavar="DIRECTORY", parser=path_of, help="Directory to write to; made if need be."),
    ] = Path("data"),
    items: ItemsFiles = None,
    catalogue: CatalogueExports = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="Keep the records that are left out in this file, each with its file, line and reason: "
            ".csv, .jsonl or .parquet."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Account for every record, and write nothing (but --rejects).")
    ] = False,
    separator: Separator = None,
    quote: QuoteOption = DEFAULTS.quote,
    user_column: UserColumn = DEFAULTS.user_column,
    item_column: ItemColumn = DEFAULTS.item_column,
    items_item_column: Annotated[
        str | None,
        typer.Option(help="The items file's. [default: that of --item-column]", rich_help_panel=COLUMNS),
    ] = None,
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
        typer.Option(
            help="Between categories in text; auto: | or else , where there is one. Brackets tell lists."
        ),
    ] = "auto",
    attributes: Attributes = None,
    timestamp_unit: TimeUnit = DEFAULTS.timestamp_unit,
    event_types: EventTypes = None,
    min_weight: MinWeight = None,
    missing: Missing = None,
    min_events: Annotated[
        int, typer.Option(min=3, help="Leave out users with fewer events.", rich_help_panel=FILTERS)
    ] = DEFAULTS.min_events,
    min_item_events: Annotated[
        int, typer.Option(min=1, help="Leave out items with fewer events.", rich_help_panel=FILTERS)
    ] = DEFAULTS.min_item_events,
    as_json: Json = False,
) -> None:
    """Turn an event log into sequences, an item table and a data card.

    The log needs a user, an item and a timestamp a row. Rows that cannot be used are left out, counted and
    reported; a file that cannot be used is refused with the column or the line and the remedy. Records in the
    files, counted twice = events + what was dropped. The order of the rows does not matter.

    - `dimerec prepare --events watches.parquet --items videos.csv --out data`

    - `dimerec prepare --events ratings.csv --user-column userId --item-column movieId --weight-column rating
      --min-weight 4`

    - `dimerec prepare --events log.csv.gz --event-type watch --event-type like --min-item-events 5`

    - `dimerec prepare --events watches.parquet --items videos.csv --attribute duration:number
      --attribute language:text --attribute released:date`

    - `dimerec prepare --events january.csv --events february.csv --check --rejects rejects.csv`

    - `dimerec prepare --events watches.parquet --items videos.csv --catalogue changes.jsonl` (what `dimerec
      catalogue export` wrote: removed items stay out, changed ones have their new titles)

    Items that no event names stay out of the catalogue, for a model knows nothing of them.
    """
    options = prepare_options(
        user_column=user_column,
        item_column=item_column,
        items_item_column=items_item_column,
        timestamp_column=timestamp_column,
        timestamp_unit=timestamp_unit,
        event_type_column=event_type_column,
        event_types=event_types,
        separator=separator,
        quote=quote,
        weight_column=weight_column,
        min_weight=min_weight,
        missing=missing,
        window_column=window_column,
        title_column=title_column,
        category_column=category_column,
        category_separator=category_separator,
        attributes=typed_attributes(attributes or []),
        min_events=min_events,
        min_item_events=min_item_events,
    )
    before = _stamps(out)
    with interruptible(lambda: _kept(out, before)):
        changes = changes_of(catalogue)
        card = prepare(events, items, out, options, rejects=rejects, check=check, changes=changes)
    if as_json:
        print_json(card)
        return
    show_card(card)
    if rejects is not None:
        typer.echo(f"What was dropped: {rejects}")
    unwritten = "Nothing else was written." if rejects is not None else "Nothing was written."
    typer.echo(unwritten if check else f"Written to {out}; next: dimerec train --data {out}")


def _stamps(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("[!.]*")}


def _kept(out: Path, before: dict[Path, int]) -> str:
    """Of an interrupted call."""
    if _stamps(out) == before:
        return NOTHING_WRITTEN
    return f"{out} is written in part: give the same command again before it is used"


def show_card(card: DataCard) -> None:
    """Print a data card as tables: what there is, what was dropped and why."""
    print_table(["", ""], _facts(card), title=f"{_named(card.events_files)}: {card.rows:,} rows")
    if not card.dropped:
        typer.echo("Nothing was dropped.")
        return
    counted = [(drop.reason, (drop.events, drop.users, drop.items)) for drop in card.dropped]
    print_table(
        ["dropped because", "events", "users", "items"],
        [[reason, *("" if n is None else f"{n:,}" for n in counts)] for reason, counts in counted],
        right_from=1,
    )


def _facts(card: DataCard) -> Iterator[Fact]:
    yield from _read_as(card.events_files)
    dropped = sum(drop.events for drop in card.dropped)
    yield "accounted for", f"{card.rows:,} rows = {card.events:,} events + {dropped:,} dropped"
    for name in ("users", "items", "events"):
        yield name, f"{getattr(card, name):,}"
    yield "density", f"{card.events / (card.users * card.items):.3%}"
    yield "seen before", f"{card.repeats:,} events on an item the user had met"
    yield "events per user", _spelled(card.lengths)
    yield "events per item", _spelled(card.popularity)
    yield "from … to", _period(card)
    if card.event_types is not None:
        yield from _event_type_facts(card.event_types)
    if card.categories:
        yield "categories", f"{card.categories:,}; none for {card.items_without_category:,} items"
    if card.items_without_title < card.items:
        yield "titles", f"for all but {card.items_without_title:,} items"
    if card.items_file is not None:
        yield from _items_file_facts(card.items_file)
    if card.catalogue is not None:
        yield "changes", _changes(card.catalogue)
    ignored = [*card.ignored_columns, *(card.items_file.ignored_columns if card.items_file else [])]
    if ignored:
        yield "columns ignored", ", ".join(ignored)
    yield "fingerprint", card.fingerprint[:16]


def _named(files: list[FileCard]) -> str:
    return files[0].file if len(files) == 1 else f"{len(files):,} files"


def _read_as(files: list[FileCard]) -> Iterator[Fact]:
    """The reading of each file; of several with its name and rows, of many only the first."""
    for file in files[:_LISTED_FILES]:
        of_several = f"{file.file}, {file.records:,} rows: " if len(files) > 1 else ""
        yield "read as", of_several + _layout(file)
    if len(files) > _LISTED_FILES:
        yield "", f"and {len(files) - _LISTED_FILES:,} files more, which card.json lists"


def _layout(file: FileCard) -> str:
    said: list[str] = [file.format]
    if file.separator is not None:
        said.append(f"separator {_SEPARATORS.get(file.separator, file.separator)}")
        said.append("quotes enclose fields" if file.quote == "double" else "quotes literal")
    said += [word for word in (file.encoding, file.compression) if word is not None]
    if file.longer:
        said.append(f"longer than the header: {file.longer:,}")
    if file.shorter:
        said.append(f"shorter than the header: {file.shorter:,}")
    return ", ".join(said)


def _event_type_facts(types: EventTypesCard) -> Iterator[Fact]:
    counts = ", ".join(f"{name} {events:,}" for name, events in types.events.items())
    if counts:
        yield "event types", f"{types.column}: {counts}"
    if types.note is not None:
        yield "event types", Text(types.note, style="bold")


def _items_file_facts(card: ItemsFileCard) -> Iterator[Fact]:
    yield "items file", f"{_named(card.files)}: {card.rows:,} rows, {card.listed:,} items"
    yield from _read_as(card.files)
    if card.category_forms:
        forms = ", ".join(f"{form} in {rows:,} rows" for form, rows in card.category_forms.items())
        yield "categories as", forms
    if card.attributes:
        yield "attributes", ", ".join(f"{name} of {items:,} items" for name, items in card.attributes.items())
    notes = {
        "titles are a word for a missing value, and were kept": card.odd_titles,
        "without events, left out of the catalogue": card.without_events,
        "with events but not listed, kept without title": card.unlisted,
        "rows repeat an id and were left out": card.repeated,
        f"rows without an id of 1–{MAX_ID_LENGTH} printable characters were left out": card.without_id,
        **{f"rows left out: {drop.reason}": drop.events for drop in card.unread},
    }
    for note, count in notes.items():
        if count:
            yield "", f"{count:,} {note}"


def _changes(card: CatalogueCard) -> str:
    return (
        f"up to {card.sequence:,}: {card.removed:,} items of the log were removed, {card.renamed:,} have"
        " other titles or categories"
    )


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
