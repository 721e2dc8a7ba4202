"""The data card: what `prepare` found in an event log, what it dropped and why."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from training.data.dataset import TimestampUnit
from training.data.prepare_options import PrepareOptions
from training.errors import DataError

CARD_FILE = "card.json"


class Dropped(BaseModel):
    """Events that were left out for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    events: int
    users: int | None = None
    """Users left out altogether, where the reason is one about users."""
    items: int | None = None
    """Items left out altogether, where the reason is one about items."""


class FileCard(BaseModel):
    """A file that was read: how it was understood, and the count of its records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    format: Literal["delimited text", "JSON Lines", "Parquet"]
    compression: Literal["gzip", "zstd"] | None = None
    encoding: Literal["UTF-8", "UTF-16"] | None = None
    separator: str | None = None
    quote: Literal["none", "double"] | None = None
    """none: quotes are literal, or there are none."""
    records: int
    """Without the header; blank lines count. Found by a count that shares nothing with the reader."""
    longer: int = 0
    """Records with more fields than the header that were read nevertheless."""
    shorter: int = 0
    """Records with fewer fields than the header, read as if the last ones were empty."""


class EventTypesCard(BaseModel):
    """The types of a log's events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    events: dict[str, int]
    """Rows of the log by type, whether they are kept or not; most frequent first."""
    note: str | None
    """Says which types count as watches and hardly are, and the remedy."""


class ItemsFileCard(BaseModel):
    """The overlap of an items file and an event log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: list[FileCard]
    rows: int
    """Records of these files."""
    listed: int
    """Distinct items in the file."""
    repeated: int
    """Rows left out because an earlier row has the same id."""
    without_id: int
    """Rows left out because they have no id, or one that is too long or has control characters."""
    unread: list[Dropped]
    """Records that are none: blank lines and the like."""
    without_events: int
    """Listed items that are not in the catalogue: nothing is known of them that a model could learn."""
    unlisted: int
    """Items with events that the file does not list: kept, without title and categories."""
    odd_titles: int
    """Listed items whose title is a word for a missing value, such as nan; kept, for it may be a title."""
    category_forms: dict[str, int]
    """Rows by how several categories were told apart: `lists`, `|`, `,` …"""
    ignored_columns: list[str]
    attributes: dict[str, int] = {}
    """Listed items that have a value, by attribute."""


class CatalogueCard(BaseModel):
    """The effect of changes that were made to the catalogue in service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: list[str]
    sequence: int
    """Of the last change that is known."""
    removed: int
    """Items with events that were left out, since they were removed."""
    renamed: int
    """Items whose title or categories are those of a change and not of the items file."""


class DataCard(BaseModel):
    """Counts of one prepared data set; written as `card.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events_files: list[FileCard]
    rows: int
    """Records of the event log: `events` and what was `dropped` add up to it."""
    options: PrepareOptions
    """Options with which the files were read, for another reader of the same log."""
    event_types: EventTypesCard | None
    users: int
    items: int
    events: int
    repeats: int
    """Events on an item that the user had met before; no model that removes seen items can predict them."""
    lengths: dict[str, int]
    """Events per user: min, p25, median, p75, p90, max."""
    popularity: dict[str, int]
    """Events per item, the same quantiles."""
    timestamp_unit: TimestampUnit
    first_timestamp: int
    """Milliseconds since the epoch, or an order."""
    last_timestamp: int
    categories: int
    items_without_title: int
    items_without_category: int
    dropped: list[Dropped]
    ignored_columns: list[str]
    items_file: ItemsFileCard | None
    catalogue: CatalogueCard | None = None
    """None where no changes were given."""
    fingerprint: str
    """SHA-256 of the prepared content."""


def read_card(directory: Path) -> DataCard:
    """Read the card that `prepare` wrote into `directory`; raises DataError if none there can be read."""
    path, remedy = directory / CARD_FILE, "name a directory that `dimerec prepare` wrote, or run it again"
    try:
        return DataCard.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {remedy}") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} cannot be read as a data card; {remedy}") from error
