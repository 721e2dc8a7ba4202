"""The changes that a process knows, on disk: it serves by them while Redis is away, or has lost them."""

from pathlib import Path

import msgspec

from files.atomic import replacing
from service.catalogue.protocol import Contents, Entry
from service.errors import StartupError

FILE = "catalogue.view"


class _View(msgspec.Struct):
    entries: list[Entry]
    passed_ms: int
    sequence: int = 0
    compacted: int = 0


def read_view(root: Path) -> Contents | None:
    """The changes that were known when a process of this directory wrote last; None where none did.

    Raises StartupError for a file that cannot be read.
    """
    path = root / FILE
    try:
        view = msgspec.json.decode(path.read_bytes(), type=_View)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StartupError(
            f"{path} cannot be read ({error}): remove it where Redis is there, it is written again"
        ) from error
    return Contents(view.entries, view.passed_ms, view.sequence, view.compacted)


def write_view(root: Path, contents: Contents) -> None:
    """Write what is known, atomically; raises OSError."""
    with replacing(root / FILE) as temporary:
        temporary.write_bytes(msgspec.json.encode(_View(*contents)))
