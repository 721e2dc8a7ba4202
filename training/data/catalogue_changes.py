"""Changes of the catalogue in service: items that were removed, and the newest descriptions of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from index.attribute_columns import ARROW, from_arrow, to_arrow
from index.attributes import NO_ATTRIBUTES, Attributes, AttributeType, AttributeValue, stored
from index.catalogue import Catalogue
from index.errors import AttributeValueError
from training.data.data_card import CatalogueCard, Dropped
from training.data.event_log import EventLog
from training.errors import DataError

REMOVED = "the item was removed from the catalogue"


class Described(NamedTuple):
    """The newest that is said of an item."""

    title: str | None
    categories: tuple[str, ...]
    attributes: Mapping[str, AttributeValue] = NO_ATTRIBUTES


@dataclass(frozen=True)
class CatalogueChanges:
    """The changes that an export of the service's log holds."""

    files: list[str]
    sequence: int
    """Of the last change."""
    removed: frozenset[str]
    described: Mapping[str, Described]
    """Items that are not removed, by id."""

    def without_removed(self, log: EventLog) -> EventLog:
        """A log without the events of removed items, which are counted among what was dropped.

        Raises DataError where none is left.
        """
        gone = pl.col("item_id").is_in(list(self.removed))
        lost = log.events.filter(gone)
        if lost.is_empty():
            return log
        if lost.height == log.events.height:
            raise DataError(f"{log.table.name} has no event of an item that is not removed: give a newer log")
        left_out = log.left_out
        if "origin" in lost.columns:
            left_out = pl.concat([left_out, lost.select("origin", reason=pl.lit(REMOVED))])
        drop = Dropped(reason=REMOVED, events=lost.height, items=lost["item_id"].n_unique())
        return replace(log, events=log.events.filter(~gone), dropped=[*log.dropped, drop], left_out=left_out)

    def describe(self, catalogue: Catalogue) -> tuple[Catalogue, int]:
        """The catalogue with the newest descriptions, and the number of items with other names.

        An attribute that the catalogue does not have, or has of another type, is left out.
        """
        titles, categories = list(catalogue.titles), list(catalogue.categories)
        described = [
            (line, self.described[item_id])
            for line, item_id in enumerate(catalogue.item_ids)
            if item_id in self.described
        ]
        renamed = 0
        for line, now in described:
            renamed += (titles[line], categories[line]) != (now.title, now.categories)
            titles[line], categories[line] = now.title, now.categories
        attributes = _with_newest(catalogue.attributes, len(catalogue), described)
        return Catalogue(catalogue.item_ids, titles, categories, catalogue.popularity, attributes), renamed

    def card(self, log: EventLog, renamed: int) -> CatalogueCard:
        """The account of what came of them; `log`: as `without_removed` made it."""
        removed = sum(drop.items or 0 for drop in log.dropped if drop.reason == REMOVED)
        return CatalogueCard(files=self.files, sequence=self.sequence, removed=removed, renamed=renamed)


def _with_newest(
    attributes: Attributes, items: int, described: Sequence[tuple[int, Described]]
) -> Attributes:
    """The attributes with those of the items at these lines replaced."""
    chosen = np.arange(items)
    chosen[[line for line, _ in described]] = np.arange(items, items + len(described))
    columns = {}
    for name, known in to_arrow(attributes).items():
        kind = attributes.schema[name]
        newest = pa.array([_plain(kind, one.attributes.get(name)) for _, one in described], ARROW[kind])
        columns[name] = kind, pa.concat_arrays([known.cast(ARROW[kind]), newest]).take(pa.array(chosen))
    return from_arrow(items, columns)


def _plain(kind: AttributeType, value: AttributeValue | None) -> object:
    """A value for a column of this type that anybody reads; None where it is none of it."""
    try:
        match kind, stored(kind, value):
            case "date", float(moment):
                return int(moment)
            case "boolean", (word,):
                return word == "true"
            case "text", (word,):
                return word
            case _, found:
                return found
    except AttributeValueError:
        return None
