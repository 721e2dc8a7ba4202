"""The bundle in service: loaded and verified off the event loop, then swapped in one assignment."""

import asyncio
import os
from pathlib import Path

import structlog

from bundle import read
from bundle.errors import BundleError
from bundle.write import set_current
from engine.engine import Engine
from engine.popularity import Trend
from service.catalogue.live import LiveCatalogue
from service.errors import BundleRootReadOnlyError, NoEarlierBundleError, ServiceError
from service.fleet import Order, ServingWorker, Swap
from service.garbage import settle_again
from service.rehearsal import rehearsed
from service.telemetry import Metrics

log = structlog.get_logger("dimerec.bundles")


class Engines:
    """Holds this process's engine in service. Whoever took `engine` before a swap may finish with it.

    Raises BundleError at once when `version`, by default the one that CURRENT names under `root`, cannot be
    loaded; a later swap that fails leaves the engine in service as it was. Every engine serves with the
    changes of `catalogue`. A `Fleet` of one process.
    """

    def __init__(
        self,
        root: Path,
        device: str,
        metrics: Metrics,
        catalogue: LiveCatalogue,
        version: str | None = None,
    ) -> None:
        self._root = root
        self._device = device
        self._metrics = metrics
        self._catalogue = catalogue
        self._swapping = asyncio.Lock()
        self._trend = Trend()
        self.engine = self._load(version)
        catalogue.serve(self.engine)
        metrics.serve_bundle(self.engine.version)

    @property
    def version(self) -> str:
        """The version in service."""
        return self.engine.version

    async def workers(self) -> list[ServingWorker]:
        """The one process there is."""
        return [ServingWorker(os.getpid(), self.version)]

    def follow_trend(self, trend: Trend) -> None:
        """Answer by these recent events, too, with this engine and those after it."""
        self._trend = trend
        self.engine.follow_trend(trend)

    async def reload(self) -> Swap:
        """Serve the version that CURRENT names now; nothing happens when it is in service already."""
        async with self._swapping:
            try:
                version = await asyncio.to_thread(read.current_version, self._root)
                return await self._serve("reload", version)
            except BundleError:
                self._count("reload", "failed")
                raise

    async def rollback(self) -> Swap:
        """Serve the version published before the one in service, and make it CURRENT."""
        async with self._swapping:
            try:
                return await self._serve("rollback", await asyncio.to_thread(self._earlier_version))
            except (BundleError, ServiceError):
                self._count("rollback", "failed")
                raise

    async def follow(self, version: str) -> Swap:
        """Serve the version that other processes were told to serve."""
        async with self._swapping:
            try:
                return await self._serve("follow", version)
            except BundleError:
                self._count("follow", "failed")
                raise

    async def obey(self, order: Order) -> Swap:
        """As `Fleet.obey`; whoever has orders obeys them one after the other."""
        if order.version == self.version:  # or what is being loaded now, ordered next, would be undone
            return Swap(self.version, self.version)
        return await self.follow(order.version)

    def _earlier_version(self) -> str:
        older = [version for version in read.versions(self._root) if version < self.engine.version]
        if not older:
            raise NoEarlierBundleError(f"{self.engine.version} is the oldest bundle: publish another instead")
        return older[0]

    async def _serve(self, operation: str, version: str | None) -> Swap:
        previous = self.engine.version
        if version == previous:
            self._count(operation, "unchanged")
            return Swap(previous, previous)
        engine = await asyncio.to_thread(self._load, version)
        if operation == "rollback":
            await asyncio.to_thread(self._make_current, engine.version)
        self._catalogue.serve(engine)
        engine.follow_trend(self._trend)
        self.engine = engine
        self._metrics.serve_bundle(engine.version)
        self._count(operation, "done")
        log.info("bundle swapped", operation=operation, previous=previous, version=engine.version)
        await asyncio.to_thread(settle_again)
        return Swap(previous, engine.version)

    def _load(self, version: str | None) -> Engine:
        engine = rehearsed(read.read_bundle(self._root, version, self._device))
        self._catalogue.bring(engine)
        return engine

    def _make_current(self, version: str) -> None:
        try:
            set_current(self._root, version)
        except OSError as error:
            raise BundleRootReadOnlyError(
                f"CURRENT cannot be written ({error.strerror}): a restart would undo the rollback; "
                "make the bundle directory writable or publish the version you want"
            ) from error

    def _count(self, operation: str, outcome: str) -> None:
        self._metrics.swaps.labels(operation, outcome).inc()
