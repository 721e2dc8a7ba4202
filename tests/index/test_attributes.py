"""Attributes: values as callers write them, columns of them, and the files that hold them."""

from datetime import UTC, datetime, timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.added_attributes import AddedAttributes
from index.attribute_columns import ARROW, from_arrow, to_arrow
from index.attributes import MAX_ATTRIBUTES, Attributes, AttributeType, Words, shown, stored
from index.catalogue import Catalogue, Item
from index.errors import AttributeValueError, CatalogueError
from index.overlay import Overlay
from tests.factories import make_unit_vectors

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9)
DATES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
VALUES: dict[AttributeType, st.SearchStrategy[Any]] = {
    "number": st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    "date": DATES.map(lambda moment: f"{moment.isoformat(timespec='milliseconds')}Z"),
    "text": WORDS,
    "boolean": st.booleans(),
    "texts": st.lists(WORDS, min_size=1, max_size=4, unique=True),
}


@given(st.data(), st.sampled_from(list(VALUES)))
def test_a_value_is_shown_as_it_was_written(data: st.DataObject, kind: AttributeType) -> None:
    value = data.draw(VALUES[kind])
    found = shown(kind, stored(kind, value))
    assert stored(kind, found) == stored(kind, value)
    if kind == "date":
        assert datetime.fromisoformat(str(found)).replace(tzinfo=UTC) == datetime.fromisoformat(value)
    else:
        assert found == value
        assert type(found) is type(value) or kind == "number"


@given(
    st.sampled_from(["text", "texts"]),
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True), min_size=1, max_size=20),
    st.sets(st.sampled_from("abcdefghij"), max_size=10),
    st.booleans(),
)
def test_items_of_some_words_are_those_of_a_loop(
    kind: AttributeType, lists: list[list[str]], wanted: set[str], one_each: bool
) -> None:
    """Few words or many, of columns where each item has one, some lack it or have several."""
    rows = [(words or ["a"])[:1] if one_each else words[: 3 if kind == "texts" else 1] for words in lists]
    arrow = pa.array(rows if kind == "texts" else [next(iter(words), None) for words in rows], ARROW[kind])
    column = from_arrow(len(rows), {"word": (kind, arrow)}).columns["word"]
    assert isinstance(column, Words)
    found = column.among([(word,) for word in sorted(wanted)])
    assert found.tolist() == [bool(wanted.intersection(words)) for words in rows]


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01.5", 1500),
        ("1970-01-01 01:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("2024-02-29", 1_709_164_800_000),
    ],
)
def test_dates_are_moments_whatever_their_offset(written: str, milliseconds: int) -> None:
    assert stored("date", written) == milliseconds
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    moment = datetime.fromisoformat(str(shown("date", float(milliseconds))))
    assert (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("number", value) for value in (True, "1", None, float("nan"), float("inf"), 10**400, [1])),
        *(("date", value) for value in (0, "2024", "2024-W01-1", "2024-13-01", "20240101", "2024-02-30", "")),
        *(("date", value) for value in ("0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00", "٢٠٢٤-01-01")),
        *(("text", value) for value in ("", "x" * 257, "a\nb", "\ud800", 1, None, ["a"])),
        *(("boolean", value) for value in (0, 1, "true", None)),
        *(("texts", value) for value in ("a", [1], ["a"] * 65, [""], {"a": 1}, None, ["a", ["b"]])),
    ],
)
def test_what_is_none_of_the_type_is_refused(kind: AttributeType, value: object) -> None:
    with pytest.raises(AttributeValueError, match=r"^must be "):
        stored(kind, value)


@st.composite
def items_with_attributes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items' attributes, one of each type and by the type's name, each of which an item may lack."""
    row = st.fixed_dictionaries({}, optional={str(kind): values for kind, values in VALUES.items()})
    return draw(st.lists(row, max_size=8))


def arrow_of(rows: list[dict[str, Any]]) -> Attributes:
    """The attributes of the rows by way of columns that anybody reads."""
    columns = {}
    for kind, arrow in ARROW.items():
        values = [row.get(kind) for row in rows]
        if kind == "date":
            values = [None if value is None else stored("date", value) for value in values]
        array = pa.array(values, pa.float64()).cast(pa.int64()) if kind == "date" else pa.array(values, arrow)
        columns[str(kind)] = (kind, array)
    return from_arrow(len(rows), columns)


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    kinds: tuple[AttributeType, ...] = tuple(VALUES)
    return {kind: shown(kind, stored(kind, row[kind])) for kind in kinds if kind in row}


@given(items_with_attributes())
def test_columns_hold_what_was_put_in_and_go_out_as_they_came(rows: list[dict[str, Any]]) -> None:
    attributes = arrow_of(rows)
    assert [attributes.of(line) for line in range(len(rows))] == list(map(as_shown, rows))
    back = {name: (attributes.schema[name], column) for name, column in to_arrow(attributes).items()}
    assert [column.type for _, column in back.values()] == list(ARROW.values())
    again = from_arrow(len(rows), back)
    assert [again.of(line) for line in range(len(rows))] == list(map(as_shown, rows))


def catalogue_of(rows: list[dict[str, Any]]) -> Catalogue:
    ids = [f"i{line}" for line in range(len(rows))]
    return Catalogue(ids, [None] * len(ids), [()] * len(ids), [1] * len(ids), arrow_of(rows))


@given(rows=items_with_attributes())
def test_a_bundles_file_keeps_them(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("attributes") / "items.arrow"
    catalogue_of(rows).write(path)
    with path.open("rb") as file:
        read = Catalogue.parse(mmap(file.fileno(), 0, access=ACCESS_READ), path.name)
    assert read.attributes.schema == {kind: kind for kind in VALUES}
    assert [read.attributes_of(row) for row in range(1, len(rows) + 1)] == list(map(as_shown, rows))


@given(items_with_attributes(), items_with_attributes())
def test_added_rows_have_theirs_and_a_view_stays(
    rows: list[dict[str, Any]], added: list[dict[str, Any]]
) -> None:
    overlay = Overlay(catalogue_of(rows), 4)
    vectors = make_unit_vectors(len(added) + 1, 4)
    views = [overlay.view()[0]]
    for line, values in enumerate(added):
        overlay.put(Item(f"new-{line}", None, ()), vectors[line], values)
        views.append(overlay.view()[0])
    for count, view in enumerate(views):
        found = [view.attributes_of(row) for row in range(1, len(view) + 1)]
        assert found == list(map(as_shown, [*rows, *added[:count]]))


def test_an_added_row_lacks_what_the_schema_lacks_or_has_with_another_type() -> None:
    added = AddedAttributes({"length": "number", "language": "text"})
    added.put({"length": "long", "language": "en", "colour": "red"})
    added.put({"length": 3})
    assert [added.view().of(line) for line in (0, 1)] == [{"language": "en"}, {"length": 3}]


def test_others_can_read_a_bundles_file(tmp_path: Path) -> None:
    catalogue_of([{"number": 1.5, "texts": ["a", "b"]}, {}]).write(tmp_path / "items.arrow")
    first, second = pl.read_ipc(tmp_path / "items.arrow").to_dicts()
    assert (first["attribute:number"], first["attribute:texts"]) == (1.5, ["a", "b"])
    assert np.isnan(second["attribute:number"])


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (pa.field("more", pa.float64(), nullable=False), [1.0], "'more' is no attribute"),
        (pa.field("attribute:x", pa.float64(), metadata={"type": "colour"}), [1.0], "is no attribute"),
        (pa.field("attribute:x", pa.float64(), metadata={"type": "text"}), [1.0], "is no attribute"),
        (pa.field("attribute:x", pa.float64()), [1.0], "is no attribute"),
        (pa.field("attribute:x", pa.float64(), metadata={"type": "number"}), [None], "is no attribute"),
        (pa.field("attribute: x", pa.float64(), metadata={"type": "number"}), [1.0], "is no name"),
    ],
)
def test_a_bundles_file_with_other_columns_is_refused(
    tmp_path: Path, field: pa.Field, values: list[Any], message: str
) -> None:
    path = tmp_path / "items.arrow"
    catalogue_of([{}]).write(path)
    table = pa.ipc.open_file(path).read_all().append_column(field, pa.array(values, field.type))
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    with pytest.raises(CatalogueError, match=rf"items\.arrow: .*{message}.*publish the bundle again"):
        Catalogue.parse(path.read_bytes(), path.name)


def test_too_many_attributes_and_impossible_names_are_refused() -> None:
    column = ("number", pa.array([1.0]))
    with pytest.raises(CatalogueError, match="33 attributes"):
        from_arrow(1, {f"n{index}": column for index in range(MAX_ATTRIBUTES + 1)})  # type: ignore[misc]
    with pytest.raises(CatalogueError, match="no name of an attribute"):
        from_arrow(1, {"": column})  # type: ignore[dict-item]
    with pytest.raises(CatalogueError, match="lines of attributes"):
        Catalogue(["a"], [None], [()], [1], Attributes(2, {}))
