"""From an event log to prepared data: `dimerec prepare`."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from index.atomic import replacing
from index.catalogue import Catalogue
from training.data_card import DataCard, Dropped, ItemsFileCard
from training.dataset import WINDOWS, Dataset, write_dataset
from training.errors import DataError
from training.event_log import EventLog, read_event_log
from training.items_file import ItemsFile, read_items_file
from training.prepare_options import PrepareOptions

CARD_FILE = "card.json"

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1.0}


def prepare(events: Path, items: Path | None, out: Path, options: PrepareOptions | None = None) -> DataCard:
    """Turn an event log and an optional items file into sequences and an item table in the directory `out`.

    Writes `sequences.parquet`, `items.parquet` and `card.json`, each atomically. The same events give the
    same files in whatever order their rows come. Items without events do not enter the catalogue: a row of
    the item table that was never trained cannot be ranked. Raises DataError if the input cannot be used.
    """
    options = options or PrepareOptions()
    log = read_event_log(events, options)
    listed = None if items is None else read_items_file(items, options)
    kept, dropped = _dense_core(log.events, options)
    if kept.is_empty():
        raise DataError(
            f"{events}: no user has {options.min_events} events left after cleaning; "
            "give a longer log or lower --min-events and --min-item-events"
        )
    catalogue = _catalogue(kept, listed)
    dataset = _arranged(kept, catalogue, log)
    write_dataset(dataset, out)
    card = _card(dataset, events, log, dropped, _items_file_card(items, listed, log, catalogue))
    with replacing(out / CARD_FILE) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def _dense_core(events: pl.DataFrame, options: PrepareOptions) -> tuple[pl.DataFrame, list[Dropped]]:
    """Leave out short users and rare items until neither is left (the k-core of users and items)."""
    limits = {"user_id": options.min_events, "item_id": options.min_item_events}
    lost_events, lost_ids = Counter[str](), Counter[str]()
    before = None
    while events.height != before:
        before = events.height
        for column, least in limits.items():
            kept = events.filter(pl.len().over(column) >= least)
            lost_events[column] += events.height - kept.height
            lost_ids[column] += events[column].n_unique() - kept[column].n_unique()
            events = kept
    dropped = [
        Dropped(
            reason=f"{counted[:-1]} has fewer than {limits[column]} events",
            events=lost_events[column],
            **{counted: lost_ids[column]},
        )
        for column, counted in (("user_id", "users"), ("item_id", "items"))
        if lost_events[column]
    ]
    return events, dropped


def _catalogue(events: pl.DataFrame, listed: ItemsFile | None) -> Catalogue:
    """The items with events, the most popular first, equally popular ones by id."""
    items = events.group_by("item_id").len().sort(["len", "item_id"], descending=[True, False])
    item_ids, popularity = items["item_id"].to_list(), items["len"].to_numpy()
    if listed is None:
        return Catalogue(item_ids, [None] * len(item_ids), [()] * len(item_ids), popularity)
    items = items.join(listed.items, on="item_id", how="left", maintain_order="left")
    return Catalogue(
        item_ids, items["title"].to_list(), items["categories"].fill_null([]).to_list(), popularity
    )


def _arranged(events: pl.DataFrame, catalogue: Catalogue, log: EventLog) -> Dataset:
    """Sort the events by user and time; a user's events of the same instant take a fixed arbitrary order."""
    users = events.select(pl.col("user_id").unique().sort()).with_row_index("user")
    rows = pl.DataFrame({"item_id": catalogue.item_ids, "row": np.arange(1, len(catalogue) + 1)})
    coded = events.join(users, on="user_id").join(rows, on="item_id")
    user, row, timestamp = (coded[column].to_numpy() for column in ("user", "row", "timestamp"))
    order = np.lexsort((_tie_breakers(user, row), timestamp, user))
    windows = None
    if "window" in coded.columns:
        code = {name: place for place, name in enumerate(WINDOWS)}
        windows = coded["window"].replace_strict(code, return_dtype=pl.Int8).to_numpy()[order]
    return Dataset(
        user_ids=users["user_id"].to_list(),
        items=row[order].astype(np.int32),
        timestamps=timestamp[order],
        offsets=np.searchsorted(user[order], np.arange(len(users) + 1)).astype(np.int64),
        catalogue=catalogue,
        timestamp_unit=log.timestamp_unit,
        windows=windows,
    )


def _tie_breakers(users: npt.NDArray[np.integer], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """A hash of user and item, which orders events of one user at one instant.

    The order of rows in the file cannot, or the result would depend on it; nor can the item's row or id,
    which would teach a model that within an instant popular items come first.
    """
    keys = users.astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)
    # The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


def _card(
    dataset: Dataset, events: Path, log: EventLog, dropped: list[Dropped], items_file: ItemsFileCard | None
) -> DataCard:
    catalogue = dataset.catalogue
    users = np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))
    pairs = np.unique(users * (len(catalogue) + 1) + dataset.items)
    return DataCard(
        events_file=events.name,
        rows=log.rows,
        users=len(dataset),
        items=len(catalogue),
        events=len(dataset.items),
        repeats=len(dataset.items) - len(pairs),
        lengths=_quantiles(np.diff(dataset.offsets)),
        popularity=_quantiles(catalogue.popularity),
        timestamp_unit=dataset.timestamp_unit,
        first_timestamp=int(dataset.timestamps.min()),
        last_timestamp=int(dataset.timestamps.max()),
        categories=len(catalogue.category_names),
        items_without_title=sum(title is None for title in catalogue.titles),
        items_without_category=sum(not names for names in catalogue.categories),
        dropped=[*log.dropped, *dropped],
        ignored_columns=log.ignored_columns,
        items_file=items_file,
        fingerprint=dataset.fingerprint,
    )


def _items_file_card(
    path: Path | None, listed: ItemsFile | None, log: EventLog, catalogue: Catalogue
) -> ItemsFileCard | None:
    if path is None or listed is None:
        return None
    known = set(listed.items["item_id"])
    return ItemsFileCard(
        file=path.name,
        listed=len(known),
        repeated=listed.repeated,
        without_id=listed.without_id,
        without_events=len(known - set(log.events["item_id"])),
        unlisted=sum(item_id not in known for item_id in catalogue.item_ids),
        ignored_columns=listed.ignored_columns,
    )


def _quantiles(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    values = np.quantile(counts, list(_QUANTILES.values()), method="lower")
    return {name: int(value) for name, value in zip(_QUANTILES, values, strict=True)}
