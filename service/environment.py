"""The variables around a process, checked for what would be overlooked: misspelt names, unreadable files.

A setting that is silently left at its default is the hardest fault to see, so every `DIMEREC_…` variable that
is none is refused, in the environment and in `.env` alike.
"""

import os
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from service.errors import StartupError

PREFIX = "DIMEREC_"
ENCODING = "utf-8-sig"
"""Of `.env`: UTF-8, with or without a byte order mark."""

OTHER_VARIABLES = ("DIMEREC_SOURCE_REVISION",)
"""Variables of other commands than `serve`, which may be set for all of them."""

_OURS = re.compile(rf"(?:export\s+)?['\"]?{PREFIX}", re.IGNORECASE)
_LATER_LINE = re.compile(rf"\n\s*(?:export\s+)?{PREFIX}\w*\s*=", re.IGNORECASE)


def check_variables(settings: Collection[str], dotenv: Path) -> None:
    """Refuse variables of our prefix that are neither in `settings` nor known, and a `.env` that is not read.

    `settings`: full names in upper case. Raises StartupError, one line that names what to change, and where.
    """
    known = {*settings, *OTHER_VARIABLES}
    faults = [_misspelt(name, known) for name in sorted(os.environ) if _is_wrong(name, known)]
    if dotenv.is_file():
        faults += _faults_of(dotenv, known)
    if faults:
        raise StartupError("settings: " + "; ".join(faults))


def _faults_of(dotenv: Path, known: Collection[str]) -> Iterator[str]:
    for binding in parse_stream(StringIO(_text(dotenv))):
        text = binding.original.string
        blank_lines = text[: len(text) - len(text.lstrip())].count("\n")
        if fault := _fault_of(binding, known):
            yield f"{dotenv} line {binding.original.line + blank_lines}: {fault}"


def _fault_of(binding: Binding, known: Collection[str]) -> str | None:
    text = binding.original.string.strip()
    if _LATER_LINE.search(text):
        return f"a quote that opens there takes in a line that sets a {PREFIX}… variable: close it"
    if binding.key is None or binding.value is None:
        return "cannot be read: write NAME=VALUE" if _OURS.match(text) else None
    return _misspelt(binding.key, known) if _is_wrong(binding.key, known) else None


def _text(dotenv: Path) -> str:
    try:
        text = dotenv.read_bytes().decode(ENCODING)
    except OSError as error:
        raise StartupError(f"settings: {dotenv} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartupError(
            f"settings: {dotenv} is no UTF-8 text (byte {error.start + 1}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise StartupError(f"settings: {dotenv} is no UTF-8 text (it holds NUL): save it as UTF-8")
    return text


def _is_wrong(name: str, known: Collection[str]) -> bool:
    return name.upper().startswith(PREFIX) and name.upper() not in known


def _misspelt(name: str, known: Collection[str]) -> str:
    suffixes = [other.removeprefix(PREFIX) for other in sorted(known)]
    near = get_close_matches(name.upper().removeprefix(PREFIX), suffixes, n=1)
    remedy = f"did you mean {PREFIX}{near[0]}?" if near else "unset it (docs/configuration.md lists all)"
    return f"{name} is no setting: {remedy}"
