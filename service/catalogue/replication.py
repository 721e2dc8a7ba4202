"""Waiting until replicas of Redis have what was written, for a primary that may be lost."""

import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import structlog

from service.catalogue.protocol import Known
from service.history.errors import HistoryError
from service.history.redis_calls import RedisCalls
from service.outage import Outage
from service.shared_call import SharedCall

log = structlog.get_logger("dimerec.catalogue")

WAIT_MS = 200
"""Longest wait for replicas. Chosen: one that follows needs a round trip of some ms."""
COUNT_EVERY_S = 5.0
"""Time for which the number of replicas is taken as known. Chosen: replicas come and go seldom."""


class Replication:
    """The replicas of the Redis behind `client`, of which `wanted` are to have each change.

    None wanted: one, where there is any. `written`: the newest change that this process wrote.
    """

    def __init__(
        self, client: Any, facts: str, wanted: int | None, written: Callable[[], Known], timeout_s: float
    ) -> None:
        self._client = client
        self._facts = facts
        self._wanted = wanted
        self._written = written
        self._calls = RedisCalls(timeout_s, timeout_s, 1)
        self._confirmation = SharedCall(self._confirm)
        self._counted = 0
        self._counted_s = -COUNT_EVERY_S
        self._behind = Outage(log, "replicas of Redis do not have the newest changes of the catalogue")

    async def confirmed(self) -> bool | None:
        """True where replicas have all that this process has written so far; None where none are to."""
        return await self._confirmation.outcome()

    async def close(self) -> None:
        """End what goes on."""
        await self._calls.close()

    async def _confirm(self) -> bool | None:
        try:
            wanted = await self._number() if self._wanted is None else self._wanted
            if not wanted:
                return None
            reached = await self._calls.make(lambda: self._wait(wanted, self._written()))
        except HistoryError:
            reached = False
        if reached:
            self._behind.end()
        else:
            self._behind.note()
        return reached

    async def _number(self) -> int:
        if time.monotonic() - self._counted_s >= COUNT_EVERY_S:
            info = await self._calls.make(lambda: self._client.info("replication"))
            self._counted, self._counted_s = int(info.get("connected_slaves", 0)), time.monotonic()
        return min(1, self._counted)

    async def _wait(self, wanted: int, written: Known) -> bool:
        pipeline = self._client.pipeline(transaction=False)  # WAIT is about what its own connection wrote
        pipeline.eval(_CONFIRM, 1, self._facts, *written)
        pipeline.execute_command("WAIT", wanted, WAIT_MS)
        is_there, replicas = await pipeline.execute()
        return bool(is_there) and int(replicas) >= wanted


_CONFIRM = files("service.catalogue").joinpath("confirm.lua").read_text()
