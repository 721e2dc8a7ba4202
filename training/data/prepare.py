"""From an event log to prepared data: `dimerec prepare`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from files.atomic import replacing
from index.attribute_columns import from_arrow
from index.attributes import AttributeType
from index.catalogue import Catalogue
from training.data.attribute_values import PREFIX
from training.data.catalogue_changes import CatalogueChanges
from training.data.data_card import CARD_FILE, CatalogueCard, DataCard, Dropped, ItemsFileCard
from training.data.dataset import WINDOWS, Dataset, TimestampUnit, write_dataset
from training.data.event_log import EventLog, open_event_log
from training.data.items_file import ItemsFile, open_items_file
from training.data.prepare_options import PrepareOptions
from training.data.reading.sources import Paths
from training.data.reading.table import Table
from training.data.rejects import check_rejects, refuse_sources, write_rejects
from training.errors import ConfigError, DataError

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1.0}


def prepare(
    events: Paths,
    items: Paths | None,
    out: Path,
    options: PrepareOptions | None = None,
    *,
    rejects: Path | None = None,
    check: bool = False,
    changes: CatalogueChanges | None = None,
    now_ms: int | None = None,
) -> DataCard:
    """Turn an event log and optional items files into sequences and an item table in the directory `out`.

    Writes `sequences.parquet`, `items.parquet` and `card.json`, each atomically; with `check` none of them.
    The same events give the same files in whatever order their rows come. Items without events do not enter
    the catalogue: a row of the item table that was never trained cannot be ranked. `rejects`: a file for the
    records that are left out. `changes`: items that they remove do not enter, and the others are described as
    they say. `now_ms`: the moment that times are judged by, by default that of the system's
    clock. Raises DataError if the input cannot be used.
    """
    options = options or PrepareOptions()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name a directory to write to")
    if options.attributes and not items:
        raise ConfigError("--attribute names a column of an items file: name that with --items, too")
    if rejects is not None:
        check_rejects(rejects)
    with ExitStack() as opened:
        log = opened.enter_context(open_event_log(events, options, now_ms, origins=rejects is not None))
        listed = opened.enter_context(open_items_file(items, options)) if items else None
        if rejects is not None:
            refuse_sources(rejects, [log.table, *([listed.table] if listed else [])])
        if changes is not None:
            log = changes.without_removed(log)
        coded = _coded(log.events)
        core = _dense_core(coded, options)
        if not len(core.kept):
            raise DataError(
                f"{log.table.name}: no user has {options.min_events} events left after cleaning; "
                "give a longer log or lower --min-events and --min-item-events"
            )
        dataset = _arranged(coded, core.kept, listed, log.timestamp_unit, options)
        items_card = _items_file_card(listed, coded, dataset.catalogue, options.attributes)
        dataset, catalogue_card = _described(dataset, changes, log)
        card = _card(dataset, log, core.dropped, items_card, options, catalogue_card)
        if not check:
            write_dataset(dataset, out)
            with replacing(out / CARD_FILE) as temporary:
                temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if rejects is not None:
            write_rejects(rejects, _left_out(log, core, listed))
    return card


@dataclass(frozen=True)
class _Coded:
    """Events with numbers for ids, in the order of the log; all arrays `(events,)`."""

    user_ids: pl.Series
    """Sorted; a user's number is its index here."""
    item_ids: pl.Series
    users: npt.NDArray[np.uint32]
    items: npt.NDArray[np.uint32]
    timestamps: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int8] | None


def _coded(events: pl.DataFrame) -> _Coded:
    columns, ids = [pl.col("timestamp")], {}
    if "window" in events.columns:
        code = {name: index for index, name in enumerate(WINDOWS)}
        columns.append(pl.col("window").replace_strict(code, return_dtype=pl.Int8))
    for name in ("user_id", "item_id"):
        ids[name] = events.select(pl.col(name).unique().sort())
        numbered = ids[name].with_row_index(f"{name}_number")
        events = events.join(numbered, on=name, maintain_order="left")
    numbers = events.select(*columns, "user_id_number", "item_id_number")
    return _Coded(
        user_ids=ids["user_id"]["user_id"],
        item_ids=ids["item_id"]["item_id"],
        users=numbers["user_id_number"].to_numpy(),
        items=numbers["item_id_number"].to_numpy(),
        timestamps=numbers["timestamp"].to_numpy(),
        windows=numbers["window"].to_numpy() if "window" in numbers.columns else None,
    )


@dataclass(frozen=True)
class _Core:
    """The events that stay once short users and rare items are out (the k-core of both)."""

    kept: npt.NDArray[np.int64]
    """Positions in the log."""
    dropped: list[Dropped]
    positions: list[npt.NDArray[np.int64]]
    """Of what each of `dropped` says."""


def _dense_core(coded: _Coded, options: PrepareOptions) -> _Core:
    kept = np.arange(len(coded.users))
    limits = {"users": (coded.users, options.min_events), "items": (coded.items, options.min_item_events)}
    lost: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in limits}
    lost_ids = Counter[str]()
    before = None
    while len(kept) != before:
        before = len(kept)
        for name, (numbers, least) in limits.items():
            counts = np.bincount(numbers[kept])
            enough = counts[numbers[kept]] >= least
            lost[name].append(kept[~enough])
            lost_ids[name] += int(np.count_nonzero((counts > 0) & (counts < least)))
            kept = kept[enough]
    positions = {name: np.concatenate(parts) for name, parts in lost.items()}
    dropped = [
        Dropped(
            reason=f"{name[:-1]} has fewer than {least} events",
            events=len(positions[name]),
            **{name: lost_ids[name]},
        )
        for name, (_, least) in limits.items()
        if len(positions[name])
    ]
    return _Core(kept, dropped, [some for some in positions.values() if len(some)])


def _left_out(log: EventLog, core: _Core, listed: ItemsFile | None) -> Iterator[tuple[Table, pl.DataFrame]]:
    """The origin and the reason of all records that are in no sequence and in no catalogue."""
    of_core = [
        log.events.select(pl.col("origin").gather(positions), reason=pl.lit(drop.reason))
        for drop, positions in zip(core.dropped, core.positions, strict=True)
    ]
    yield log.table, pl.concat([log.left_out, *of_core])
    if listed is not None:
        yield listed.table, listed.left_out


def _arranged(
    coded: _Coded,
    kept: npt.NDArray[np.int64],
    listed: ItemsFile | None,
    unit: TimestampUnit,
    options: PrepareOptions,
) -> Dataset:
    """The kept events by user and time; items by descending popularity, equally popular ones by id."""
    popularity, lengths = np.bincount(coded.items[kept]), np.bincount(coded.users[kept])
    by_popularity = np.lexsort((np.arange(len(popularity)), -popularity))[: np.count_nonzero(popularity)]
    row_of = np.zeros(len(popularity), np.int32)
    row_of[by_popularity] = np.arange(1, len(by_popularity) + 1)
    user, row = coded.users[kept], row_of[coded.items[kept]]
    order = np.argsort(user, kind="stable")
    present = np.flatnonzero(lengths)
    return Dataset(
        user_ids=coded.user_ids.gather(present).to_list(),
        items=row[order],
        timestamps=coded.timestamps[kept][order],
        offsets=np.concatenate([[0], np.cumsum(lengths[present])]),
        catalogue=_catalogue(
            coded.item_ids.gather(by_popularity), popularity[by_popularity], listed, options.attributes
        ),
        timestamp_unit=unit,
        windows=None if coded.windows is None else coded.windows[kept][order],
    )


def _catalogue(
    item_ids: pl.Series,
    popularity: npt.NDArray[np.int64],
    listed: ItemsFile | None,
    types: Mapping[str, AttributeType],
) -> Catalogue:
    if listed is None:
        return Catalogue(item_ids.to_list(), [None] * len(item_ids), [()] * len(item_ids), popularity)
    items = item_ids.to_frame().join(listed.items, on="item_id", how="left", maintain_order="left")
    titles, categories = items["title"].to_list(), items["categories"].fill_null([]).to_list()
    columns = {name: (kind, items[PREFIX + name].to_arrow()) for name, kind in types.items()}
    attributes = from_arrow(len(items), columns)
    return Catalogue(item_ids.to_list(), titles, categories, popularity, attributes)


def _described(
    dataset: Dataset, changes: CatalogueChanges | None, log: EventLog
) -> tuple[Dataset, CatalogueCard | None]:
    """The data with the newest descriptions of its items, and the account of all changes."""
    if changes is None:
        return dataset, None
    catalogue, renamed = changes.describe(dataset.catalogue)
    described = replace(dataset, catalogue=catalogue, catalogue_sequence=changes.sequence)
    return described, changes.card(log, renamed)


def _card(
    dataset: Dataset,
    log: EventLog,
    dropped: list[Dropped],
    items_file: ItemsFileCard | None,
    options: PrepareOptions,
    changed: CatalogueCard | None,
) -> DataCard:
    catalogue = dataset.catalogue
    users = np.repeat(np.arange(len(dataset)), np.diff(dataset.offsets))
    pairs = np.sort(users * (len(catalogue) + 1) + dataset.items)
    dropped = [*log.dropped, *dropped]
    log.table.balance(len(dataset.items), sum(drop.events for drop in dropped))
    return DataCard(
        events_files=log.table.files,
        rows=log.table.records,
        options=options,
        event_types=log.event_types,
        users=len(dataset),
        items=len(catalogue),
        events=len(dataset.items),
        repeats=int(np.count_nonzero(pairs[1:] == pairs[:-1])),
        lengths=_quantiles(np.diff(dataset.offsets)),
        popularity=_quantiles(catalogue.popularity),
        timestamp_unit=dataset.timestamp_unit,
        first_timestamp=int(dataset.timestamps.min()),
        last_timestamp=int(dataset.timestamps.max()),
        categories=len(catalogue.category_names),
        items_without_title=sum(title is None for title in catalogue.titles),
        items_without_category=sum(not names for names in catalogue.categories),
        dropped=dropped,
        ignored_columns=log.ignored_columns,
        items_file=items_file,
        catalogue=changed,
        fingerprint=dataset.fingerprint,
    )


def _items_file_card(
    listed: ItemsFile | None, coded: _Coded, catalogue: Catalogue, attributes: Iterable[str]
) -> ItemsFileCard | None:
    if listed is None:
        return None
    known = set(listed.items["item_id"])
    unread = sum(drop.events for drop in listed.unread)
    listed.table.balance(len(known), listed.repeated + listed.without_id + unread)
    return ItemsFileCard(
        files=listed.table.files,
        rows=listed.table.records,
        listed=len(known),
        repeated=listed.repeated,
        without_id=listed.without_id,
        unread=listed.unread,
        without_events=len(known.difference(coded.item_ids)),
        unlisted=sum(item_id not in known for item_id in catalogue.item_ids),
        odd_titles=listed.odd_titles,
        category_forms=listed.category_forms,
        ignored_columns=listed.ignored_columns,
        attributes={name: listed.items[PREFIX + name].drop_nulls().len() for name in attributes},
    )


def _quantiles(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    values = np.quantile(counts, list(_QUANTILES.values()), method="lower")
    return {name: int(value) for name, value in zip(_QUANTILES, values, strict=True)}
