"""The processes that answer at one address, as routes, signals and watchers see them."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Swap:
    """The bundle that was in service and the one that is now."""

    previous: str
    current: str


class ServingWorker(NamedTuple):
    """A process that answers, and the bundle that it serves."""

    pid: int
    version: str


class Fleet(Protocol):
    """All of them together: `service.engines.Engines` for one process, `service.workers` for more.

    A swap is over when every process has done it. Swaps asked for at once happen one after the other.
    """

    @property
    def version(self) -> str:
        """The version in service."""
        ...

    async def reload(self) -> Swap:
        """Serve the version that CURRENT names now; raises BundleError when it cannot be loaded."""
        ...

    async def rollback(self) -> Swap:
        """Serve the version published before the one in service, and make it CURRENT.

        Raises BundleError, NoEarlierBundleError or BundleRootReadOnlyError.
        """
        ...

    async def workers(self) -> list[ServingWorker]:
        """Every process that answers, in a fixed order."""
        ...
