"""The types of a log's events: how many there are of each, and which of them are no watches."""

import re
from collections.abc import Collection, Mapping

import polars as pl

from training.data.data_card import EventTypesCard
from training.data.prepare_options import PrepareOptions
from training.errors import DataError

MAX_LISTED_TYPES = 20
"""Types that a message or a card names: logs have a handful, an id column taken for one has thousands."""

_USUAL_NAMES = (
    "event",
    "event_name",
    "action",
    "type",
    "kind",
    "interaction",
    "interaction_type",
    "behavior",
)
"""Columns that may hold types, where there is none of the name asked for."""
_NO_WATCH = re.compile(
    r"(^|[^a-z])(skip|dislik|downvot|unlik|unfollow|unsubscrib|uninterest|hide|hid|block|report|mute|bounc|remov|"
    r"delet|ignor|dismiss|reject|impress|expos|(not?|negative|down|bad|hated?|shown?)([^a-z]|$))"
)
_NO_TYPE = "(none)"


def count_of(types: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """A row's type and the count of rows, to group by and to aggregate."""
    return types.fill_null(_NO_TYPE).alias("type"), pl.len().alias("events")


def described(
    path: str, types: Mapping[str, int], columns: Collection[str], options: PrepareOptions
) -> EventTypesCard | None:
    """The card of the `types` in a log with these `columns`: the events of each, and a note if need be.

    Raises DataError if no event is of a type that was asked for, and names those that there are.
    """
    if not types:
        unread = next((name for name in _USUAL_NAMES if name in columns), None)
        return None if unread is None else EventTypesCard(column=unread, events={}, note=_unread(unread))
    ranked = sorted(types.items(), key=lambda count: (-count[1], count[0]))
    listed, rest = dict(ranked[:MAX_LISTED_TYPES]), ranked[MAX_LISTED_TYPES:]
    if rest:
        listed[f"({len(rest):,} more types)"] = sum(events for _, events in rest)
    absent = [asked for asked in options.event_types if asked not in types]
    if absent and len(absent) == len(options.event_types):
        raise DataError(
            f"{path}: no {options.event_type_column} is {' or '.join(map(repr, absent))}, only "
            f"{', '.join(map(repr, listed))}; name those that are watches with --event-type"
        )
    note = _no_event(absent) if options.event_types else _no_watches([name for name, _ in ranked])
    return EventTypesCard(column=options.event_type_column, events=listed, note=note)


def _unread(column: str) -> str:
    return (
        f"if {column} holds types of events, all of them count as watches; say --event-type-column {column}"
    )


def _no_event(absent: list[str]) -> str | None:
    return f"no event is of type {' or '.join(map(repr, absent))}" if absent else None


def _no_watches(types: list[str]) -> str | None:
    found = [name for name in types if _NO_WATCH.search(name.lower())]
    if not found:
        return None
    return f"{', '.join(found[:MAX_LISTED_TYPES])} count as watches; name those that are with --event-type"
