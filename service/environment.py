"""The variables around a process, checked for what would be overlooked: misspelt names, unreadable files.

A setting that is silently left at its default is the hardest fault to see, so every `DIMEREC_…` variable that
is none is refused, in the environment and in `.env` alike, and so is one whose `DIMEREC_` itself is misspelt.
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

OTHER_VARIABLES = ("DIMEREC_KEY", "DIMEREC_SOURCE_REVISION")
"""Variables of other commands than `serve`, which may be set for all of them."""

_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes sets in every pod, of each Service whose name begins with `dimerec`."""

_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
_OURS = re.compile(rf"(?:export\s+)?['\"]?{PREFIX}", re.IGNORECASE)
_LATER_LINE = re.compile(rf"\n\s*(?:export\s+)?{PREFIX}\w*\s*=", re.IGNORECASE)


def check_variables(settings: Collection[str], dotenv: Path) -> None:
    """Refuse variables of our prefix that are neither in `settings` nor known, and a `.env` that is not read.

    `settings`: full names in upper case. Raises StartupError, one line that names what to change, and where.
    """
    known = {*settings, *OTHER_VARIABLES}
    names = sorted(name for name, value in os.environ.items() if not _is_service_link(name, value))
    faults = [fault for name in names if (fault := _fault_of_name(name, known))]
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
    return _fault_of_name(binding.key, known)


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


def is_service_address(value: object) -> bool:
    """True for a value that Kubernetes gives to `…_PORT`: `tcp://10.0.0.7:8000`."""
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def _is_service_link(name: str, value: str) -> bool:
    link = _SERVICE_LINK.fullmatch(name) is not None
    return link or (name.endswith("_PORT") and is_service_address(value))


def _fault_of_name(name: str, known: Collection[str]) -> str | None:
    upper = name.upper()
    if upper in known:
        return None
    nearest = _nearest(upper, known)
    if nearest is None and not upper.startswith(PREFIX):
        return None
    remedy = f"did you mean {nearest}?" if nearest else "unset it (docs/configuration.md lists all)"
    return f"{name} is no setting: {remedy}"


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The known name most like it; without our prefix it must be very like one."""
    prefix, likeness = (PREFIX, 0.6) if name.startswith(PREFIX) else ("", 0.9)
    others = [other.removeprefix(prefix) for other in sorted(known)]
    near = get_close_matches(name.removeprefix(prefix), others, n=1, cutoff=likeness)
    return prefix + near[0] if near else None
