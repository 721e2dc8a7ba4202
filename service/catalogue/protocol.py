"""The protocol of a catalogue log: for each changed item its newest entry.

The rules that every log keeps:

- Writes have one order; each gets a sequence that is higher than those of all before, and the last one of an
  item is its entry.
- A removal is kept, also that of an item that was never seen, and with it the recipe that the item had: for
  users who watched it, its vector goes on counting.
- A write that leaves the vector's origin open keeps the one that the entry has, unless the item was removed.
- What was answered is stored: it is there after a crash.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from engine.recipes import Content, Given, Like, Recipe
from files.errors import DimeRecError


class Description(msgspec.Struct, frozen=True):
    """An item as its newest write says; times in ms since the epoch, `available_until` is the first moment
    at which it is gone.
    """

    title: str | None
    categories: tuple[str, ...]
    available_from: int | None = None
    available_until: int | None = None
    attributes: dict[str, bool | int | float | str | list[str]] = {}


class Origin(msgspec.Struct, frozen=True):
    """The vector's origin, as `engine.recipes.Recipe` has it."""

    given: Like | Content | Given | None
    of_categories: tuple[str, ...]


class Write(NamedTuple):
    """A change of one item; without a description it is removed.

    `keep_origin`: `origin` is only for an item that has none.
    """

    item_id: str
    description: Description | None = None
    origin: Origin | None = None
    keep_origin: bool = False


class Entry(msgspec.Struct, frozen=True):
    """The newest that is known of an item."""

    item_id: str
    sequence: int
    removed: bool
    description: Description | None = None
    """None where it was never described."""
    origin: Origin | None = None
    origin_sequence: int = 0
    """Of the change that gave the origin."""

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of its vector, None where it never had one."""
        if self.description is None or self.origin is None:
            return None
        return Recipe(
            self.description.title,
            self.description.categories,
            self.origin.given,
            self.origin.of_categories,
            self.description.attributes,
            self.origin_sequence,
        )


class Contents(NamedTuple):
    """All entries of a log, the highest moment that it was told of (ms since the epoch), and the sequence of
    its last change: no later one is missing.
    """

    entries: list[Entry]
    passed_ms: int = 0
    sequence: int = 0
    compacted: int = 0
    """Entries up to this sequence may have been dropped, since all bundles obey them."""


class Known(NamedTuple):
    """All changes of a log up to one: that of this sequence, since the log began anew with this epoch."""

    epoch: str = ""
    sequence: int = 0


class RoomTakenError(DimeRecError):
    """Others have made so many changes that this process does not count yet."""

    def __init__(self, others: int) -> None:
        super().__init__(f"{others} changes of others came meanwhile")
        self.others = others


class CatalogueLog(Protocol):
    """Keeps the newest entry of every changed item. Methods raise CatalogueUnavailableError."""

    async def begin(self) -> None:
        """Keep other processes from writing where one alone may, unless another one does already."""
        ...

    async def write(self, writes: Sequence[Write], room: int | None = None) -> list[Entry]:
        """Store changes in their order, all or none; returns the entry that each became.

        `room`: changes of other processes that may have come and do not count here yet; where there are more,
        nothing is stored: raises RoomTakenError. None: any number.
        """
        ...

    async def restore(self, contents: Contents) -> None:
        """Store the entries of an earlier time of this log, each where it has no newer one."""
        ...

    async def drop(self, entries: Sequence[Entry]) -> list[Entry]:
        """Drop entries, each unless a newer one of its item has come; returns those that were dropped.

        Unlike a removal it changes nothing that is answered: whoever calls has made sure of that.
        """
        ...

    async def pass_time(self, moment_ms: int) -> None:
        """Note that a moment has passed, so that a clock set back later revives nothing."""
        ...

    async def replicated(self) -> bool | None:
        """True where replicas of the store have all that was written, too; None where none are to."""
        ...

    async def close(self) -> None:
        """Release files and connections; the log cannot be used afterwards."""
        ...


_encode = msgspec.json.encode
_description = msgspec.json.Decoder(Description)
_origin = msgspec.json.Decoder(Origin)


def encoded(part: Description | Origin | None) -> bytes | None:
    """A part of an entry as it is stored."""
    return None if part is None else _encode(part)


def decoded(
    item_id: str,
    sequence: int,
    removed: bool,
    origin_sequence: int,
    description: bytes | None,
    origin: bytes | None,
) -> Entry:
    """The entry of stored parts; one that cannot be read counts as removed, so that nothing returns by it."""
    try:
        return Entry(
            item_id,
            sequence,
            removed,
            None if description is None else _description.decode(description),
            None if origin is None else _origin.decode(origin),
            origin_sequence,
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Entry(item_id, sequence, removed=True)
