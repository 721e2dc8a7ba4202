"""Following a publish: whoever replaces `CURRENT` need not tell the service."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from bundle.errors import BundleError
from bundle.manifest import CURRENT_FILE
from bundle.read import current_version
from service.fleet import Reloading
from service.hangup import reload_or_keep


def changed_ms(root: Path) -> int:
    """The moment of the last change of `CURRENT`, ms since the epoch by its disk's clock; 0 for none."""
    try:
        return (root / CURRENT_FILE).stat().st_ctime_ns // 1_000_000
    except OSError:
        return 0


async def watch_current(
    root: Path, every_s: float, fleet: Reloading, ordered_ms: Callable[[], int] = lambda: 0
) -> None:
    """Reload when `CURRENT` under `root` comes to name another version than is in service; never returns.

    A version that cannot be loaded is tried once, and again when `CURRENT` was written again.
    `ordered_ms`: moment of the newest order of other replicas; an older `CURRENT` does not count against it.
    """
    tried: tuple[str | None, int] | None = None
    while True:
        await asyncio.sleep(every_s)
        found = named, at_ms = await asyncio.to_thread(_named, root)
        if found != tried and named != fleet.version and at_ms > ordered_ms():
            await reload_or_keep(fleet)
        tried = found


def _named(root: Path) -> tuple[str | None, int]:
    """The version that `CURRENT` names, or why it cannot be read, and the moment of its last change."""
    try:
        named = current_version(root)
    except (BundleError, OSError) as error:
        named = str(error)  # reload says it in the log, once
    return named, changed_ms(root)
