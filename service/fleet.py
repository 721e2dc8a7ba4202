"""The processes that answer at one address, as routes, signals and watchers see them."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Swap:
    """The bundle that was in service and the one that is now.

    `ordered_ms`: moment at which other replicas were told to follow; None: there are none, or they were not.
    """

    previous: str
    current: str
    ordered_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Word from a replica that all are to serve a version, since `moment_ms` of Redis' clock.

    `instead_of`: the version that it rolled back from; None for a reload.
    """

    moment_ms: int
    version: str
    instead_of: str | None = None


class ServingWorker(NamedTuple):
    """A process that answers, and the bundle that it serves."""

    pid: int
    version: str


class Reloading(Protocol):
    """A fleet as signals and watchers see it."""

    @property
    def version(self) -> str:
        """The version in service."""
        ...

    async def reload(self) -> Swap:
        """Serve the version that CURRENT names now; raises BundleError when it cannot be loaded."""
        ...


class Fleet(Reloading, Protocol):
    """All of them together: `service.engines.Engines` for one process, `service.workers` for more.

    A swap is over when every process has done it. Swaps asked for at once happen one after the other.
    """

    async def rollback(self) -> Swap:
        """Serve the version published before the one in service, and make it CURRENT.

        Raises BundleError, NoEarlierBundleError or BundleRootReadOnlyError.
        """
        ...

    async def obey(self, order: Order) -> Swap:
        """Serve the version of an order, unless a newer order was obeyed; raises BundleError."""
        ...

    async def workers(self) -> list[ServingWorker]:
        """Every process that answers, in a fixed order."""
        ...
