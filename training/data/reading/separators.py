"""Guessing the separator of a text from its first lines."""

import csv
from collections.abc import Collection, Iterable
from typing import NamedTuple

CANDIDATES = (",", ";", "\t", "|")
"""The first of those that explain the lines equally well is taken."""
_LINES = 100
"""Lines that the separator is guessed from: as many as quoting looks at."""


class Guess(NamedTuple):
    """A separator, how many fields the header has with it, and its fields read literally."""

    separator: str
    width: int


def guess_separator(head: str, wanted: Collection[str], candidates: Iterable[str] = CANDIDATES) -> Guess:
    """Guess from whole lines, the header first: the separator with which it names the most `wanted` columns,
    then with which most lines have as many fields as the header, be it with quotes around fields or with
    literal ones, then with which it has the most fields.
    """
    lines = [line.rstrip("\r") for line in head.split("\n")]
    lines = [line for line in lines if line.strip(" ")][:_LINES]
    return max(
        (
            _explained(lines, wanted, candidate, quoted)
            for candidate in candidates
            for quoted in (False, True)
        ),
        key=lambda scored: scored[0],
    )[1]


def _explained(
    lines: list[str], wanted: Collection[str], separator: str, quoted: bool
) -> tuple[tuple[int, float, bool, int], Guess]:
    rows = _quoted(lines, separator) if quoted else [line.split(separator) for line in lines]
    width = len(rows[0])
    alike = sum(len(row) == width for row in rows) / len(lines) if width > 1 else 0.0
    named = set(wanted).intersection(name.strip(" \t") for name in rows[0])
    return (len(named), alike, quoted, width), Guess(separator, width)


def _quoted(lines: list[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader((line + "\n" for line in lines), delimiter=separator))
    except csv.Error:
        return [lines]
