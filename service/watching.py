"""Following a publish: whoever replaces `CURRENT` need not tell the service."""

import asyncio
from pathlib import Path

from bundle.errors import BundleError
from bundle.read import current_version
from service.fleet import Fleet
from service.hangup import reload_or_keep


async def watch_current(root: Path, every_s: float, fleet: Fleet) -> None:
    """Reload when `CURRENT` under `root` comes to name another version than is in service; never returns.

    A version that cannot be loaded is tried once, and again when `CURRENT` has named another one in between.
    """
    tried: str | None = None
    while True:
        await asyncio.sleep(every_s)
        try:
            named = await asyncio.to_thread(current_version, root)
        except (BundleError, OSError) as error:
            named = str(error)  # reload says it in the log, once
        if named not in (tried, fleet.version):
            await reload_or_keep(fleet)
        tried = named
