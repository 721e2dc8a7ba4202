"""The order in which a log's events are read."""

from functools import partial
from hashlib import blake2b
from pathlib import Path

import polars as pl

from training.data.event_log import read_event_log
from training.data.prepare_options import PrepareOptions

ITEMS = [f"item {number}" for number in range(12)]


def write(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(path)
    return path


def order_of(path: Path, user: str) -> list[str]:
    return read_event_log(path, PrepareOptions()).events.filter(user_id=user)["item_id"].to_list()


def plainly_mixed(key: int) -> int:
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
    return key ^ key >> 31


def plain_tie(user: str, item: str) -> int:
    of_user, of_item = (
        int.from_bytes(blake2b(id_.encode(), digest_size=8).digest(), "little") for id_ in (user, item)
    )
    return plainly_mixed(plainly_mixed(of_user) ^ of_item)


def test_events_of_one_instant_come_in_the_order_of_a_hash_of_their_ids(tmp_path: Path) -> None:
    rows = [(user, item, instant) for user in ("7", "ü") for instant in (2, 1) for item in ITEMS]
    log = write(tmp_path / "log.csv", rows)
    for user in ("7", "ü"):
        hashed = sorted(ITEMS, key=partial(plain_tie, user))
        assert order_of(log, user) == 2 * hashed


def test_the_order_of_a_user_depends_on_nothing_else_in_the_log(tmp_path: Path) -> None:
    alone = [("z", "another", 1), *(("u", item, 5) for item in ITEMS)]
    among = [("a", "item 0", 5), *reversed(alone), ("u", "item 00", 4)]
    expected = order_of(write(tmp_path / "alone.csv", alone), "u")
    assert order_of(write(tmp_path / "among.csv", among), "u") == ["item 00", *expected]


def test_the_newest_events_of_everybody_are_cut_oldest_first(tmp_path: Path) -> None:
    rows = [("b", "x", 3), ("a", "x", 1), ("b", "y", 1), ("b", "z", 2)]
    newest = read_event_log(write(tmp_path / "log.csv", rows), PrepareOptions()).newest(2)
    assert newest.rows() == [("a", ["x"], [1]), ("b", ["z", "x"], [2, 3])]
