"""Typed attributes of items, a column each: what a request may filter by beside categories.

A column has one of two forms. Numbers and dates are a float64 an item; texts, one or several, and booleans
are words of a dictionary, as categories are. Both are looked at where they lie in a bundle's file.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from files.ids import PADDING, PRINTABLE
from index.errors import AttributeValueError

AttributeType = Literal["number", "date", "text", "boolean", "texts"]
AttributeValue = bool | int | float | str | Sequence[str]
"""As callers write it and answers show it: a date is ISO 8601 text, texts are a list."""
Stored = float | tuple[str, ...]
"""As columns hold it: a date is ms since the epoch, UTC; a boolean is the word true or false."""

NUMERIC: frozenset[AttributeType] = frozenset({"number", "date"})
"""Types that have an order, so that a filter may be a range of them."""

MAX_ATTRIBUTES = 32
"""Of a catalogue. Chosen: each takes 8 bytes an item and more, in the file that all processes map."""
MAX_NAME_LENGTH = 64
"""Characters of an attribute's name. Chosen: a name of a column is a few words."""
MAX_TEXT_LENGTH = 256
"""Characters of a text. Chosen: filters compare it as a whole, which nobody does with prose."""
MAX_TEXTS = 64
"""Texts of one item: as many as categories that a request may ask for."""

MAX_COMPARED = 3
"""Words that each of a column's is compared with, one after the other; for more a table is asked.

A million texts, ms: one comparison .2, the table .5 to .7.
"""

EARLIEST_DATE_MS, LATEST_DATE_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, ms since the epoch: those that ISO 8601 writes with four digits."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.]\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRINTABLE = re.compile(PRINTABLE)


def is_attribute_name(text: str) -> bool:
    """True for 1 … 64 characters, none a control character, without blanks around them."""
    return (
        len(text) <= MAX_NAME_LENGTH
        and _PRINTABLE.fullmatch(text) is not None
        and text == text.strip(PADDING)
    )


def readable(name: str) -> str:
    """A name that a caller sent, cut and made fit for a message: JSON can write half a surrogate pair."""
    return name[:MAX_NAME_LENGTH].encode(errors="replace").decode()


def stored(kind: AttributeType, value: object) -> Stored:
    """A value that a caller wrote, as a column of this type holds it; raises AttributeValueError."""
    match kind, value:
        case "number", int() | float() if not isinstance(value, bool):
            return _finite(value)
        case "date", str():
            return _milliseconds(value)
        case "text", str():
            return (_text(value),)
        case "boolean", bool():
            return ("true" if value else "false",)
        case "texts", list() | tuple() if len(value) <= MAX_TEXTS and all(
            isinstance(one, str) for one in value
        ):
            return tuple(dict.fromkeys(map(_text, value)))
    raise AttributeValueError(f"must be {_SPELLED[kind]}")


def shown(kind: AttributeType, value: Stored) -> AttributeValue:
    """A value as answers show it: what `stored` makes the same of again."""
    match kind, value:
        case "date", float():
            return _iso(value)
        case "boolean", (word,):
            return word == "true"
        case "text", (word,):
            return word
        case "texts", tuple():
            return list(value)
        case _, float() if value.is_integer() and abs(value) < _EXACT:
            return int(value)
    return value


_SPELLED: Mapping[AttributeType, str] = {
    "number": "a finite number",
    "date": "a date or date-time of ISO 8601, as 2024-05-01 or 2024-05-01T12:00:00Z",
    "text": f"a text of 1 … {MAX_TEXT_LENGTH} characters, none of them a control character",
    "boolean": "true or false",
    "texts": f"a list of at most {MAX_TEXTS} texts of 1 … {MAX_TEXT_LENGTH} characters each",
}
_EXACT = 2**53
"""Below this a float64 is the integer that was written: arithmetic."""


class Names(Protocol):
    """The words of a column, by code."""

    def codes_of(self, words: Collection[str]) -> NDArray[np.int64]:
        """The codes of those `words` that there are."""
        ...

    def __getitem__(self, code: int) -> str:
        """The word of a code."""
        ...


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers or dates: `values` (items,), NaN where an item has none."""

    kind: AttributeType
    values: NDArray[np.float64]

    def at(self, line: int) -> Stored | None:
        """The value of an item."""
        value = float(self.values[line])
        return None if math.isnan(value) else value

    def among(self, wanted: Iterable[Stored]) -> NDArray[np.bool_]:
        """Items (items,) that have one of the values."""
        mask = np.zeros(len(self.values), dtype=np.bool_)
        for value in wanted:  # of 100 a sixth of the time of `np.isin`, which sorts
            mask |= self.values == value
        return mask


@dataclass(frozen=True, eq=False)
class Words:
    """A column of words: those of item i are `codes[offsets[i] : offsets[i + 1]]`, in `names`."""

    kind: AttributeType
    offsets: NDArray[np.integer]
    codes: NDArray[np.integer]
    names: Names

    def at(self, line: int) -> Stored | None:
        """The words of an item."""
        codes = self.codes[self.offsets[line] : self.offsets[line + 1]].tolist()
        return tuple(self.names[code] for code in codes) or None

    @property
    def one_each(self) -> bool:
        """True where each item has one word, and can have no more."""
        return self.kind != "texts" and len(self.codes) == len(self.offsets) - 1

    def among(self, wanted: Iterable[Stored]) -> NDArray[np.bool_]:
        """Items (items,) that have one of the words."""
        words = {word for one in wanted if isinstance(one, tuple) for word in one}
        found = self._among(self.names.codes_of(words))
        if self.kind == "texts":
            before = np.zeros(len(found) + 1, dtype=np.int64 if len(found) >= 2**31 else np.int32)
            np.cumsum(found, out=before[1:])
            before = before[self.offsets]  # a seventh of the time of a search for the item of each word
            mask: NDArray[np.bool_] = before[1:] != before[:-1]
            return mask
        if self.one_each:
            return found
        mask = np.append(found, False)[self.offsets[:-1]]
        mask &= self.offsets[1:] != self.offsets[:-1]
        return mask

    def _among(self, wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Words (words,) that have one of the codes."""
        if len(wanted) <= MAX_COMPARED:
            found = np.zeros(len(self.codes), dtype=np.bool_)
            for code in wanted.tolist():
                found |= self.codes == code
            return found
        is_wanted = np.zeros(int(wanted.max()) + 2, dtype=np.bool_)
        is_wanted[wanted] = True
        return is_wanted.take(self.codes, mode="clip")  # what is beyond is not


Column = Numbers | Words


class Attributes:
    """The attributes of `rows` items by name; line i of each column is of row i + 1. Immutable."""

    def __init__(self, rows: int, columns: Mapping[str, Column]) -> None:
        self.rows = rows
        self.columns = columns
        self.schema: Mapping[str, AttributeType] = {name: one.kind for name, one in columns.items()}

    def of(self, line: int) -> dict[str, AttributeValue]:
        """An item's attributes as answers show them, without those that it lacks."""
        values = ((name, column, column.at(line)) for name, column in self.columns.items())
        return {name: shown(column.kind, value) for name, column, value in values if value is not None}


NO_ATTRIBUTES: Mapping[str, AttributeValue] = {}


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise AttributeValueError(f"must be {_SPELLED['number']}")
    return number + 0.0  # there is no −0


def _text(value: str) -> str:
    half = any("\ud800" <= character <= "\udfff" for character in value)  # JSON can write half a pair
    if len(value) > MAX_TEXT_LENGTH or _PRINTABLE.fullmatch(value) is None or half:
        raise AttributeValueError(f"must be {_SPELLED['text']}")
    return value


def _milliseconds(text: str) -> float:
    """Ms since the epoch of a date or date-time, rounded down; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError as error:
        raise AttributeValueError(f"must be {_SPELLED['date']}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not EARLIEST_DATE_MS <= milliseconds <= LATEST_DATE_MS:  # an offset leads out of the calendar
        raise AttributeValueError(f"must be {_SPELLED['date']}")
    return float(milliseconds)


def _iso(milliseconds: float) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    if milliseconds % 86_400_000 == 0:
        return moment.date().isoformat()
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").replace(
        "+00:00", "Z"
    )
