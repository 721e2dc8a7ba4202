"""Columns that something has changed on the way, and columns that nobody asked for."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.data.reading.test_files import HEADER, card_of, refusal, users_of, written


def json_log(path: Path, *members: str, **shared: object) -> Path:
    """A log in JSON Lines with one event for each of `members`, given as JSON."""
    lines = [
        f'{{{member}, "item_id": "x{at}", "timestamp": {at}, "shared": {json.dumps(shared)}}}'
        for at, member in enumerate(members)
    ]
    return written(path / "log.jsonl", "\n".join([*lines, ""]))


def csv_log(path: Path, *users: str) -> Path:
    return written(
        path / "log.csv", "\n".join([HEADER, *(f"{user},x{at},{at}" for at, user in enumerate(users))])
    )


def parquet_log(path: Path, **columns: object) -> Path:
    rows = {"user_id": ["a"] * 3, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}
    pq.write_table(pa.table(rows | columns), path / "log.parquet")
    return path / "log.parquet"


class TestNumbersAsIds:
    @pytest.mark.parametrize("number", ["7.0", "1.5", "1e3", "9007199254740993.0", "1E+2"])
    def test_a_json_number_with_a_fraction_or_an_exponent_is_none(self, tmp_path: Path, number: str) -> None:
        log = json_log(tmp_path, *['"user_id": "a"'] * 3, f'"user_id": {number}')
        assert "line 4 has a user_id that is a number but no whole one; 7.0 is not" in refusal(log)

    def test_few_are_dropped_by_that_reason(self, tmp_path: Path) -> None:
        log = json_log(tmp_path, *['"user_id": "a"'] * 1500, '"user_id": 7.5')
        (drop,) = card_of(log).dropped
        assert drop.reason == "has a user_id that is a number but no whole one"

    def test_whole_numbers_and_text_of_that_form_are_ids(self, tmp_path: Path) -> None:
        log = json_log(tmp_path, *['"user_id": 9007199254740993'] * 3, *['"user_id": "1.5"'] * 3)
        assert users_of(log) == ["1.5", "9007199254740993"]

    @pytest.mark.parametrize(
        "users",
        [
            ("1.0", "2.0", "anon", "3.0"),
            ("1.", "2.", "3."),
            ('"1,0"', '"2,0"', '"3,0"'),
            ('"1,23457E+17"', '"1,23458E+17"', '"1,23459E+17"'),
            ("1.0", "-1", "2.0"),
        ],
    )
    def test_a_column_that_has_become_floats_is_refused(self, tmp_path: Path, users: tuple[str, ...]) -> None:
        assert "7.0 is not the id 7; cast it" in refusal(csv_log(tmp_path, *users))

    @pytest.mark.parametrize(
        "users", [("1.0", "1.1", "2.0"), ("u1", "u2", "u1", "u2", "7.0"), ("1e1", "1e2", "1e3")]
    )
    def test_others_are_ids_as_they_stand(self, tmp_path: Path, users: tuple[str, ...]) -> None:
        assert users_of(csv_log(tmp_path, *sorted(users * 3))) == sorted(set(users))


class TestQuotedIds:
    @pytest.mark.parametrize("spelling", ["'{}'", "b'{}'", '="{}"'])
    def test_are_refused_where_all_are(self, tmp_path: Path, spelling: str) -> None:
        users = [spelling.format(user) for user in "abc"]
        assert f"holds {users[0]} and the like, with the quotes; write" in refusal(csv_log(tmp_path, *users))

    def test_in_parquet_and_json_too(self, tmp_path: Path) -> None:
        assert "with the quotes" in refusal(parquet_log(tmp_path, user_id=['"a"', '"b"', '"c"']))
        assert "with the quotes" in refusal(
            json_log(tmp_path, *[f'"user_id": "\'{user}\'"' for user in "abc"])
        )

    def test_some_are_ids_as_they_stand(self, tmp_path: Path) -> None:
        assert users_of(csv_log(tmp_path, *["'a'"] * 3, *["b"] * 3)) == ["'a'", "b"]

    def test_all_are_where_quotes_are_said_to_be_literal(self, tmp_path: Path) -> None:
        assert users_of(csv_log(tmp_path, *['"a"'] * 3), quote="none") == ['"a"']


class TestColumnsNobodyAskedFor:
    @pytest.mark.parametrize(
        "kinds",
        [
            pa.array([["a"], [], None]),
            pa.array([{"a": 1}] * 3),
            pa.array([1] * 3).cast(pa.duration("s")),
            pa.array([True, None, False]),
            pa.array([1.5, None, 2]),
        ],
    )
    def test_types_of_events_in_parquet_cost_nothing(self, tmp_path: Path, kinds: pa.Array) -> None:
        assert card_of(parquet_log(tmp_path, event_type=kinds)).events == 3

    def test_nor_do_they_where_two_files_differ(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        one = parquet_log(tmp_path / "one", event_type=["watch"] * 3)
        two = parquet_log(tmp_path / "two", event_type=[1.5] * 3, timestamp=[4, 5, 6])
        card = card_of(one, two)
        assert (card.events, card.ignored_columns) == (6, ["event_type"])

    @pytest.mark.parametrize("kind", ["true", '["a"]', '{"a": 1}', "null", "1.5", '"\\ud800"'])
    def test_types_of_events_in_json_cost_nothing(self, tmp_path: Path, kind: str) -> None:
        log = json_log(tmp_path, *[f'"user_id": "a", "event_type": {kind}'] * 3)
        assert card_of(log).events == 3

    @pytest.mark.parametrize("kind", [b"caf\xe9", b'27" TV', b'"a"'])
    def test_nor_in_text(self, tmp_path: Path, kind: bytes) -> None:
        rows = [b'a,x%d,%d,%s,a 27" b' % (at, at, kind) for at in range(3)]
        log = written(
            tmp_path / "log.csv", b"\n".join([b"user_id,item_id,timestamp,event_type,title", *rows])
        )
        assert card_of(log).events == 3

    def test_but_asked_for_they_must_be_readable(self, tmp_path: Path) -> None:
        log = parquet_log(tmp_path, event_type=pa.array([["a"]] * 3))
        assert "'event_type' is" in refusal(log, event_types=["a"])

    def test_a_byte_that_is_no_utf_8_costs_nothing_where_nobody_looks(self, tmp_path: Path) -> None:
        log = json_log(tmp_path, *['"user_id": "a", "title": "?"'] * 3)
        content = log.read_bytes()
        assert card_of(written(log, content.replace(b"?", b"\xe9"))).events == 3
        said = refusal(written(log, content.replace(b'"a"', b'"\xe9"')))
        assert "line 1: user_id is not UTF-8 text; convert it" in said

    def test_a_member_named_twice_costs_only_where_it_is_read(self, tmp_path: Path) -> None:
        log = json_log(tmp_path, *['"user_id": "a", "title": 1, "title": 2'] * 3)
        assert card_of(log).events == 3
        log = json_log(tmp_path, *['"user_id": "a", "user_id": "b"'] * 3)
        assert "line 1 names user_id twice in one object; name it once" in refusal(log)


class TestTypesOfEvents:
    def test_that_no_event_has_are_refused_with_those_that_there_are(self, tmp_path: Path) -> None:
        log = parquet_log(tmp_path, event_type=["View", "View", "Skip"])
        said = refusal(log, event_types=["view"])
        assert "no event_type is 'view', only 'View', 'Skip'; name" in said

    def test_one_of_several_that_no_event_has_is_noted(self, tmp_path: Path) -> None:
        log = parquet_log(tmp_path, event_type=["watch", " watch", "watch"])
        card = card_of(log, event_types=["watch", "lke"])
        assert card.event_types is not None
        assert (card.event_types.events, card.event_types.note) == ({"watch": 3}, "no event is of type 'lke'")
