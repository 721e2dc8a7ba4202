"""The one rule of what may be an id: of a user, an item, an event or a request."""

import re

MAX_ID_LENGTH = 128
"""Characters that an id has at most, at least 1: those of a SHA-512 in hexadecimal."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_BLANKS = r" \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"

PRINTABLE = rf"^[^{_CONTROLS}]+$"
"""The pattern of an id: no control characters; read alike by Python, Polars, pydantic, JSON Schema."""

UNPADDED = rf"^[^{_CONTROLS}{_BLANKS}]([^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}])?$"
"""The pattern of an id that is written: printable, and no blank first or last."""

PADDING = "".join(chr(code) for code in (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))) + (
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""The blanks, tabs and line ends that are stripped from around an id in a file."""

MISSING_WORDS = ("", r"\N", "NULL", "null", "None", "nan", "NaN", "N/A", "<NA>")
"""Words of databases and data frames for a missing value; never an id that is written."""

REQUEST_ID = r"^[A-Za-z0-9._-]{1,128}$"
"""The pattern of a request's id, which goes into headers and log lines."""

_PRINTABLE = re.compile(PRINTABLE)


def is_id(text: str) -> bool:
    """True where `text` may be an id: 1 … 128 characters, none of them a control character.

    This is the rule for what is read; what is written must also have no `fault`.
    """
    return len(text) <= MAX_ID_LENGTH and _PRINTABLE.fullmatch(text) is not None


def fault(text: str) -> str | None:
    """The reason why `text` may not be written as an id, with the remedy; None if it may be."""
    if text in MISSING_WORDS:
        return f"{text!r} stands for a missing value and is no id; leave out what has none"
    if len(text) > MAX_ID_LENGTH:
        return f"longer than {MAX_ID_LENGTH} characters"
    if _PRINTABLE.fullmatch(text) is None:
        return "has control characters; ids are printable"
    if text != text.strip(PADDING):
        return "has blanks around it; strip them"
    return None
