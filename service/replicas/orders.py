"""Obeying what another replica ordered: to serve a version, as it does itself after a reload or a rollback.

Only a version that is under this service's own root can be served; one that lacks it goes on with its own.
`CURRENT` stays the truth of each root: of an order from before a process knew of any, and `CURRENT`, the
newer one counts.
"""

import asyncio
from pathlib import Path

import structlog

from bundle import read
from bundle.errors import BundleError
from bundle.write import set_current
from service.errors import ServiceError
from service.fleet import Fleet, Order
from service.watching import changed_ms

log = structlog.get_logger("dimerec.bundles")


class Orders:
    """Lets the service of `fleet`, whose bundles are under `root`, obey orders; `news` is set when it has."""

    def __init__(self, root: Path, fleet: Fleet, news: asyncio.Event) -> None:
        self._root = root
        self._fleet = fleet
        self._news = news
        self._come = asyncio.Event()
        self.newest: Order | None = None
        self.obeyed_ms = 0
        """Moment of the newest order that was obeyed, or could not be."""
        self.missing: str | None = None
        """The version of that order, where it cannot be served here."""

    @property
    def newest_ms(self) -> int:
        """Moment of the newest order, 0 before the first."""
        return 0 if self.newest is None else self.newest.moment_ms

    def hear(self, order: Order | None) -> None:
        """Hear of an order, maybe again."""
        if order is not None and order.moment_ms > self.newest_ms:
            self.newest = order
            self._come.set()

    async def run(self) -> None:
        """Obey orders; never returns."""
        while True:
            await self._come.wait()
            self._come.clear()
            order = self.newest
            if order is None:
                raise AssertionError
            is_first = self.obeyed_ms == 0
            if not (is_first and await asyncio.to_thread(self._is_overtaken, order)):
                self.missing = None if await self._obey(order) else order.version
            self.obeyed_ms = order.moment_ms
            self._news.set()

    async def _obey(self, order: Order) -> bool:
        try:
            if order.version not in await asyncio.to_thread(read.versions, self._root):
                log.warning("ordered bundle is not here", version=order.version, kept=self._fleet.version)
                return False
            await self._fleet.obey(order)
        except (BundleError, ServiceError, OSError) as error:
            log.error("bundle kept", version=self._fleet.version, ordered=order.version, reason=str(error))  # noqa: TRY400
            return False
        await asyncio.to_thread(self._make_current, order)
        return True

    def _is_overtaken(self, order: Order) -> bool:
        return changed_ms(self._root) > order.moment_ms

    def _make_current(self, order: Order) -> None:
        """Let a rollback outlast a restart, unless CURRENT came to name another version."""
        try:
            if order.instead_of is not None and read.current_version(self._root) == order.instead_of:
                set_current(self._root, order.version)
        except (BundleError, OSError) as error:
            log.warning("a restart undoes the rollback", version=order.version, reason=str(error))
