"""A service as one of several replicas: whose swaps the others follow."""

import structlog

from service.fleet import Fleet, Order, ServingWorker, Swap
from service.history.errors import HistoryError
from service.replicas.board import Board
from service.replicas.orders import Orders

log = structlog.get_logger("dimerec.bundles")


class ReplicatedFleet:
    """The processes at this address, `own`, whose swaps are ordered of all replicas. A `Fleet`.

    A swap is over when it is done here; the others follow.
    """

    def __init__(self, own: Fleet, board: Board, orders: Orders) -> None:
        self._own = own
        self._board = board
        self._orders = orders

    @property
    def version(self) -> str:
        """The version that this process serves."""
        return self._own.version

    async def reload(self) -> Swap:
        """As `Fleet.reload`, of every replica that has the version."""
        swap = await self._own.reload()
        return await self._order(swap, None)

    async def rollback(self) -> Swap:
        """As `Fleet.rollback`, of every replica that has the version."""
        swap = await self._own.rollback()
        return await self._order(swap, swap.previous)

    async def obey(self, order: Order) -> Swap:
        """As `Fleet.obey`."""
        return await self._own.obey(order)

    async def workers(self) -> list[ServingWorker]:
        """As `Fleet.workers`, of this address."""
        return await self._own.workers()

    async def _order(self, swap: Swap, instead_of: str | None) -> Swap:
        try:
            order = await self._board.order(swap.current, instead_of, self._orders.newest)
        except HistoryError as error:
            log.warning("other replicas were not told", version=swap.current, reason=str(error))
            return swap
        self._orders.hear(order)
        return Swap(swap.previous, swap.current, order.moment_ms)
