"""Changing the catalogue: what is asked for is checked, stored, and then in every answer."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple, cast

import structlog

from engine.engine import Engine
from engine.recipes import DerivedFrom, Recipe, RecipeError, VectorSpaceError
from service.catalogue.late_removals import LateRemovals
from service.catalogue.live import LiveCatalogue
from service.catalogue.paging import first_after
from service.catalogue.protocol import CatalogueLog, Description, Entry, Origin, RoomTakenError, Write
from service.catalogue.requests import ItemRequest
from service.catalogue.responses import (
    Effective,
    ItemListResponse,
    ItemSource,
    ItemStateResponse,
    ListedSource,
)
from service.catalogue.room import Room
from service.engines import Engines
from service.errors import (
    CatalogueFullError,
    CatalogueUnavailableError,
    FieldFault,
    InvalidRequestError,
    ServiceError,
    VectorSpaceDiffersError,
)
from service.outage import Outage

log = structlog.get_logger("dimerec.catalogue")

MAX_WRITES = 256
"""Changes that are stored and made together. Chosen: nothing is answered while they are made, for some ms."""
VIEW_EVERY_S = 0.02
"""Between two views of the catalogue at least: what comes meanwhile is stored and made together. Chosen: with
20,000 items a view takes some ms, in which nothing is answered.
"""
TIME_LEFT_S = 1.0
"""Longest wait before the clock is looked at again: a clock that is set forward is noticed."""


class Changed(NamedTuple):
    """An item that was put, and the origin of its vector."""

    entry: Entry
    derived_from: DerivedFrom


_Outcome = Entry | CatalogueFullError
_Waiting = tuple[Sequence[Write], asyncio.Future[list[_Outcome]]]


class CatalogueChanges:
    """Changes what is live, by way of a log.

    Writes that come while others are being stored are stored together after them.
    """

    def __init__(
        self,
        live: LiveCatalogue,
        kept: CatalogueLog,
        engines: Engines,
        room: Room,
        *,
        effective: Effective = "everywhere",
        late: LateRemovals | None = None,
    ) -> None:
        self._live = live
        self._log = kept
        self.effective = effective
        """The processes in which a change counts once it is answered."""
        self._engines = engines
        self.room = room
        """The bound on what is put."""
        self._late = late
        self._next_view_s = 0.0
        self._waiting: list[_Waiting] = []
        self._storing: set[asyncio.Task[None]] = set()
        self._told_ms = 0
        self._untold = Outage(log, "the time of the catalogue is not kept")

    async def put(self, item_id: str, request: ItemRequest) -> Changed:
        """Let an item be as it is described from now on.

        Raises InvalidRequestError, VectorSpaceDiffersError, CatalogueFullError and CatalogueUnavailableError.
        """
        (changed,) = await self.put_each([(item_id, request)])
        if isinstance(changed, ServiceError):
            raise changed
        return changed

    async def put_each(self, items: Sequence[tuple[str, ItemRequest]]) -> list[Changed | ServiceError]:
        """Put many items in their order, each by itself or with what `put` would raise for it alone.

        Raises CatalogueUnavailableError where none was put.
        """
        engine = self._engines.engine
        results: list[Changed | ServiceError] = []
        for start in range(0, len(items), MAX_WRITES):
            some = items[start : start + MAX_WRITES]
            judged = await asyncio.to_thread(self._judge, some, engine)
            try:
                results += await self._put_judged(judged)
            except CatalogueUnavailableError as error:
                if not any(isinstance(one, Changed) for one in results):
                    raise
                return [*results, *[error] * (len(items) - start)]
        return results

    async def remove(self, item_id: str) -> Entry | None:
        """Let an item be in no answer from now on, whether it is known or not.

        None: it is so here, and the log is told when it is back. Raises CatalogueUnavailableError.
        """
        late = self._late
        if late is None or not late.is_waiting:
            try:
                (entry,) = await self._store([Write(item_id)])
            except CatalogueUnavailableError:
                if late is None:
                    raise
            else:
                return cast("Entry", entry)  # no removal is refused for want of room
        keeping = asyncio.create_task(late.keep([item_id]))
        self._storing.add(keeping)
        keeping.add_done_callback(self._storing.discard)
        await asyncio.shield(keeping)
        return None

    def state(self, item_id: str) -> ItemStateResponse | None:
        """An item as the catalogue has it; None for an unknown one."""
        entry = self._live.entry(item_id)
        if entry is not None:
            return self._state(entry)
        described = self._engines.engine.describe(item_id)
        if described is None:
            return None
        return ItemStateResponse(
            item_id=item_id,
            source="base",
            reason="as it is in the bundle in service",
            sequence=None,
            title=described.title,
            categories=list(described.categories),
            attributes=self._engines.engine.attributes(item_id),
            derived_from="learned",
            available_from=None,
            available_until=None,
        )

    def listed(self, source: ListedSource, limit: int, after: str | None) -> ItemListResponse:
        """The first `limit` changed items of a source whose ids come after `after`."""
        entries = (entry for entry in self._live.entries() if self._source(entry) == source)
        found, following = first_after(entries, limit, after)
        return ItemListResponse(items=list(map(self._state, found)), after=following)

    async def keep_time(self) -> None:
        """Let items come and go as time passes, and tell the log of it; never returns."""
        while True:
            next_ms = self._live.next_ms
            left_s = TIME_LEFT_S if next_ms is None else (next_ms - self._live.now_ms()) / 1000
            await asyncio.sleep(min(max(left_s, 0.001), TIME_LEFT_S))
            self._live.pass_time()
            if self._live.come_ms > self._told_ms:
                await self._tell_time(self._live.passed_ms)

    async def replicated(self) -> bool | None:
        """True where replicas of Redis have all that was changed here, too; None where none are to."""
        return await self._log.replicated()

    async def close(self) -> None:
        """Finish what is being stored, and close the log."""
        await asyncio.gather(*self._storing, return_exceptions=True)
        await self._log.close()

    async def _tell_time(self, moment_ms: int) -> None:
        try:
            await self._log.pass_time(moment_ms)
        except CatalogueUnavailableError as error:
            self._untold.note(reason=str(error))
        else:
            self._untold.end()
            self._told_ms = moment_ms

    def _judge(
        self, items: Sequence[tuple[str, ItemRequest]], engine: Engine
    ) -> list[tuple[Write, DerivedFrom] | ServiceError]:
        """The write for each item, and its vector's origin; or why there is none. In a thread."""
        return [_refused_or(self._judged, item_id, request, engine) for item_id, request in items]

    def _judged(self, item_id: str, request: ItemRequest, engine: Engine) -> tuple[Write, DerivedFrom]:
        description = request.description(engine.checked_attributes(request.attributes))
        given = request.given
        origin, derive = Origin(given, description.categories), engine.derive
        becomes = Recipe(
            description.title,
            description.categories,
            origin.given,
            origin.of_categories,
            description.attributes,
        )
        entry = self._live.entry(item_id)
        if given is None:
            derive = engine.derive_anyhow
            if entry is not None and not entry.removed and entry.recipe is not None:
                becomes = entry.recipe
        derived = derive(item_id, becomes)
        return Write(item_id, description, origin, keep_origin=given is None), derived.derived_from

    async def _put_judged(
        self, judged: Sequence[tuple[Write, DerivedFrom] | ServiceError]
    ) -> list[Changed | ServiceError]:
        writes = [one[0] for one in judged if not isinstance(one, ServiceError)]
        stored = iter(await self._store(writes) if writes else ())
        results: list[Changed | ServiceError] = []
        for one in judged:
            if isinstance(one, ServiceError):
                results.append(one)
                continue
            outcome = next(stored)
            results.append(Changed(outcome, one[1]) if isinstance(outcome, Entry) else outcome)
        return results

    async def _store(self, writes: Sequence[Write]) -> list[_Outcome]:
        """Store changes and make them; they are made even where the caller leaves in between."""
        stored: asyncio.Future[list[_Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, stored))
        task = asyncio.create_task(self._store_waiting())
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return await asyncio.shield(stored)

    async def _store_waiting(self) -> None:
        async with self.room.turn:
            if self._waiting:
                await asyncio.sleep(self._next_view_s - time.monotonic())
            together: list[_Waiting] = []
            while self._waiting and sum(len(writes) for writes, _ in together) < MAX_WRITES:
                together.append(self._waiting.pop(0))
            if not together:
                return
            try:
                if self._late is not None:
                    await self._late.tell()  # else an older removal would come after what is put now
                outcomes = await self._stored([write for writes, _ in together for write in writes])
            except Exception as error:
                for _, stored in together:
                    stored.set_exception(error)
                if isinstance(error, CatalogueUnavailableError):
                    return
                raise
            for writes, stored in together:
                stored.set_result(outcomes[: len(writes)])
                outcomes = outcomes[len(writes) :]

    async def _stored(self, writes: Sequence[Write]) -> list[_Outcome]:
        fits, entries = await self._written(writes)
        if entries:
            self._next_view_s = time.monotonic() + VIEW_EVERY_S
            self._live.take(entries)
        made = iter(entries)
        return [next(made) if fit else CatalogueFullError(self.room.max_items) for fit in fits]

    async def _written(self, writes: Sequence[Write]) -> tuple[list[bool], list[Entry]]:
        """True for each of these changes for which there was room, and the entries that those became."""
        others = 0
        while True:
            fits, left = self.room.fitting(writes, others)
            fitting = list(compress(writes, fits))
            try:
                return fits, await self._log.write(fitting, left) if fitting else []
            except RoomTakenError as taken:
                others = taken.others

    def _source(self, entry: Entry) -> ItemSource:
        if entry.removed or not self._live.is_live(entry.item_id):
            return "removed"
        if not self._live.is_added(entry.item_id):
            return "base"
        return "stale" if entry.item_id in self._live.stale else "overlay"

    def _state(self, entry: Entry) -> ItemStateResponse:
        description, recipe = entry.description or self._bundled(entry.item_id), entry.recipe
        derived_from: DerivedFrom | None = None
        if recipe is not None:
            with contextlib.suppress(RecipeError):
                derived_from = self._engines.engine.derive_anyhow(entry.item_id, recipe).derived_from
        return ItemStateResponse(
            item_id=entry.item_id,
            source=self._source(entry),
            reason=self._reason(entry),
            sequence=entry.sequence or None,
            title=description.title,
            categories=list(description.categories),
            attributes=description.attributes,
            derived_from=derived_from,
            available_from=description.available_from,
            available_until=description.available_until,
        )

    def _bundled(self, item_id: str) -> Description:
        """An item that was removed and never described, as the bundle in service has it."""
        engine = self._engines.engine
        described = engine.describe(item_id, removed=True)
        if described is None:
            return Description(None, ())
        attributes: dict[str, Any] = engine.attributes(item_id, removed=True)
        return Description(described.title, described.categories, attributes=attributes)

    def _reason(self, entry: Entry) -> str:
        if entry.item_id in self._live.struck:
            return "removed while Redis was away, which is told when it is back"
        if entry.removed:
            return f"removed by change {entry.sequence}"
        if not self._live.is_live(entry.item_id):
            return "its available_until has passed"
        if self._live.is_gone(entry.item_id):
            return "its available_from is to come"
        if not self._live.is_added(entry.item_id):
            return f"as it is in the bundle in service since change {entry.sequence}"
        return self._live.stale.get(entry.item_id, f"new or changed by change {entry.sequence}")


def _refused_or(judge, item_id: str, request: ItemRequest, engine: Engine):  # type: ignore[no-untyped-def]
    try:
        return judge(item_id, request, engine)
    except VectorSpaceError as error:
        return VectorSpaceDiffersError(f"{error}; send a vector of the model in service, or `like`")
    except RecipeError as error:
        return InvalidRequestError([FieldFault(error.field, error.fault)])
