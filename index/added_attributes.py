"""Attributes of rows that are added to a catalogue, in columns that grow."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from index.attributes import (
    NUMERIC,
    Attributes,
    AttributeType,
    AttributeValue,
    Column,
    Numbers,
    Stored,
    Words,
    stored,
)
from index.errors import AttributeValueError
from index.growing import Growing


class AddedAttributes:
    """The attributes of a `schema` of the rows added so far. One writer; its views may be read meanwhile."""

    def __init__(self, schema: Mapping[str, AttributeType]) -> None:
        self._rows = 0
        self._columns = {name: _made(kind) for name, kind in schema.items()}

    def put(self, values: Mapping[str, AttributeValue]) -> None:
        """Add a row of these values; those that are not of the schema are not there for it."""
        for name, column in self._columns.items():
            try:
                value = stored(column.kind, values[name]) if name in values else None
            except AttributeValueError:
                value = None  # of a bundle where this attribute had another type
            column.put(value)
        self._rows += 1

    def view(self) -> Attributes:
        """The attributes of the rows that there are now."""
        return Attributes(self._rows, {name: column.view() for name, column in self._columns.items()})


class _GrowingNumbers:
    def __init__(self, kind: AttributeType) -> None:
        self.kind = kind
        self._values = Growing(np.empty(0, dtype=np.float64))

    def put(self, value: Stored | None) -> None:
        self._values.extend(np.array([np.nan if value is None else value], dtype=np.float64))

    def view(self) -> Column:
        return Numbers(self.kind, self._values.filled)


class _GrowingWords:
    def __init__(self, kind: AttributeType) -> None:
        self.kind = kind
        self._offsets = Growing(np.zeros(1, dtype=np.int64))
        self._codes = Growing(np.empty(0, dtype=np.int64))
        self._names = _GrowingNames()

    def put(self, value: Stored | None) -> None:
        codes = [self._names.code_of(word) for word in value] if isinstance(value, tuple) else []
        self._codes.extend(np.array(codes, dtype=np.int64))
        self._offsets.extend(self._offsets.filled[-1:] + len(codes))

    def view(self) -> Column:
        return Words(self.kind, self._offsets.filled, self._codes.filled, self._names)


class _GrowingNames:
    """Words by code; an earlier view may know more of them than it has."""

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self._words: list[str] = []

    def code_of(self, word: str) -> int:
        code = self._code_of.setdefault(word, len(self._words))
        if code == len(self._words):
            self._words.append(word)
        return code

    def codes_of(self, words: Collection[str]) -> NDArray[np.int64]:
        found = (self._code_of.get(word) for word in words)
        return np.array([code for code in found if code is not None], dtype=np.int64)

    def __getitem__(self, code: int) -> str:
        return self._words[code]


def _made(kind: AttributeType) -> _GrowingNumbers | _GrowingWords:
    return _GrowingNumbers(kind) if kind in NUMERIC else _GrowingWords(kind)
