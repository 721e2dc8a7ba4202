"""Options with which `prepare` reads an event log and an items file."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from files.ids import MISSING_WORDS
from index.attributes import MAX_ATTRIBUTES, MAX_NAME_LENGTH, AttributeType, is_attribute_name
from training.data.dataset import TimestampUnit
from training.data.reading.quoting import Quote

CategorySeparator = Literal["auto", "|", ",", ";", "space", "none"]


def _attribute_name(name: str) -> str:
    if not is_attribute_name(name):
        raise ValueError(f"must have 1 … {MAX_NAME_LENGTH} printable characters and no blanks around them")
    return name


class PrepareOptions(BaseModel):
    """Column names, units and limits; the defaults read a log laid out as the documentation asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: str | None = Field(None, min_length=1, max_length=1)
    """Between the fields of delimited text; None: guessed from its first lines."""
    quote: Quote = "auto"
    """double: quotes quote; none: they are literal; auto: they quote where each opens or closes a field or is
    doubled inside one.
    """
    user_column: str = "user_id"
    item_column: str = "item_id"
    items_item_column: str | None = None
    """The items file's id column; None: named as in the log."""
    timestamp_column: str = "timestamp"
    timestamp_unit: TimestampUnit | Literal["auto"] = "auto"
    """auto: the unit in which most rows lie between 1995 and now; an order where they are below 10^8."""
    event_type_column: str = "event_type"
    event_types: tuple[str, ...] = ()
    """Keep only these types of events; empty: all."""
    weight_column: str = "weight"
    min_weight: float | None = None
    """Keep only events of at least this weight; None: all."""
    window_column: str | None = None
    """A column that assigns each event to train, validation or test; kept for the split by window."""
    title_column: str = "title"
    category_column: str = "category"
    category_separator: CategorySeparator = "auto"
    """auto: lists are read as such; in other text `|` if any row holds one, else `,`, else one a row."""
    attributes: dict[Annotated[str, AfterValidator(_attribute_name)], AttributeType] = Field(
        {}, max_length=MAX_ATTRIBUTES
    )
    """Further columns of the items file, each with the type that its values are to have."""
    missing: tuple[str, ...] = MISSING_WORDS
    """Words for a missing id, timestamp, type, weight, category or attribute; the empty one always is."""
    min_events: int = Field(3, ge=3)
    """Users with fewer events are left out; leave-one-out needs three."""
    min_item_events: int = Field(1, ge=1)
    """Items with fewer events are left out; users are then counted again, until both hold."""
