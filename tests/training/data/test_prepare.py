import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.ids import MISSING_WORDS
from training.data.data_card import DataCard, read_card
from training.data.dataset import Dataset, read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.data.splits import by_window

SECONDS = 1_700_000_000

Rows = list[tuple[Any, ...]]
"""A user id, an item id and a time, and whatever else the header names."""

# Users a and b have three events, c two; x is watched twice by a.
LOG: Rows = [
    ("a", "x", 30),
    ("b", "y", 20),
    ("a", "y", 10),
    ("a", "x", 20),
    ("b", "x", 10),
    ("c", "x", 1),
    ("b", "z", 30),
    ("c", "z", 2),
]
PREPARED = {"a": ["y", "x", "x"], "b": ["x", "y", "z"]}


def write_csv(path: Path, rows: Rows, header: str = "user_id,item_id,timestamp") -> Path:
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    return {
        user_id: [dataset.catalogue.item_id(int(row)) for row in dataset.history(user)]
        for user, user_id in enumerate(dataset.user_ids)
    }


def prepared(events: Path, items: Path | None = None, **options: Any) -> tuple[DataCard, Dataset]:
    out = events.parent / "prepared"
    card = prepare(events, items, out, PrepareOptions.model_validate(options))
    return card, read_dataset(out)


def dropped(card: DataCard) -> dict[str, int]:
    return {drop.reason: drop.events for drop in card.dropped}


def test_events_become_sequences_oldest_first(tmp_path: Path) -> None:
    card, dataset = prepared(write_csv(tmp_path / "log.csv", LOG))
    assert sequences(dataset) == PREPARED
    assert dataset.catalogue.item_ids == ("x", "y", "z")
    assert dataset.catalogue.popularity.tolist() == [3, 2, 1]
    assert (card.rows, card.users, card.items, card.events, card.repeats) == (8, 2, 3, 6, 1)
    assert [drop.model_dump() for drop in card.dropped] == [
        {"reason": "user has fewer than 3 events", "events": 2, "users": 1, "items": None}
    ]
    assert read_card(tmp_path / "prepared") == card


def as_parquet(path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(path)


def as_gzip(path: Path, frame: pl.DataFrame) -> None:
    path.write_bytes(gzip.compress(frame.write_csv().encode()))


def as_tsv(path: Path, frame: pl.DataFrame) -> None:
    frame.write_csv(path, separator="\t")


def as_windows_csv(path: Path, frame: pl.DataFrame) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + frame.write_csv(separator=";").replace("\n", "\r\n").encode())


@pytest.mark.parametrize("write", [as_parquet, as_gzip, as_tsv, as_windows_csv])
def test_every_format_gives_the_same(tmp_path: Path, write: Callable[[Path, pl.DataFrame], None]) -> None:
    expected, _ = prepared(write_csv(tmp_path / "log.csv", LOG))
    write(tmp_path / "log", pl.DataFrame(LOG, ["user_id", "item_id", "timestamp"], orient="row"))
    card, _ = prepared(tmp_path / "log")
    assert card.fingerprint == expected.fingerprint


def test_ids_are_strings_whatever_they_were(tmp_path: Path) -> None:
    rows = [(7, 1, 1), (7, 2, 2), (7, 30, 3)]
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_parquet(tmp_path / "log")
    assert sequences(prepared(tmp_path / "log")[1]) == {"7": ["1", "2", "30"]}
    write_csv(tmp_path / "log.csv", [("007", "1", 1), ("007", "02", 2), ("007", "3.5", 3)])
    assert sequences(prepared(tmp_path / "log.csv")[1]) == {"007": ["1", "02", "3.5"]}


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ([1, 2, 3], "order", [1, 2, 3]),
        (
            [SECONDS, SECONDS + 1, SECONDS + 2.5],
            "s",
            [1e3 * SECONDS, 1e3 * SECONDS + 1000, 1e3 * SECONDS + 2500],
        ),
        ([1e3 * SECONDS, 1e3 * SECONDS + 1, 1e3 * SECONDS + 2], "ms", [1e3 * SECONDS + i for i in range(3)]),
    ],
)
def test_the_unit_of_time_is_told_by_magnitude(
    tmp_path: Path, times: list[float], unit: str, expected: list[float]
) -> None:
    card, dataset = prepared(write_csv(tmp_path / "log.csv", [("a", f"i{t}", t) for t in times]))
    assert card.timestamp_unit == dataset.timestamp_unit == unit
    assert dataset.timestamps.tolist() == expected


def test_the_unit_of_time_can_be_given(tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", [("a", item, SECONDS + n) for n, item in enumerate("xyz")])
    for unit, factor in (("s", 1000), ("order", 1), ("auto", 1000)):
        card, dataset = prepared(log, timestamp_unit=unit)
        assert dataset.timestamps.tolist() == [(SECONDS + n) * factor for n in range(3)]
        assert card.options.timestamp_unit == unit


def test_date_times_need_no_unit(tmp_path: Path) -> None:
    times = [datetime(2024, 5, day, tzinfo=UTC) for day in (3, 1, 2)]
    frame = pl.DataFrame({"user_id": ["a"] * 3, "item_id": ["x", "y", "z"], "timestamp": times})
    frame.write_parquet(tmp_path / "log")
    card, dataset = prepared(tmp_path / "log")
    assert sequences(dataset) == {"a": ["y", "z", "x"]}
    assert (card.timestamp_unit, dataset.timestamps[0]) == ("ms", times[1].timestamp() * 1000)


def test_unusable_rows_are_counted_by_reason(tmp_path: Path) -> None:
    rows: Rows = [
        *LOG,
        (None, "x", 5),
        ("a", None, 5),
        ("a", "x", None),
        ("a", "x", "yesterday"),
        ("a", "x", "nan"),
        ("a", "x", "1e30"),
        ("a" * 129, "x", 5),
        ("a", "y" * 129, 5),
        ("a\x01b", "x", 5),
        ("a", "y\x9f", 5),
        ("a", "y\t" * 65, 5),
        ("a", "y", 10),
        ("a", "y", 10),
    ]
    card, dataset = prepared(write_csv(tmp_path / "log.csv", rows), timestamp_unit="order")
    assert sequences(dataset) == PREPARED
    assert dropped(card) == {
        "user_id is missing": 1,
        "item_id is missing": 1,
        "user_id is longer than 128 characters": 1,
        "item_id is longer than 128 characters": 2,
        "user_id has control characters": 1,
        "item_id has control characters": 1,
        "timestamp is missing": 2,
        "timestamp is neither a number nor an ISO 8601 date-time, e.g. 'yesterday'": 1,
        "timestamp is out of range": 1,
        "repeats an event (same user, item and timestamp)": 2,
        "user has fewer than 3 events": 2,
    }
    assert card.rows == card.events + sum(dropped(card).values())


@pytest.mark.parametrize("word", [*MISSING_WORDS, " NULL ", "\u3000"])
def test_words_for_a_missing_value_are_no_ids_unless_it_is_said(tmp_path: Path, word: str) -> None:
    rows: Rows = [*LOG, (word, "x", 3), ("a", word, 5), *[("None", item, 1) for item in "xyz"]]
    log = write_csv(tmp_path / "log.csv", rows)
    card, dataset = prepared(log)
    assert sequences(dataset) == PREPARED
    assert dropped(card)["user_id is missing"] == 4
    assert dropped(card)["item_id is missing"] == 1
    told, dataset = prepared(log, missing=(word.strip(),))
    assert "None" in dataset.user_ids or word == "None"
    assert dropped(told)["item_id is missing"] == 1


def test_blanks_around_ids_are_stripped(tmp_path: Path) -> None:
    rows = [(f" {user}\u00a0", f"{item}\t", f" {time} ") for user, item, time in LOG]
    assert sequences(prepared(write_csv(tmp_path / "log.csv", rows))[1]) == PREPARED


def test_types_of_events_are_counted_and_those_that_are_no_watches_pointed_out(tmp_path: Path) -> None:
    rows: Rows = [
        (*row, kind) for row, kind in zip(LOG, ["watch"] * 4 + ["skip", "Dislike", "", "w"], strict=True)
    ]
    log = write_csv(tmp_path / "log.csv", rows, "user_id,item_id,timestamp,event_type")
    types = prepared(log)[0].event_types
    assert types is not None
    assert types.events == {"watch": 4, "(none)": 1, "Dislike": 1, "skip": 1, "w": 1}
    assert types.note == "Dislike, skip count as watches; name those that are with --event-type"
    told = prepared(log, event_types=("watch", "w", "skip"), min_events=3)[0].event_types
    assert told is not None
    assert (told.events, told.note) == (types.events, None)
    card, _ = prepared(write_csv(tmp_path / "log.csv", rows, "user_id,item_id,timestamp,action"))
    unread = card.event_types
    assert unread is not None
    assert (unread.column, unread.events) == ("action", {})
    assert "--event-type-column action" in str(unread.note)


def test_unknown_columns_are_ignored_and_reported(tmp_path: Path) -> None:
    rows: Rows = [(*row, "phone", 3, "click") for row in LOG]
    log = write_csv(tmp_path / "log.csv", rows, "user_id,item_id,timestamp,device,weight,event_type")
    card, dataset = prepared(log)
    assert sequences(dataset) == PREPARED
    assert card.ignored_columns == ["device"]


def test_events_are_kept_by_type_and_weight(tmp_path: Path) -> None:
    rows: Rows = [
        ("a", "v", 1, "watch", 5),
        ("a", "w", 2, "click", 5),
        ("a", "x", 3, "like", 4),
        ("a", "y", 4, "watch", 3.9),
        ("a", "z", 5, "watch", 4),
        ("a", "t", 6, None, 5),
        ("a", "u", 7, "like", None),
    ]
    log = write_csv(tmp_path / "log.csv", rows, "user_id,item_id,timestamp,event_type,weight")
    card, dataset = prepared(log, event_types=("watch", "like"), min_weight=4)
    assert sequences(dataset) == {"a": ["v", "x", "z"]}
    assert dropped(card) == {
        "event_type is not watch or like": 2,
        "weight is not a number": 1,
        "weight is below 4": 1,
    }


def plain_core(rows: Rows, min_events: int, min_item_events: int) -> set[tuple[object, ...]]:
    left: set[tuple[object, ...]] = set(rows)
    while True:
        users = [row[0] for row in left]
        few = {row for row in left if users.count(row[0]) < min_events}
        left -= few
        items = [row[1] for row in left]
        rare = {row for row in left if items.count(row[1]) < min_item_events}
        left -= rare
        if not few and not rare:
            return left


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 4)), min_size=1),
    st.integers(3, 4),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_the_core_is_the_plain_loop_and_the_order_of_rows_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: Rows,
    min_events: int,
    min_item_events: int,
    random: Random,
) -> None:
    expected = plain_core(rows, min_events, min_item_events)
    directory = tmp_path_factory.mktemp("prepare")
    options: dict[str, Any] = {
        "min_events": min_events,
        "min_item_events": min_item_events,
        "timestamp_unit": "order",
    }
    if not expected:
        with pytest.raises(Exception, match="events left after cleaning"):
            prepared(write_csv(directory / "log.csv", rows), **options)
        return
    card, dataset = prepared(write_csv(directory / "log.csv", rows), **options)
    found = {
        (user_id, dataset.catalogue.item_id(int(row)), int(time))
        for user, user_id in enumerate(dataset.user_ids)
        for row, time in zip(dataset.history(user), dataset.timestamps[dataset.offsets[user] :], strict=False)
    }
    assert found == expected
    assert card.rows == card.events + sum(dropped(card).values())
    files = {path.name: path.read_bytes() for path in (directory / "prepared").iterdir()}

    random.shuffle(rows)
    again, _ = prepared(write_csv(directory / "log.csv", rows), **options)
    assert again == card
    assert {path.name: path.read_bytes() for path in (directory / "prepared").iterdir()} == files


def test_events_of_one_instant_come_in_an_order_that_says_nothing(tmp_path: Path) -> None:
    users, items = [f"u{user:03}" for user in range(400)], ["a", "b", "c"]
    log = write_csv(tmp_path / "log.csv", [(u, i, 5) for u in users for i in items])
    _, dataset = prepared(log, timestamp_unit="order")
    firsts = [dataset.catalogue.item_id(int(dataset.history(user)[0])) for user in range(len(users))]
    counts = np.array([firsts.count(item) for item in items])
    assert counts.sum() == 400
    # Chi-square with 2 degrees of freedom: 13.8 is passed once in a thousand draws; this one is fixed.
    assert ((counts - 400 / 3) ** 2 / (400 / 3)).sum() < 13.8


def test_windows_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    rows: Rows = [
        ("a", "x", 1, "train"),
        ("a", "y", 2, "validation"),
        ("a", "z", 3, "test"),
        ("a", "x", 4, "later"),
    ]
    log = write_csv(tmp_path / "log.csv", rows, "user_id,item_id,timestamp,window")
    assert prepared(log)[1].windows is None
    card, dataset = prepared(log, window_column="window")
    assert dataset.windows is not None
    assert dataset.windows.tolist() == [0, 1, 2]
    assert dropped(card) == {"window is none of train, validation, test": 1}
    assert by_window(dataset).test.items.tolist() == [dataset.catalogue.row("z")]


class TestItemsFile:
    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        return write_csv(tmp_path / "log.csv", LOG)

    def test_titles_and_categories_are_found_by_id(self, log: Path) -> None:
        items = log.with_name("items.csv")
        items.write_text(
            'item_id,title,category,year\nz,"Zed, part  2",Drama|War|Drama\nx,,\ncold,Never seen,War\n'
            ",No id,War\nx,Ex,Comedy\nx,Another,Drama\nx\x01,Control character,War\n"
            f"{'x' * 129},Too long,War\n"
        )
        card, dataset = prepared(log, items)
        catalogue = dataset.catalogue
        assert catalogue.titles == ("Another", None, "Zed, part 2")
        assert catalogue.categories == (("Drama",), (), ("Drama", "War"))
        assert card.items_file is not None
        assert card.items_file.model_dump(exclude={"files"}) == {
            "rows": 8,
            "listed": 3,
            "repeated": 2,
            "without_id": 3,
            "unread": [],
            "without_events": 1,
            "unlisted": 1,
            "odd_titles": 0,
            "category_forms": {"|": 1, "one a row": 6},
            "ignored_columns": ["year"],
            "attributes": {},
        }
        assert (card.items_without_title, card.items_without_category, card.categories) == (1, 1, 2)

    @pytest.mark.parametrize(
        ("separator", "text", "expected"),
        [
            ("auto", "War film|Drama, dark", ("War film", "Drama, dark")),
            ("auto", "War film, Drama", ("War film", "Drama")),
            ("auto", "War film", ("War film",)),
            ("space", " War   film\tDrama ", ("War", "film", "Drama")),
            (";", "War;;Drama;", ("War", "Drama")),
            ("none", "War|Drama", ("War|Drama",)),
        ],
    )
    def test_categories_are_split(
        self, log: Path, separator: str, text: str, expected: tuple[str, ...]
    ) -> None:
        items = log.with_name("items.csv")
        items.write_text(f'item_id,category\nx,"{text}"\n')
        _, dataset = prepared(log, items, category_separator=separator)
        assert dataset.catalogue.category(1) == expected

    def test_categories_may_be_lists_or_numbers(self, log: Path) -> None:
        items = log.with_name("items.parquet")
        for values in ([[3, None, 5, 3], None, []], [["3", " ", "5"], None, [None]]):
            pl.DataFrame({"item_id": ["x", "y", "z"], "category": values}).write_parquet(items)
            assert prepared(log, items)[1].catalogue.categories == (("3", "5"), (), ())
        pl.DataFrame({"item_id": ["x"], "category": [12]}).write_parquet(items)
        assert prepared(log, items)[1].catalogue.category(1) == ("12",)

    def test_its_id_column_may_have_a_name_of_its_own(self, log: Path) -> None:
        items = log.with_name("items.csv")
        items.write_text("id,title\n x ,Ex\n\\N,No id\ny,Why\n")
        card, dataset = prepared(log, items, items_item_column="id")
        assert dataset.catalogue.titles == ("Ex", "Why", None)
        assert card.items_file is not None
        assert card.items_file.without_id == 1

    def test_only_nothing_is_no_title(self, log: Path) -> None:
        items = log.with_name("items.csv")
        items.write_text("item_id,title,category\nx,nan,nan\ny,\\N,Drama|None\nz, ,War\n")
        card, dataset = prepared(log, items)
        assert dataset.catalogue.titles == ("nan", None, None)
        assert dataset.catalogue.categories == ((), ("Drama",), ("War",))
        assert card.items_file is not None
        assert card.items_file.odd_titles == 1

    def test_lists_in_text_are_lists_in_every_format(self, log: Path) -> None:
        cells = {"x": "['War', 'Drama']", "y": '["War"]', "z": "['War' 'Noir']"}
        frame = pl.DataFrame({"item_id": list(cells), "category": list(cells.values())})
        frame.write_csv(log.with_name("items.csv"))
        frame.write_parquet(log.with_name("items.parquet"))
        frame.write_ndjson(log.with_name("items.jsonl"))
        log.with_name("lists.jsonl").write_text(
            '{"item_id": "x", "category": ["War", "Drama", null]}\n{"item_id": "y", "category": ["War"]}\n'
            '{"item_id": "z", "category": ["War", "Noir"]}\n'
        )
        for name in ("items.csv", "items.parquet", "items.jsonl", "lists.jsonl"):
            card, dataset = prepared(log, log.with_name(name))
            assert dataset.catalogue.categories == (("War", "Drama"), ("War",), ("War", "Noir"))
            assert card.items_file is not None
            assert card.items_file.category_forms == {"lists": 3}

    def test_the_order_of_its_rows_does_not_matter(self, log: Path) -> None:
        lines = ["x,B,War", "x,B,Drama", "y,,War", "y,Why,", "z,Zed,Drama", "x,A,"]
        fingerprints = set()
        for shift in range(len(lines)):
            items = log.with_name("items.csv")
            items.write_text("\n".join(["item_id,title,category", *lines[shift:], *lines[:shift]]))
            fingerprints.add(prepared(log, items)[0].fingerprint)
        assert len(fingerprints) == 1

    def test_it_needs_only_ids(self, log: Path) -> None:
        items = log.with_name("items.csv")
        items.write_text("item_id\nx\n")
        assert prepared(log, items)[1].catalogue.titles == (None, None, None)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    rows = {"same": LOG, "later": [*LOG, ("a", "z", 99)], "renamed": [(u, i.upper(), t) for u, i, t in LOG]}
    found = [prepared(write_csv(tmp_path / "log.csv", log))[0].fingerprint for log in rows.values()]
    assert len(set(found)) == 3
    assert all(len(fingerprint) == 64 for fingerprint in found)
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\nx,Ex\n")
    assert prepared(write_csv(tmp_path / "log.csv", LOG), items)[0].fingerprint not in found
