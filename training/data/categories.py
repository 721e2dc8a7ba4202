"""Categories out of text, however its writer put several into one cell: read as what they are, or refused."""

import ast
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from files.ids import PADDING
from training.data.prepare_options import CategorySeparator
from training.errors import DataError

OPENS_A_LIST = r"^(?:\w+\()?[\[({]\s*[bBuU]?['\"]"
"""Begins a list of quoted words, in a call too: no category does."""
LISTS = "lists"
ONE = "one a row"

_SEPARATORS: dict[CategorySeparator, str | None] = {"|": "|", ",": ",", ";": ";", "space": None}
_CLOSING = {"[": "]", "(": ")", "{": "}", '"': '"', "'": "'"}
_WRAPPED = re.compile(r"(?:array|frozenset|list|set|tuple)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
_QUOTED = r"[bBuU]?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_BARE = r"[^\s,|;'\"\[\](){}][^,|;'\"\[\](){}]*"
_ITEM = re.compile(rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<bare>{_BARE}))\s*", re.DOTALL)
_NUMBERS = re.compile(r"[\d.]+(\s+[\d.]+)+\s*")


class UnreadableCategoriesError(DataError):
    """Text that looks like a list of categories and cannot be read as one; its message is that text."""


def categories_of(
    texts: Mapping[str, int], separator: CategorySeparator, missing: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The categories of each of `texts`, each once and in its order, and the count of rows by form of text.

    `texts` maps text to the number of rows that hold it. Lists as pandas, NumPy, jq, Spark or PostgreSQL
    write them are lists. Other text is split at `separator`, with `auto` at `|` if any holds one, else at
    `,`. Beside a `|`, a comma separates only what are all categories elsewhere: `Drama, dark` stays whole.
    Words of `missing` are no category. Raises UnreadableCategoriesError for text that begins as a list and is
    none, or that is separated within its brackets.
    """
    split = {text: read_list(text, strict=separator == "auto") for text in texts}
    plain = [text for text, parts in split.items() if parts is None]
    forms = Counter[str]({LISTS: sum(rows for text, rows in texts.items() if split[text] is not None)})
    for text, form in _forms(plain, separator, missing):
        split[text] = text.split(_SEPARATORS[form]) if form in _SEPARATORS else [text]
        _refuse_torn(text, split[text] or [])
        forms[form] += texts[text]
    names = {text: _names(parts or [], missing) for text, parts in split.items()}
    return names, {form: rows for form, rows in forms.most_common() if rows}


def read_list(text: str, *, strict: bool = True) -> list[str] | None:
    """The members of a list that was written as text; None where `text` is none.

    Raises UnreadableCategoriesError for what opens as a list of quoted words but cannot be read, and if
    `strict` for anything else between `[]` or `{}`.
    """
    wrapped = _WRAPPED.fullmatch(text)
    inner = wrapped[1] if wrapped else text
    if not inner or inner == "()":
        return [] if text else None
    opened, certain = inner[0], re.match(OPENS_A_LIST, inner) is not None
    closed = len(inner) > 1 and inner.endswith(_CLOSING.get(opened, ""))
    if not certain and not (opened in "[{\"'" and closed):
        return None
    parts = _parsed(inner if opened in "[({" else f"[{inner}]") if closed else None
    if parts is None and (certain or (strict and opened in "[{")):
        raise UnreadableCategoriesError(text)
    if parts and opened in "\"'" and any(re.match(OPENS_A_LIST, part) for part in parts):
        raise UnreadableCategoriesError(text)  # a list that was made text twice
    return parts


def _parsed(text: str) -> list[str] | None:
    """The members of the list between the first and the last character of `text`; None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return _members(text[1:-1])
    if not isinstance(value, list) or any(isinstance(part, bool | list | dict) for part in value):
        return None
    return [str(part) for part in value if part is not None]


def _members(text: str) -> list[str] | None:
    """Words between commas, quoted as Python does or bare; as NumPy has it, between blanks if quoted."""
    members, at, comma, quoted = [], 0, True, False
    while text[at:].strip():
        item = _ITEM.match(text, at)
        if item is None or not (comma or (item["quoted"] and quoted)):
            return None
        quoted = item["quoted"] is not None
        member = _unquoted(item["quoted"]) if quoted else item["bare"].strip()
        if member is None or (not quoted and (member == "..." or _NUMBERS.fullmatch(member))):
            return None
        members.append(member)
        comma = text[item.end() : item.end() + 1] == ","
        at = item.end() + comma
    return members


def _unquoted(token: str) -> str | None:
    try:
        value = ast.literal_eval(token)
        return value.decode() if isinstance(value, bytes) else str(value)
    except (SyntaxError, ValueError):
        return None


def _forms(
    plain: list[str], separator: CategorySeparator, missing: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each text that is no list and holds a category, and the separator that holds for it, or `ONE`."""
    plain = [text for text in plain if text not in missing]
    if separator != "auto":
        yield from ((text, separator if separator in _SEPARATORS else ONE) for text in plain)
        return
    barred = any("|" in text for text in plain)
    known = {
        part.strip(PADDING) for text in plain if "|" in text or "," not in text for part in text.split("|")
    }
    for text in plain:
        if "|" in text:
            yield text, "|"
        elif "," in text and (
            not barred or known.issuperset(part.strip(PADDING) for part in text.split(","))
        ):
            yield text, ","
        else:
            yield text, ONE


def _refuse_torn(text: str, parts: list[str]) -> None:
    """Refuse a text whose brackets are balanced and whose parts' are not."""
    for opening, closing in ("[]", "()", "{}"):
        if text.count(opening) == text.count(closing) and any(
            part.count(opening) != part.count(closing) for part in parts
        ):
            raise UnreadableCategoriesError(text)


def _names(parts: list[str], missing: Collection[str]) -> list[str]:
    names = (part.strip(PADDING) for part in parts)
    return list(dict.fromkeys(name for name in names if name and name not in missing))
